"""Reconcile one task: take its facts, decide, and store what was decided, in one transaction."""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import transaction
from pydantic import TypeAdapter

from orchestrator import doorbell
from orchestrator.domain.lifecycle import Decision, decide
from orchestrator.domain.snapshot import Memory, Snapshot
from orchestrator.domain.status import TaskStatus, attention_of
from orchestrator.models import DecisionRecord, Reaction, Task
from orchestrator.services import events, incidents, jobs, snapshots

logger = logging.getLogger(__name__)

ROUNDS = 4  # how often one call decides anew on what it has just written; after that the sweep goes on

SNAPSHOT = TypeAdapter(Snapshot)
DECISION = TypeAdapter(Decision)


@transaction.atomic
def reconcile(*, task_id: int, now: datetime, only_due: bool = False) -> None:
    """Level-triggered: may be called any number of times, by anybody, for any reason. A task that is gone is nobody's business.

    `only_due`: a bell rang, or a sweep found it, and whoever wrote the fact asked for a look in its transaction. When nobody asks any more,
    somebody was faster; who holds the task now decides on that fact, or writes another and rings again.
    """
    task = (
        Task.objects.select_for_update(of=("self",), no_key=True, skip_locked=only_due)
        .select_related("project")
        .filter(pk=task_id)
        .first()
    )
    if task is None or (only_due and not _due(task, now)):
        return
    changed = False
    snapshot = snapshots.take(task, now=now)
    if incidents.notice(task=task, snapshot=snapshot, now=now):
        snapshot = snapshots.take(task, now=now)
    for _ in range(ROUNDS):
        decision = decide(snapshot)
        remembered = _remember(task, decision, snapshot)
        new = jobs.promise(decision.actions, task=task, now=now)
        moved = _settle(task, decision, now=now)
        if new or moved or remembered:
            _keep(task, snapshot, decision, now=now)
        changed = changed or moved
        # What was just written down (a message, a settled question) may already be the reason for the next step.
        if not new and not moved:
            break
        snapshot = snapshots.again(snapshot, task, decision.actions)
    else:
        events.look_again(task_id=task.pk, at=now)
    if changed:
        doorbell.ring_board(task=task.pk, project=task.project_id, version=task.version)


def _due(task: Task, now: datetime) -> bool:
    return task.wake_at is not None and task.wake_at <= now


def _settle(task: Task, decision: Decision, *, now: datetime) -> bool:
    """The one place that writes what people see of a task's standing."""
    before = (task.status, task.attention, task.reason, task.evidence, task.outcome)
    escalated = task.interruptions.open().filter(escalation=True).exists() or (
        decision.status is TaskStatus.CLOSED and task.interruptions.open().exists()
    )
    if decision.outcome is not None and not task.outcome:
        task.outcome, task.ended_at = decision.outcome, now
        events.record(kind="task.ended", text=f"{decision.outcome}: {decision.reason}", task=task, at=now)
    task.status, task.reason, task.evidence = decision.status, decision.reason, list(decision.evidence)
    task.attention = attention_of(decision.status, escalated=escalated)
    task.wake_at = decision.wake_at
    changed = before != (task.status, task.attention, task.reason, task.evidence, task.outcome)
    if changed:
        task.version += 1
        if before[0] != task.status:
            events.record(
                kind="task.status",
                text=f"{before[0]} -> {task.status}: {task.reason}",
                task=task,
                at=now,
                data={"status": task.status},
            )
            logger.info("task status", extra={"task": task.pk, "status": task.status, "reason": task.reason})
    task.save(
        update_fields=[
            "status", "reason", "evidence", "attention", "wake_at", "version", "outcome", "ended_at", "updated_at",
        ]
        if changed
        else ["wake_at"]
    )  # fmt: skip
    return changed


def _remember(task: Task, decision: Decision, snapshot: Snapshot) -> bool:
    news = [memory for memory in decision.memory if memory != snapshot.memory.get(memory.trigger, _blank(memory))]
    for memory in news:
        Reaction.objects.update_or_create(
            task=task,
            trigger=memory.trigger,
            defaults={
                "episode": memory.episode,
                "held": memory.held,
                "since": memory.since,
                "deadline_at": memory.deadline_at,
                "escalated": memory.escalated,
                "attempt": memory.attempt,
            },
        )
    return bool(news)


def _blank(memory: Memory) -> Memory:
    return Memory(trigger=memory.trigger, episode=0, held=False)


def _keep(task: Task, snapshot: Snapshot, decision: Decision, *, now: datetime) -> None:
    """The flight recorder: decisions that changed something, with all that was known."""
    DecisionRecord.objects.create(
        task=task,
        at=now,
        version=snapshot.version,
        snapshot=SNAPSHOT.dump_python(snapshot, mode="json"),
        decision=DECISION.dump_python(decision, mode="json"),
        why=list(decision.why),
    )
