"""Deliveries to channels: what goes as one message, what came of it, and channels that take nothing any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Max

from orchestrator.domain.delivering import DEAD_AFTER, GIVE_UP_AFTER, LONGEST_PAUSE, PER, folds, free_at, pause_after
from orchestrator.domain.prompts import plain
from orchestrator.domain.snapshot import JobState
from orchestrator.models import Job, Notification, NotificationChannel
from orchestrator.services import events, notices

MOST_TOGETHER = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What goes to a channel as one message: one notification, or several that wait."""

    channel: NotificationChannel
    notifications: Sequence[Notification]

    @property
    def message(self) -> str:
        """The stable id: the same things have the same one, however often they are sent."""
        first, more = self.notifications[0].pk, len(self.notifications) - 1
        return f"ao-{first}" if not more else f"ao-{first}-and-{more}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """The channel has had its messages of this minute: what comes meanwhile goes together."""

    at: datetime


@transaction.atomic
def parcel_for(*, notification_id: int, now: datetime) -> Parcel | Later | None:
    """The message that this notification goes with. None: it is sent already, or not worth sending any more, which is written down."""
    mine = Notification.objects.select_related("channel").filter(pk=notification_id).first()
    if mine is None or mine.sent_at is not None or mine.dropped_at is not None:
        return None
    rows = Notification.objects.due(now).filter(channel=mine.channel).order_by("pk")
    waiting = [
        one
        for one in rows.select_related("channel", "interruption__task__project")[:MOST_TOGETHER]
        if not _stale(one, now)
    ]
    here = next((one for one in waiting if one.pk == mine.pk), None)
    if here is None:
        return None
    sent = _sent_lately(mine.channel, now)
    free = free_at(sent, now)
    if free is not None:
        Job.objects.filter(queue=mine.channel.queue, state=JobState.PROMISED, run_at__lt=free).update(run_at=free)
        return Later(at=free)
    held = sum(one.held_until is not None for one in waiting)
    together = folds(waiting=len(waiting), held=held, sent_lately=len(sent))
    return Parcel(channel=mine.channel, notifications=waiting if together else [here])


def _sent_lately(channel: NotificationChannel, now: datetime) -> list[datetime]:
    """When messages were sent there in the last minute, the newest first."""
    rows = Notification.objects.filter(channel=channel, sent_at__gt=now - PER).order_by()
    return sorted(rows.values_list("message").annotate(at=Max("sent_at")).values_list("at", flat=True), reverse=True)


def _stale(row: Notification, now: datetime) -> bool:
    """Nobody needs to be told any more. That something was asked is told even when its cause has gone: it waits for a person."""
    asked = row.interruption
    if asked is None or (asked.open and (asked.cleared_at is None or row.telling == notices.ASKED)):
        return False
    why = asked.state if not asked.open else "its cause is gone"
    Notification.objects.filter(pk=row.pk).update(dropped_at=now, dropped_why=why)
    return True


@transaction.atomic
def sent(*, parcel: Parcel, now: datetime) -> None:
    """The channel took it: everything that was named in it is told, and its other jobs are done."""
    ids = [one.pk for one in parcel.notifications]
    Notification.objects.filter(pk__in=ids).update(sent_at=now, message=parcel.message, error="", tries=F("tries") + 1)
    Job.objects.filter(key__in=[f"notify:{pk}" for pk in ids], state=JobState.PROMISED).update(
        state=JobState.DONE, settled_at=now, result={"message": parcel.message}, error=""
    )
    works_again = NotificationChannel.objects.filter(pk=parcel.channel.pk, failing_since__isnull=False)
    was_dead = works_again.filter(dead_since__isnull=False).exists()
    if works_again.update(failures=0, failing_since=None, dead_since=None, trouble="") and was_dead:
        events.record(kind="channel.works", text=f"the channel {parcel.channel} takes messages again", at=now)
        # What waits for it goes now, and not when its pause is over.
        Job.objects.filter(queue=parcel.channel.queue, state=JobState.PROMISED, attempts__gt=0).update(run_at=now)


@transaction.atomic
def not_sent(
    *, parcel: Parcel, error: str, refused: bool, now: datetime, asked: timedelta | None = None
) -> datetime | None:
    """The channel did not take it, and may have asked for patience. Returns when it is tried again; until then nothing else is tried
    there. None: what was to be told is too old by now, and is given up; it stays in the inbox and on the board."""
    channel = NotificationChannel.objects.select_for_update().get(pk=parcel.channel.pk)
    channel.failures += 1
    channel.failing_since = channel.failing_since or now
    channel.trouble = plain(error)[:1000]
    again = now + max(LONGEST_PAUSE if refused else pause_after(channel.failures), asked or timedelta())
    ids = [one.pk for one in parcel.notifications]
    Notification.objects.filter(pk__in=ids).update(error=channel.trouble, tries=F("tries") + 1)
    old = Notification.objects.waiting().filter(pk__in=ids, created_at__lt=now - GIVE_UP_AFTER)
    given_up = list(old.values_list("pk", flat=True))
    old.update(dropped_at=now, dropped_why="given up: the channel took nothing for a day")
    Job.objects.filter(queue=channel.queue, state=JobState.PROMISED, run_at__lt=again).update(run_at=again)
    if channel.dead_since is None and (refused or channel.failures >= DEAD_AFTER):
        channel.dead_since = now
        _tell_admins(channel, now=now)
    channel.save(update_fields=["failures", "failing_since", "trouble", "dead_since"])
    return None if set(given_up) >= set(ids) else again


def _tell_admins(channel: NotificationChannel, *, now: datetime) -> None:
    """Once for each time that it fails, and by the other channels."""
    title = f"The channel {channel} takes no messages"
    body = f"{channel.trouble}\nWhat is to be sent there waits, and is tried again. Everything is in the inbox and on the board."
    events.record(kind="channel.dead", text=f"{title}: {channel.trouble}", at=now, data={"channel": channel.name})
    assert channel.failing_since is not None  # noqa: S101 it fails
    key = f"channel-{channel.pk}-{int(channel.failing_since.timestamp())}"
    notices.alert(key=key, title=title, body=body, now=now, but=channel)


@transaction.atomic
def nothing_here(*, parcel: Parcel, why: str, now: datetime) -> None:
    """The channel is none on this machine, such as a desktop where there is none. It is said once, and nobody is alarmed: what would have
    gone there is in the inbox."""
    ids = [one.pk for one in parcel.notifications]
    Notification.objects.filter(pk__in=ids).update(dropped_at=now, dropped_why=why[:200])
    news = NotificationChannel.objects.filter(pk=parcel.channel.pk).exclude(trouble=why)
    if news.update(trouble=why):
        text = f"the channel {parcel.channel} is not used: {why}"
        events.record(kind="channel.unused", text=text, at=now, data={"channel": parcel.channel.name})


@transaction.atomic
def mended(*, channel_ids: Sequence[int], now: datetime) -> None:
    """Somebody changed these channels: what waits for them is tried now."""
    rows = NotificationChannel.objects.filter(pk__in=channel_ids)
    rows.update(failures=0, failing_since=None, dead_since=None, trouble="")
    queues = [channel.queue for channel in rows]
    held = Notification.objects.waiting().filter(channel__in=channel_ids, held_until__gt=now)
    held_keys = [f"notify:{pk}" for pk in held.values_list("pk", flat=True)]
    Job.objects.filter(queue__in=queues, state=JobState.PROMISED).exclude(key__in=held_keys).update(run_at=now)
