"""Failures of whole projects, and what people say of them."""

from __future__ import annotations

from collections.abc import Callable

from django.http import Http404
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from aoweb.api import represent
from aoweb.api.answer_shapes import IncidentShape
from aoweb.api.base import ApiView
from aoweb.api.documenting import lists, writes
from aoweb.api.idempotency import idempotent
from aoweb.api.pagination import page_of
from aoweb.api.request_shapes import IncidentFilter, Nothing
from aoweb.permissions import Verb
from orchestrator.models import Incident
from orchestrator.services import incidents


class Incidents(ApiView):
    """Failures that a base branch has, or many pull requests at once."""

    @lists("incidents_list", IncidentShape, parameters=[IncidentFilter])
    def get(self, request: Request) -> Response:
        wanted = self.query(IncidentFilter)
        rows = Incident.objects.visible_to(self.user).select_related("project", "resolved_by", "released_by")
        if wanted["state"] == "open":
            rows = rows.unresolved()
        if wanted.get("project"):
            rows = rows.filter(project=self.find_project(wanted["project"]))
        page = page_of(request, rows)
        return Response(page.answer([represent.incident(row) for row in page.rows]))


class _Said(ApiView):
    """Something that a person says of an incident."""

    service: Callable[..., None]

    def say(self, pk: int) -> Response:
        row = Incident.objects.visible_to(self.user).select_related("project").filter(pk=pk).first()
        if row is None:
            raise Http404
        self.require(row.project, Verb.DRIVE)
        self.body(Nothing)
        self.service(incident=row, actor=self.actor())
        row.refresh_from_db()
        return Response(represent.incident(row), status=status.HTTP_202_ACCEPTED)


class Resolve(_Said):
    """It is over: the tasks that wait for it go on, and are told of what still fails."""

    service = staticmethod(incidents.resolve)

    @writes("incidents_resolve", Nothing, IncidentShape)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        return self.say(pk)


class LetAgentsTry(_Said):
    """The tasks that wait for it go on: it is told to their agents like any other failure."""

    service = staticmethod(incidents.release)

    @writes("incidents_release", Nothing, IncidentShape)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        return self.say(pk)
