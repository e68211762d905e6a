"""What people do with what they were asked: acknowledge, snooze, resolve."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from orchestrator.domain.durations import format_duration
from orchestrator.domain.prompts import one_line
from orchestrator.models import Interruption, Task
from orchestrator.services import events
from orchestrator.services.events import Actor
from orchestrator.services.tasks import InvalidTask, NotNow

LONGEST_SNOOZE = timedelta(days=30)
WORDS_LENGTH = 2000


@transaction.atomic
def acknowledge(*, interruption: Interruption, actor: Actor) -> None:
    """A person is on it: nobody is reminded any more, and it stays listed until it is resolved, which it is at once where its cause has
    gone or its task has ended. Acknowledging again does nothing."""
    asked = _locked(interruption)
    if asked.resolved_at is not None or asked.acknowledged_at is not None:
        return
    asked.acknowledged_at = asked.seen_at = actor.at
    asked.acknowledged_by_id = actor.user.pk if actor.user is not None else None
    asked.snoozed_until = asked.wake_at = None
    if asked.cleared_at is not None or asked.task.outcome:
        asked.resolved_at, asked.resolution = actor.at, f"{actor.name} acknowledged it"
    asked.save(
        update_fields=[
            *("acknowledged_at", "acknowledged_by", "seen_at", "snoozed_until", "wake_at", "resolved_at", "resolution")
        ]
    )
    _tell_history(asked, "acknowledged", f"{actor.name} acknowledged: {_said(asked)}", actor)


@transaction.atomic
def snooze(*, interruption: Interruption, until: datetime, actor: Actor) -> None:
    """Quiet until then, and back after that. Raises `NotNow` for what somebody took on or what is over."""
    if not actor.at < until <= actor.at + LONGEST_SNOOZE:
        longest = format_duration(LONGEST_SNOOZE)
        raise InvalidTask("until", f"write a time from now on, at most {longest} ahead: snoozing is not forgetting")
    asked = _locked(interruption)
    if not asked.open and asked.snoozed_until is None:
        raise NotNow(f"it is {asked.state} already: {_said(asked)}")
    asked.snoozed_until = asked.wake_at = until
    asked.seen_at = actor.at
    asked.save(update_fields=["snoozed_until", "wake_at", "seen_at"])
    text = f"{actor.name} snoozed until {until:%Y-%m-%d %H:%M %Z}: {_said(asked)}"
    _tell_history(asked, "snoozed", text, actor)


@transaction.atomic
def resolve(*, interruption: Interruption, resolution: str, actor: Actor) -> None:
    """A person says that it is over, and how. Raises `NotNow` when it is already."""
    words = resolution.strip()
    if not words or len(words) > WORDS_LENGTH:
        raise InvalidTask("resolution", f"say in 1 to {WORDS_LENGTH} characters how it was resolved")
    asked = _locked(interruption)
    if asked.resolved_at is not None:
        raise NotNow(f"it is resolved already: {asked.resolution}")
    Interruption.objects.filter(pk=asked.pk, seen_at__isnull=True).update(seen_at=actor.at)
    Interruption.objects.filter(pk=asked.pk).resolve(at=actor.at, words=f"{actor.name}: {words}")
    _tell_history(asked, "resolved", f"{actor.name} resolved: {_said(asked)}: {words}"[:1000], actor)


def _locked(interruption: Interruption) -> Interruption:
    """The newest words of it, its task's lock held."""
    Task.objects.select_for_update(no_key=True).get(pk=interruption.task_id)
    return Interruption.objects.select_related("task__project").get(pk=interruption.pk)


def _tell_history(asked: Interruption, what: str, text: str, actor: Actor) -> None:
    events.record(
        kind=f"human.{what}", text=text, task=asked.task, actor=actor, at=actor.at, data={"escalation": asked.pk}
    )
    events.look_again(task_id=asked.task_id, at=actor.at)
    events.touch(task=asked.task)


def _said(asked: Interruption) -> str:
    return one_line(asked.question, 200)
