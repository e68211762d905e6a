"""Calls for humans: told when something is asked, and again while nobody answers, until it goes away or somebody takes it on."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from orchestrator.domain import escalating
from orchestrator.domain.escalating import Advance, Asked, Plan, Rung, Telling
from orchestrator.domain.prompts import one_line
from orchestrator.domain.rules import Priority
from orchestrator.models import Interruption, Task
from orchestrator.services import calling, events, notices

_CALLED = {Rung.AUTHOR: "author is", Rung.MAINTAINERS: "maintainers are", Rung.ADMINS: "admins are"}
_CLOCK = ("step", "counts_from", "told_at", "tellings", "wake_at", "snoozed_until")


@transaction.atomic
def call_again(*, interruption_id: int, now: datetime) -> bool:
    """What is due of it now: a reminder, the next rung, the end of a snooze. Safe to ask any number of times, by anybody: what was told is
    written down in the same transaction. One that somebody holds is looked at in the next sweep. False: nothing was due."""
    asked = Interruption.objects.due(now).select_related("task__project").filter(pk=interruption_id).first()
    if asked is None:
        return False
    held = Task.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=asked.task_id).first()
    asked = Interruption.objects.due(now).select_related("task__project").filter(pk=interruption_id).first()
    if held is None or asked is None:
        return False
    plan = calling.plan_of(asked.task.project)
    step = escalating.advance(_facts(asked), plan, now)
    asked.step, asked.snoozed_until, asked.wake_at = step.asked.step, step.asked.snoozed_until, step.wake_at
    asked.counts_from, asked.told_at = step.asked.counts_from, step.asked.told_at
    if step.telling is not None:
        asked.tellings += 1
        asked.step = max(asked.step, notices.tell(asked, telling=step.telling, plan=plan, now=now))
        _tell_again(asked, step.telling, now=now)
    asked.save(update_fields=_CLOCK)
    return step.telling is not None


def first_call(asked: Interruption, *, now: datetime) -> None:
    """Tell of what was just asked, and say when to look again. The caller is in the transaction that asks, and holds the task."""
    plan = calling.plan_of(asked.task.project)
    asked.step = notices.tell(asked, telling=notices.ASKED, plan=plan, now=now)
    asked.wake_at = escalating.advance(_facts(asked), plan, now).wake_at
    asked.save(update_fields=_CLOCK)


def _facts(asked: Interruption) -> Asked:
    return Asked(
        waits=asked.resolved_at is None and asked.acknowledged_at is None,
        pressing=asked.pressing and asked.cleared_at is None,
        urgent=asked.priority == Priority.URGENT,
        counts_from=asked.counts_from or asked.asked_at,
        told_at=asked.told_at or asked.asked_at,
        step=asked.step,
        snoozed_until=asked.snoozed_until,
    )


def next_words(asked: Interruption, plan: Plan) -> str:
    """What happens next while nobody does anything, in a few words; the time is `wake_at`. Empty: nothing."""
    if asked.wake_at is None:
        return ""
    match escalating.advance(_facts(asked), plan, asked.wake_at):
        case Advance(telling=Telling.BACK):
            return "it comes back"
        case Advance(telling=Telling.CLIMBED, asked=after):
            return f"the {_CALLED[plan.ladder[after.step].to]} called too"
        case _:
            return "people are reminded"


def _tell_again(asked: Interruption, telling: Telling, *, now: datetime) -> None:
    words = {
        Telling.CLIMBED: f"nobody answered, so more are called: {one_line(asked.question, 200)}",
        Telling.REMINDED: f"reminded: {one_line(asked.question, 200)}",
        Telling.BACK: f"its snooze is over: {one_line(asked.question, 200)}",
    }
    events.record(kind=f"human.{telling}", text=words[telling], task=asked.task, at=now, data={"escalation": asked.pk})
    if telling is Telling.BACK:
        events.look_again(task_id=asked.task_id, at=now)
    events.touch(task=asked.task)


def settle(*, task: Task, cause: str, now: datetime) -> int:
    """The cause of a question has gone by itself. An escalation that nobody has acknowledged stays, and presses nobody meanwhile. The
    caller holds the task. This question and no other: the cause of turn 1 begins like that of turn 10."""
    asked = Interruption.objects.unresolved().filter(task=task, cause=cause, cleared_at__isnull=True).first()
    if asked is None:
        return 0
    asked.cleared_at = now
    asked.wake_at = asked.snoozed_until
    if not asked.escalation or asked.acknowledged_at is not None:
        asked.resolved_at, asked.resolution = now, "it went away by itself"
        asked.wake_at = asked.snoozed_until = None
    asked.save(update_fields=["cleared_at", "wake_at", "snoozed_until", "resolved_at", "resolution"])
    return 1


def stands_again(asked: Interruption, *, now: datetime) -> bool:
    """What was asked, and had gone before anybody acknowledged it, is back: it presses again. The caller holds the task."""
    if asked.cleared_at is None or asked.resolved_at is not None:
        return False
    asked.cleared_at = None
    asked.wake_at = asked.snoozed_until or (now if asked.acknowledged_at is None else None)
    asked.save(update_fields=["cleared_at", "wake_at"])
    return True
