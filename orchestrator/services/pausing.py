"""People pause tasks and let them go on, also those that a rule or a used up budget holds back."""

from __future__ import annotations

from django.db import transaction

from orchestrator import doorbell
from orchestrator.domain.budgets import used_up
from orchestrator.domain.prompts import unpaused_words
from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import TurnEnd
from orchestrator.models import Interruption, Message, Session, Task
from orchestrator.services import events, snapshots, spending
from orchestrator.services.events import Actor
from orchestrator.services.tasks import NotNow


@transaction.atomic
def pause(*, task: Task, actor: Actor) -> None:
    """No further turn of the task begins until somebody resumes it; the live one comes to its end. Pausing again does nothing."""
    task = _open(task)
    if task.paused:
        return
    reason = f"{actor.name} paused it"
    Task.objects.filter(pk=task.pk).update(paused=True, pause_reason=reason)
    _told(task, actor, kind="task.paused", text=reason)


@transaction.atomic
def resume(*, task: Task, actor: Actor) -> None:
    """Let it go on: the pause ends, and of each budget that is used up the task may use as much again. Raises `NotNow` when nothing held it."""
    task = _open(task)
    budgets = snapshots.take(task, now=actor.at).budgets
    if not task.paused and not any(map(used_up, budgets)):
        raise NotNow(f"{task} is not paused{': its project is' if task.project.paused else ''}")
    waived = {**task.budget_waived, **spending.waiver_of(budgets)}
    Task.objects.filter(pk=task.pk).update(paused=False, pause_reason="", budget_waived=waived)
    if task.paused:
        _begin_again(task)
    asked = Interruption.objects.filter(task=task, trigger=Trigger.BUDGET_EXCEEDED, escalation=False)
    asked.resolve(at=actor.at, words=f"{actor.name} let it go on")
    _told(task, actor, kind="task.resumed", text=f"{actor.name} let it go on")
    doorbell.ring("place_tasks", queue_name="control")


def _open(task: Task) -> Task:
    found = Task.objects.select_for_update(of=("self",), no_key=True).select_related("project").get(pk=task.pk)
    if found.outcome:
        raise NotNow(f"{found} has ended ({found.outcome})")
    if found.cancel_requested_at is not None:
        raise NotNow(f"{found} is being cancelled")
    return found


def _begin_again(task: Task) -> None:
    """An agent that was stopped while its task was paused is told to go on, unless other words wait for it."""
    session = Session.objects.live().filter(task=task).first()
    turn = session.turns.order_by("-n").first() if session is not None else None
    if turn is None or turn.end != TurnEnd.STOPPED or task.messages.filter(turn__isnull=True).exists():
        return
    Message.objects.get_or_create(
        task=task,
        key=f"resumed:{turn.pk}",
        defaults={"session": session, "occasion": f"resumed-{turn.pk}", "text": unpaused_words()},
    )


def _told(task: Task, actor: Actor, *, kind: str, text: str) -> None:
    events.record(kind=kind, text=text, task=task, actor=actor, at=actor.at)
    events.touch(task=task)
    events.look_again(task_id=task.pk, at=actor.at)
