"""Tasks on which nothing can be decided: put aside for a while and shown to people, so that they hold up nobody else."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction

from orchestrator.domain.actions import Interrupt
from orchestrator.domain.prompts import plain
from orchestrator.domain.rules import Priority
from orchestrator.domain.status import Attention
from orchestrator.models import Task
from orchestrator.services import events, promises

AGAIN_AFTER = timedelta(minutes=1)


@transaction.atomic
def put_aside(*, task_id: int, why: str, now: datetime) -> None:
    """Look at the task again later and not first of all; a human is called once for each cause."""
    task = (
        Task.objects.select_for_update(of=("self",), no_key=True).select_related("project").filter(pk=task_id).first()
    )
    if task is None:
        return
    cause = plain(why)[:200]
    question = f"Nothing can be decided on this task: {cause}. It is tried again every minute."
    ask = Interrupt(trigger=None, cause=f"aside:{cause}", priority=Priority.URGENT, escalation=True, question=question)
    new = promises.promise([ask], task=task, now=now)
    Task.objects.filter(pk=task_id).update(wake_at=now + AGAIN_AFTER)
    if new:
        Task.objects.filter(pk=task_id).update(reason=question, attention=Attention.RESPOND)
        events.touch(task=task)
