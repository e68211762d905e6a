"""People are told: a line in the inbox of everybody who is called, and a message to each channel, which is a job of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import AbstractBaseUser
from django.db.models import F, Q

from orchestrator import doorbell
from orchestrator.domain.durations import format_duration
from orchestrator.domain.escalating import Plan, Rung, Telling
from orchestrator.domain.prompts import one_line
from orchestrator.domain.rules import Priority, Trigger
from orchestrator.models import InboxItem, Interruption, Job, Notification, NotificationChannel, Project
from orchestrator.services import calling

ASKED = "asked"
ALERT = "alert"
EVIDENCE_SHOWN = 6
LINE_SHOWN = 300
_PRESS = {
    Trigger.APPROVED_AND_GREEN: "Merge it, or leave it as it is.",
    Trigger.AGENT_NEEDS_INPUT: "Answer it on the task's page.",
    Trigger.PR_CLOSED: "Acknowledge it, or hand the task in again.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """What is told, whoever is told."""

    cause: str  # of the inbox: the same is one line
    occasion: str  # of channels: the same is told once
    telling: str
    priority: str
    title: str
    body: str
    interruption: Interruption | None = None


def tell(asked: Interruption, *, telling: str, plan: Plan, now: datetime) -> int:
    """Tell of something that a human was asked. Returns the rung that was called: where nobody stands on one, it is the next. The caller
    is in the transaction that decided it."""
    step, people = calling.called(plan, asked.task, asked.step)
    words = _Words(
        cause=f"asked:{asked.pk}",
        occasion=f"asked:{asked.pk}:{telling}-{asked.tellings}",
        telling=telling,
        priority=asked.priority,
        title=_title(asked, telling, now),
        body=_body(asked, people, telling),
        interruption=asked,
    )
    _put(words, people, now=now)
    _send(words, _channels(asked.priority, people), plan, now=now)
    return step


def alert(
    *,
    key: str,
    title: str,
    body: str,
    now: datetime,
    priority: Priority = Priority.URGENT,
    project: Project | None = None,
    but: NotificationChannel | None = None,
) -> None:
    """Tell of something that belongs to no task: admins, a project's maintainers, and the channels of the priority (`but` one that is the
    matter itself). The same key is told once."""
    people = calling.people_on(Rung.ADMINS, None)
    if project is not None:
        people = [*calling.people_on(Rung.MAINTAINERS, None, project), *people]
    words = _Words(
        cause=f"alert:{key}", occasion=f"alert:{key}", telling=ALERT, priority=priority, title=title, body=body
    )
    _put(words, people, now=now, again=False)
    channels = [one for one in _channels(priority, people) if but is None or one.pk != but.pk]
    _send(words, channels, calling.plan_of(project), now=now)


def _channels(priority: str, people: Iterable[AbstractBaseUser]) -> list[NotificationChannel]:
    """The channels that many read, and those of the people who are called, as far as they take this priority."""
    theirs = Q(person__isnull=True) | Q(person__in=[person.pk for person in people])
    rows = NotificationChannel.objects.filter(theirs).select_related("person").order_by("pk")
    return [row for row in rows if priority in row.priorities]


def _put(words: _Words, people: Iterable[AbstractBaseUser], *, now: datetime, again: bool = True) -> None:
    ids = [person.pk for person in people]
    known = InboxItem.objects.filter(cause=words.cause, person__in=ids)
    if again:
        known.update(
            telling=words.telling, title=words.title, body=words.body, at=now, times=F("times") + 1, read_at=None
        )
    InboxItem.objects.bulk_create(
        [
            InboxItem(
                person_id=pk,
                interruption=words.interruption,
                cause=words.cause,
                telling=words.telling,
                priority=words.priority,
                title=words.title,
                body=words.body,
                at=now,
            )
            for pk in ids
        ],
        ignore_conflicts=True,
    )


def _send(words: _Words, channels: Sequence[NotificationChannel], plan: Plan, *, now: datetime) -> None:
    known = set(Notification.objects.filter(cause=words.occasion).values_list("channel", flat=True))
    rows = [_row(words, channel, plan, now=now) for channel in channels if channel.pk not in known]
    if not rows:
        return
    Notification.objects.bulk_create(rows)
    Job.objects.bulk_create(
        [
            Job(
                key=f"notify:{row.pk}",
                verb="Deliver",
                action={"notification": row.pk},
                queue=row.channel.queue,
                run_at=row.held_until or now,
            )
            for row in rows
        ]
    )
    doorbell.ring("deliver_notices", queue_name="effects")


def _row(words: _Words, channel: NotificationChannel, plan: Plan, *, now: datetime) -> Notification:
    """What is not urgent waits for the end of the quiet hours: a person's own, or the project's where many read."""
    own = Plan(quiet=calling.quiet_hours_of(channel.person)) if channel.person is not None else plan
    return Notification(
        channel=channel,
        interruption=words.interruption,
        cause=words.occasion,
        telling=words.telling,
        priority=words.priority,
        title=words.title,
        body=words.body,
        created_at=now,
        held_until=own.held_until(now, urgent=words.priority == Priority.URGENT),
    )


def _title(asked: Interruption, telling: str, now: datetime) -> str:
    waited = format_duration(now - asked.asked_at)
    prefix = {
        Telling.CLIMBED: f"Nobody answered for {waited}: ",
        Telling.REMINDED: f"Waits for {waited}: ",
        Telling.BACK: "Back from its snooze: ",
    }.get(telling, "")  # type: ignore[call-overload]  # a word is its text
    return f"{prefix}{asked.task}: {one_line(asked.question, 500)}"


def _body(asked: Interruption, people: Sequence[AbstractBaseUser], telling: str) -> str:
    lines = [asked.task.title, *(one_line(line, LINE_SHOWN) for line in asked.evidence[:EVIDENCE_SHOWN])]
    if len(asked.evidence) > EVIDENCE_SHOWN:
        lines.append(f"... and {len(asked.evidence) - EVIDENCE_SHOWN} more lines on its page")
    if telling == Telling.CLIMBED:
        lines.append(f"Called now: {', '.join(person.get_username() for person in people)}.")
    lines.append(press_words(asked))
    return "\n".join(lines)


def press_words(asked: Interruption) -> str:
    """What to press, in a sentence."""
    known = _PRESS.get(Trigger(asked.trigger)) if asked.trigger else None
    return known or "Acknowledge it if you are on it; retry when it should go on."
