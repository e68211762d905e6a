"""The configuration file: what it would change, changing it, and writing it back."""

from __future__ import annotations

import os

from rest_framework.request import Request
from rest_framework.response import Response

from aoweb.api.answer_shapes import ConfigAnswer, ConfigText
from aoweb.api.base import ApiView
from aoweb.api.documenting import reads, writes
from aoweb.api.idempotency import idempotent
from aoweb.api.request_shapes import NewConfig
from orchestrator.services.configuration import applying


class Configuration(ApiView):
    """`agent-orchestrator.yaml`. It concerns the whole installation, so it is a superuser's."""

    @reads("config_export", ConfigText, errors=(403,))
    def get(self, request: Request) -> Response:
        self.require_superuser()
        return Response({"text": applying.export(env=os.environ)})

    @writes("config_apply", NewConfig, ConfigAnswer, code=200)
    @idempotent
    def post(self, request: Request) -> Response:
        self.require_superuser()
        wanted = self.body(NewConfig)
        loaded = applying.load(text=wanted["text"], path=wanted.get("path") or applying.USUAL_NAME, env=os.environ)
        warnings = applying.warnings(loaded=loaded)
        changes = applying.plan(loaded=loaded) if wanted["plan"] else applying.apply(loaded=loaded, actor=self.actor())
        return Response(
            {
                "applied": not wanted["plan"],
                "changes": [{"kind": str(c.kind), "what": c.what, "changed": list(c.changed)} for c in changes],
                "warnings": warnings,
            }
        )
