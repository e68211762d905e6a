"""Reconcile tasks: take their facts, decide, and store what was decided, in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from orchestrator import doorbell
from orchestrator.domain.course import Course, Step, course_of
from orchestrator.domain.recording import standing
from orchestrator.domain.snapshot import Memory, Snapshot
from orchestrator.domain.status import TaskStatus, attention_of
from orchestrator.doorbell import Changed
from orchestrator.models import Reaction, Task, rows
from orchestrator.models.rows import Row, among
from orchestrator.services import events, incidents, promises, snapshots
from orchestrator.services.promises import Promised
from orchestrator.services.recording import recorder

logger = logging.getLogger(__name__)

_REMEMBERED = ("episode", "held", "since", "deadline_at", "escalated", "attempt")
_ANEW = rows.on_conflict(("task_id", "trigger"), _REMEMBERED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """One task, and what follows from its facts."""

    task: Task
    course: Course

    @property
    def promised(self) -> list[Promised]:
        found: list[Promised] = []
        for step in self.course.steps:
            for action in step.new:
                trigger = step.decision.asked_by.get(action.key)
                rule = step.snapshot.rules[trigger] if trigger is not None else None
                found.append(Promised(task=self.task, action=action, rule=rule))
        return found


def reconcile(*, task_id: int, now: datetime, only_due: bool = False) -> None:
    """Level-triggered: may be called any number of times, by anybody, for any reason. A task that is gone is nobody's business."""
    reconcile_many(task_ids=[task_id], now=now, only_due=only_due)


@transaction.atomic
def reconcile_many(*, task_ids: Sequence[int], now: datetime, only_due: bool = False) -> None:
    """Many tasks in one transaction and in hardly more statements than one. What goes wrong with one of them undoes all: the caller then
    takes them one by one. Tasks are locked in the order of their ids.

    `only_due`: a bell rang, or a sweep found them, and whoever wrote the fact asked for a look in its transaction. When nobody asks any more,
    somebody was faster; who holds the task now decides on that fact, or writes another and rings again.
    """
    tasks = [task for task in _locked(task_ids, skip=only_due) if not only_due or _due(task, now)]
    if not tasks:
        return
    known = snapshots.take_many(tasks, now=now)
    if incidents.notice({task: known[task.pk] for task in tasks}, now=now):
        known = snapshots.take_many(tasks, now=now)
    looks = [_Look(task=task, course=course_of(known[task.pk])) for task in tasks]
    _remember(looks)
    promises.keep([one for look in looks for one in look.promised], now=now)
    _settle(looks, now=now)


def _locked(task_ids: Sequence[int], *, skip: bool) -> list[Task]:
    held = Task.objects.select_for_update(of=("self",), no_key=True, skip_locked=skip)
    # Many tasks share few projects: each of these is read once.
    held = held.prefetch_related("project") if len(task_ids) > 1 else held.select_related("project")
    return list(held.filter(among("pk", task_ids)).order_by("pk"))


def _due(task: Task, now: datetime) -> bool:
    return task.wake_at is not None and task.wake_at <= now


def _settle(looks: Sequence[_Look], *, now: datetime) -> None:
    """The one place that writes what people see of a task's standing, its history and the flight recorder."""
    lines: list[Row] = []
    records: list[Row] = []
    changed: list[Changed] = []
    entered: dict[tuple[str, str], list[int]] = {}
    for look in looks:
        task, before = look.task, look.task.version
        moved = [_move(task, step, lines, entered) for step in look.course.steps]
        name = standing(look.course.steps[-1].decision)
        if any(moved) or name != task.standing or any(step.new for step in look.course.steps):
            records.append(recorder.record(task, look.course))
            task.standing = name
        _note_progress(task, look.course)
        task.wake_at = look.course.steps[-1].decision.wake_at if look.course.settled else now
        if task.version != before:
            task.updated_at = now
            changed.append(Changed(task=task.pk, project=task.project_id, version=task.version))
        if not look.course.settled:
            doorbell.ring("reconcile_task", queue_name="control", task_id=task.pk)
    events.append(lines)
    recorder.store(records)
    Task.objects.settle([look.task for look in looks])
    doorbell.ring_boards(changed)
    _say(entered)


def _move(task: Task, step: Step, lines: list[Row], entered: dict[tuple[str, str], list[int]]) -> bool:
    """Take over what a step says of the task; answers whether people see a difference."""
    decision, now = step.decision, step.snapshot.now
    before = (task.status, task.attention, task.reason, task.evidence, task.outcome)
    if decision.outcome is not None and not task.outcome:
        task.outcome, task.ended_at = decision.outcome, now
        lines.append(events.line(kind="task.ended", text=f"{decision.outcome}: {decision.reason}", task=task, at=now))
    task.status, task.reason, task.evidence = decision.status, decision.reason, list(decision.evidence)
    task.attention = attention_of(decision.status, escalated=_calls(step))
    if before == (task.status, task.attention, task.reason, task.evidence, task.outcome):
        return False
    task.version += 1
    if before[0] != task.status:
        text = f"{before[0]} -> {task.status}: {task.reason}"
        lines.append(events.line(kind="task.status", text=text, task=task, at=now, data={"status": task.status}))
        entered.setdefault((task.status, task.reason), []).append(task.pk)
    return True


def _say(entered: Mapping[tuple[str, str], Sequence[int]]) -> None:
    """The log has one line for all tasks that came to the same status for the same reason, in the order in which the first did."""
    for (status, reason), tasks in entered.items():
        about = {"task": tasks[0]} if len(tasks) == 1 else {"tasks": tasks}
        logger.info("task status", extra={**about, "status": status, "reason": reason})


def _note_progress(task: Task, course: Course) -> None:
    """Keep where the task got to."""
    for step in course.steps:
        if step.decision.progress is not None:
            task.progress = snapshots.PROGRESS.dump_python(step.decision.progress, mode="json")


def _calls(step: Step) -> bool:
    """Whether somebody is called: an escalation is open, or whatever was asked about a pull request that was closed."""
    calls = [one for one in step.asked if one.calls]
    return any(one.escalation for one in calls) or (step.decision.status is TaskStatus.CLOSED and bool(calls))


def _remember(looks: Sequence[_Look]) -> None:
    """Memories that differ from what was remembered before."""
    news = [
        {
            "task_id": look.task.pk,
            "trigger": memory.trigger,
            "episode": memory.episode,
            "held": memory.held,
            "since": memory.since,
            "deadline_at": memory.deadline_at,
            "escalated": memory.escalated,
            "attempt": memory.attempt,
        }
        for look in looks
        for memory in _learned(look.course)
    ]
    rows.insert(Reaction, news, conflict=_ANEW)


def _learned(course: Course) -> list[Memory]:
    before: Snapshot = course.steps[0].snapshot
    latest = {memory.trigger: memory for step in course.steps for memory in step.decision.memory}
    return [memory for memory in latest.values() if memory != before.memory.get(memory.trigger, _blank(memory))]


def _blank(memory: Memory) -> Memory:
    return Memory(trigger=memory.trigger, episode=0, held=False)
