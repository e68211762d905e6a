"""The machines on which sessions run: listed, added, changed, taken away."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Count, Q
from django.http import Http404
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from aoweb.api import represent
from aoweb.api.answer_shapes import HostLinkAnswer, HostShape
from aoweb.api.base import ApiView
from aoweb.api.documenting import lists, reads, writes
from aoweb.api.idempotency import idempotent, never_replayed
from aoweb.api.pagination import page_of
from aoweb.api.request_shapes import HostChange, NewHost, NewHostLink, Nothing
from orchestrator.models import Host
from orchestrator.services import events, hosts, spares


class Hosts(ApiView):
    """The machines on which sessions run. Those who see a project may know where its work happens."""

    @lists("hosts_list", HostShape)
    def get(self, request: Request) -> Response:
        found = page_of(request, _present(), newest_first=False)
        return Response(found.answer([self._told(row) for row in found.rows]))

    @writes("hosts_create", NewHost, HostShape, code=201)
    @idempotent
    def post(self, request: Request) -> Response:
        """Add a machine over SSH with its key pinned, or pin the new key of one that is known. `ao host add` looks at it first."""
        self.require_superuser()
        row, created = hosts.add(**self.body(NewHost), actor=self.actor())
        return Response(
            represent.host(row, 0, whole=True), status=status.HTTP_201_CREATED if created else status.HTTP_200_OK
        )

    def _told(self, row: Any) -> dict[str, Any]:
        return represent.host(row, row.live, whole=self.user.is_superuser)


class HostLinks(ApiView):
    """The link by which a machine joins with a worker of its own."""

    @writes("host_links_create", NewHostLink, HostLinkAnswer, code=201, keyed=False)
    def post(self, request: Request) -> Response:
        """Register a machine that is to join, and answer its link, this once. It works once, on one machine, until it runs out."""
        self.require_superuser()
        never_replayed(request)
        wanted = self.body(NewHostLink)
        valid_for = timedelta(minutes=wanted.pop("minutes"))
        row, made = spares.link(**wanted, valid_for=valid_for, actor=self.actor())
        answer = {
            "host": row.name,
            "link": made.text(),
            "gate": f"{made.address}:{made.port}",
            "expires_at": row.link_until,
        }
        return Response(answer, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})


class HostDetail(ApiView):
    """One machine."""

    @reads("hosts_retrieve", HostShape)
    def get(self, request: Request, name: str) -> Response:
        return Response(self._told(name))

    @writes("hosts_update", HostChange, HostShape, code=200)
    @idempotent
    def patch(self, request: Request, name: str) -> Response:
        """Drain it, or change what it takes."""
        self.require_superuser()
        wanted = self.body(HostChange)
        if wanted and Host.objects.present().filter(name=name).update(**wanted):
            actor = self.actor()
            events.record(
                kind="host.changed", text=f"{actor.name} changed the host {name}", actor=actor, at=actor.at, data=wanted
            )
        return Response(self._told(name))

    @writes("hosts_destroy", Nothing, HostShape, code=200)
    @idempotent
    def delete(self, request: Request, name: str) -> Response:
        """Take it away, once nothing of it is in use. What sessions did there stays in their history."""
        self.require_superuser()
        told = self._told(name)
        hosts.remove(name=name, actor=self.actor())
        return Response(told)

    def _told(self, name: str) -> dict[str, Any]:
        row = _present().filter(name=name).first()
        if row is None:
            raise Http404
        return represent.host(row, row.live, whole=self.user.is_superuser)


def _present() -> Any:
    return Host.objects.present().annotate(live=Count("sessions", filter=Q(sessions__ended_at__isnull=True)))
