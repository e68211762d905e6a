"""GitHub's webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from orchestrator.models import Project
from orchestrator.services import deliveries

_ID = re.compile(r"[A-Za-z0-9-]{8,100}")
_EVENT = re.compile(r"[a-z0-9_]{1,60}")


@csrf_exempt  # a forge has no cookie: its signature says who it is
@login_not_required
@never_cache
@require_POST
def github(request: HttpRequest) -> JsonResponse:
    """Answer 202 once the delivery is stored, whether it is new or not."""
    try:
        body = request.body
    except RequestDataTooBig:
        return _no(413, "the delivery is larger than we take")
    known, speaks_for = _signer(body, request.headers.get("X-Hub-Signature-256", ""))
    if not known:
        return _no(
            401,
            f"the signature is missing or wrong, or no secret is set: {deliveries.SECRET}, or scm.webhook.secret of the project",
        )
    delivery, event = request.headers.get("X-GitHub-Delivery", ""), request.headers.get("X-GitHub-Event", "")
    if not _ID.fullmatch(delivery) or not _EVENT.fullmatch(event):
        return _no(400, "X-GitHub-Delivery and X-GitHub-Event are needed")
    payload = _payload(body)
    if payload is None:
        return _no(400, "the body is not a JSON object: set the webhook's content type to application/json")
    row = deliveries.take_in(delivery=delivery, event=event, payload=payload, speaks_for=speaks_for, now=timezone.now())
    return JsonResponse({"taken": row is not None, "looks": row.looked_at if row is not None else 0}, status=202)


def _signer(body: bytes, signature: str) -> tuple[bool, Project | None]:
    """Whether somebody who knows a secret of ours signed these very bytes, and for whom. Every secret is tried, so that how long it
    takes tells nothing."""
    matched: list[Project | None] = []
    for secret, project in deliveries.secrets_of("github"):
        expected = f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"
        if hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
            matched.append(project)
    return bool(matched), matched[0] if matched else None


def _payload(body: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _no(status: int, why: str) -> JsonResponse:
    return JsonResponse({"detail": why}, status=status)
