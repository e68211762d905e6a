"""Everybody's inbox: what a person was told, what is unread, and when the person's own channels are quiet."""

from __future__ import annotations

from datetime import time

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import transaction
from django.db.models import QuerySet

from orchestrator.models import InboxItem, QuietTime
from orchestrator.services import calling, events
from orchestrator.services.events import Actor
from orchestrator.services.tasks import InvalidTask


def items_of(person: AbstractBaseUser | AnonymousUser) -> QuerySet[InboxItem]:
    """What the person was told, newest first, of what the person may still see."""
    mine = InboxItem.objects.filter(person=person.pk or 0).select_related("interruption__task__project")
    if getattr(person, "is_superuser", False):
        return mine
    gone = mine.filter(interruption__isnull=False).exclude(
        interruption__task__project__memberships__user=person.pk or 0
    )
    return mine.exclude(pk__in=gone.values("pk"))


def unread(person: AbstractBaseUser | AnonymousUser) -> int:
    """How much is unread."""
    return items_of(person).filter(read_at__isnull=True).count()


def mark_read(*, actor: Actor, item: int | None = None) -> int:
    """One line, or all of them, are read."""
    rows = InboxItem.objects.filter(person=actor.user.pk if actor.user is not None else 0, read_at__isnull=True)
    return (rows.filter(pk=item) if item is not None else rows).update(read_at=actor.at)


@transaction.atomic
def set_quiet_time(*, actor: Actor, start: str, end: str, zone: str) -> None:
    """When the person's own channels are quiet; empty: never. Raises `InvalidTask` that names the field."""
    assert actor.user is not None  # noqa: S101 the door let somebody in
    if not start.strip() and not end.strip():
        QuietTime.objects.filter(person=actor.user.pk).delete()
        text = f"{actor.name} is never left alone by the own channels"
    else:
        begins, ends, place = _span(start, end, zone)
        QuietTime.objects.update_or_create(
            person_id=actor.user.pk, defaults={"start": begins, "end": ends, "zone": place}
        )
        text = f"{actor.name}'s own channels are quiet from {begins:%H:%M} to {ends:%H:%M} {place}"
    events.record(kind="quiet.set", text=text, actor=actor, at=actor.at)


def _span(start: str, end: str, zone: str) -> tuple[time, time, str]:
    try:
        place = calling.read_zone(zone.strip() or "UTC")
    except ValueError as error:
        raise InvalidTask("zone", str(error)) from error
    try:
        hours = calling.read_quiet_hours({"from": start.strip(), "until": end.strip(), "timeZone": str(place)})
    except ValueError as error:
        raise InvalidTask("start", "write two different times such as 22:00 and 07:00, or leave both empty") from error
    assert hours is not None  # noqa: S101 a mapping was read
    return hours.start, hours.end, str(place)
