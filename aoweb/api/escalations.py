"""What humans were asked for, what they do about it, and how they were told."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import Http404
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from aoweb.api import represent
from aoweb.api.answer_shapes import ChannelShape, InboxShape, InterruptionShape, NotificationShape, ReadShape
from aoweb.api.base import ApiView
from aoweb.api.documenting import PAGE, lists, page, reads, writes
from aoweb.api.idempotency import idempotent
from aoweb.api.pagination import page_of
from aoweb.api.request_shapes import (
    EscalationFilter,
    InboxFilter,
    NewResolution,
    NewSnooze,
    Nothing,
    NotificationFilter,
    WhatIsRead,
)
from aoweb.permissions import Verb
from orchestrator.domain.durations import parse_duration
from orchestrator.models import Interruption, Notification, NotificationChannel
from orchestrator.services import escalations, inbox


class Escalations(ApiView):
    """What humans were asked for."""

    @lists("escalations_list", InterruptionShape, parameters=[EscalationFilter])
    def get(self, request: Request) -> Response:
        wanted = self.query(EscalationFilter)
        rows = Interruption.objects.visible_to(self.user)
        if wanted["state"] == "open":
            rows = rows.open()
        if wanted["state"] == "unresolved":
            rows = rows.unresolved()
        if wanted["kind"] == "escalation":
            rows = rows.filter(escalation=True)
        found = page_of(request, rows.select_related("acknowledged_by"))
        return Response(found.answer([represent.interruption(row) for row in found.rows]))


class _OfOne(ApiView):
    """Something that a person does with one of them."""

    def asked(self, pk: int) -> Interruption:
        row = Interruption.objects.select_related("task").filter(pk=pk).first()
        if row is None:
            raise Http404
        self.find_task(row.task_id, Verb.DRIVE)
        return row

    def told(self, row: Interruption) -> Response:
        row.refresh_from_db()
        return Response(represent.interruption(row), status=status.HTTP_202_ACCEPTED)


class Acknowledge(_OfOne):
    """Somebody is on it: nobody is reminded any more."""

    @writes("escalations_acknowledge", Nothing, InterruptionShape)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        row = self.asked(pk)
        self.body(Nothing)
        escalations.acknowledge(interruption=row, actor=self.actor())
        return self.told(row)


class Snooze(_OfOne):
    """Quiet for a while, or until a time; it comes back by itself."""

    @writes("escalations_snooze", NewSnooze, InterruptionShape)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        row, actor = self.asked(pk), self.actor()
        until = _until(self.body(NewSnooze), actor.at)
        escalations.snooze(interruption=row, until=until, actor=actor)
        return self.told(row)


def _until(wanted: dict[str, Any], now: datetime) -> datetime:
    """One of `until` and `for`. Raises `ValidationError` that names the field."""
    until, span = wanted.get("until"), wanted.get("for")
    if (until is None) == (span is None):
        raise ValidationError({"until": ["write either until: a time, or for: a duration such as 2h"]})
    if until is not None:
        return datetime.fromisoformat(until.isoformat())
    try:
        return now + parse_duration(str(span))
    except (ValueError, OverflowError) as error:
        raise ValidationError({"for": [str(error)]}) from error


class Resolve(_OfOne):
    """It is over, and this is how."""

    @writes("escalations_resolve", NewResolution, InterruptionShape)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        row = self.asked(pk)
        words = self.body(NewResolution)["resolution"]
        escalations.resolve(interruption=row, resolution=words, actor=self.actor())
        return self.told(row)


class Notifications(ApiView):
    """What is on its way to channels: sent, waiting, held, dropped, or with the error of the last try."""

    @lists("notifications_list", NotificationShape, parameters=[NotificationFilter])
    def get(self, request: Request) -> Response:
        wanted = self.query(NotificationFilter)
        rows = Notification.objects.select_related("interruption", "channel")
        if wanted.get("channel"):
            rows = rows.filter(channel__name=wanted["channel"])
        if not self.user.is_superuser:
            rows = rows.filter(interruption__in=Interruption.objects.visible_to(self.user))
        found = page_of(request, rows)
        return Response(found.answer([represent.notification(row) for row in found.rows]))


class Channels(ApiView):
    """The channels, and whether they take messages. Their addresses are secrets, and no part of this."""

    @reads("channels_list", page(ChannelShape), parameters=PAGE, errors=(403,))
    def get(self, request: Request) -> Response:
        self.require_superuser()
        found = page_of(request, NotificationChannel.objects.select_related("person"), newest_first=False)
        return Response(found.answer([represent.channel(row) for row in found.rows]))


class Inbox(ApiView):
    """What the asker was told."""

    @lists("inbox_list", InboxShape, parameters=[InboxFilter])
    def get(self, request: Request) -> Response:
        rows = inbox.items_of(self.user)
        if self.query(InboxFilter)["unread"]:
            rows = rows.filter(read_at__isnull=True)
        found = page_of(request, rows.order_by())
        return Response(found.answer([represent.inbox_item(row) for row in found.rows]))


class InboxRead(ApiView):
    """One line of it, or all, are read."""

    @writes("inbox_read", WhatIsRead, ReadShape, code=200)
    @idempotent
    def post(self, request: Request) -> Response:
        wanted = self.body(WhatIsRead)
        return Response({"read": inbox.mark_read(actor=self.actor(), item=wanted.get("item"))})
