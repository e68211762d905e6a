"""Hooks of a session: a row first, then a supervised run under the row's name, then how it ended."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from orchestrator import doorbell
from orchestrator.domain.prompts import plain
from orchestrator.domain.snapshot import JobState
from orchestrator.models import HookRun, Job, Session
from orchestrator.services import events

_WAITING = {
    HookRun.Hook.BEFORE_RUN: "StartTurn",
    HookRun.Hook.AFTER_RUN: "Publish",
    HookRun.Hook.BEFORE_REMOVE: "EndSession",
}


@transaction.atomic
def begin(*, session: Session, hook: str, turn: int, attempt: int, now: datetime) -> HookRun:
    """The run of this hook for this turn; asked again it is the same."""
    row, _ = HookRun.objects.get_or_create(
        session=session, hook=hook, turn=turn, attempt=attempt, defaults={"begun_at": now}
    )
    return row


@transaction.atomic
def started(*, hook: HookRun, now: datetime) -> None:
    """The host has the run."""
    HookRun.objects.filter(pk=hook.pk, started_at__isnull=True).update(started_at=now)


@transaction.atomic
def ended(*, hook_id: int, succeeded: bool, detail: str, now: datetime) -> HookRun | None:
    """The run is over. Who waited for it goes on at once. None: it had been recorded."""
    row = HookRun.objects.select_for_update(of=("self",)).select_related("session__task__project").get(pk=hook_id)
    if row.ended_at is not None:
        return None
    row.ended_at, row.succeeded, row.detail = now, succeeded, plain(detail)
    row.save(update_fields=["ended_at", "succeeded", "detail"])
    session = row.session
    words = f"hook {row.hook} {'done' if succeeded else 'failed'}: {row.detail}"[:2000]
    data = {"hook": row.hook, "turn": row.turn, "succeeded": succeeded}
    events.record(kind="hook.ended", text=words, task=session.task, at=now, data=data)
    waiting = Job.objects.filter(session=session, verb=_WAITING[HookRun.Hook(row.hook)], state=JobState.PROMISED)
    if waiting.update(run_at=now):
        doorbell.ring_jobs(session.host.queue)
    return row
