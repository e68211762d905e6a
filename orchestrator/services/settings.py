"""What people change by hand of the things that decide about tasks: it is history, and every open task is looked at again."""

from __future__ import annotations

from django.db import transaction

from orchestrator import doorbell
from orchestrator.models import Task
from orchestrator.services import events
from orchestrator.services.events import Actor


@transaction.atomic
def changed(*, what: str, how: str, actor: Actor) -> None:
    """One line of history, and no task waits for a bell to learn of it: a project may go on, a rule may answer otherwise."""
    text = f"{actor.name} changed {what}: {how}"[:2000]
    events.record(kind="settings.changed", text=text, actor=actor, at=actor.at)
    Task.objects.filter(outcome="").update(wake_at=actor.at)
    doorbell.ring("place_tasks", queue_name="control")
