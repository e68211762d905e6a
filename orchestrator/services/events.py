"""History: who did what, one line each, and the version by which pages see that a task changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.contrib.auth.models import AbstractBaseUser
from django.db.models import F
from django.utils import timezone

from orchestrator import doorbell
from orchestrator.models import Event, Project, Task, rows
from orchestrator.models.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks, from where and when: made at the doors (a request, a command, a webhook). A user is called by the user's name where the
    door says no other, so that every line of history names somebody."""

    user: AbstractBaseUser | None = None
    name: str = ""
    address: str = ""
    at: datetime = field(default_factory=timezone.now)

    def __post_init__(self) -> None:
        if not self.name:
            known = self.user.get_username() if self.user is not None else "somebody"
            object.__setattr__(self, "name", known)


SYSTEM = "ao"


def record(
    *,
    kind: str,
    text: str,
    at: datetime,
    project: Project | None = None,
    task: Task | None = None,
    actor: Actor | None = None,
    data: Mapping[str, object] | None = None,
) -> None:
    """Append one line of history. `kind` is noun.verb; `text` is the line as people read it."""
    append([line(kind=kind, text=text, at=at, project=project, task=task, actor=actor, data=data)])


def line(
    *,
    kind: str,
    text: str,
    at: datetime,
    project: Project | None = None,
    task: Task | None = None,
    actor: Actor | None = None,
    data: Mapping[str, object] | None = None,
) -> Row:
    """A line that is not stored yet, for those who append many at once."""
    return {
        "kind": kind,
        "text": text,
        "at": at,
        "project_id": project.pk if project is not None else task.project_id if task is not None else None,
        "task_id": task.pk if task is not None else None,
        "actor_id": actor.user.pk if actor is not None and actor.user is not None else None,
        "actor_name": actor.name if actor is not None else "",
        "address": actor.address if actor is not None else "",
        "data": dict(data or {}),
    }


def append(lines: Sequence[Row]) -> None:
    """Append them to history in their order, in one statement."""
    rows.insert(Event, lines)


def look_again(*, task_id: int | None, at: datetime) -> None:
    """A fact of the task changed: decide on it soon. Part of the transaction that wrote the fact, so that a lost bell loses nothing; the
    task's row is locked here, before the rows of its sessions, turns and jobs."""
    if task_id is not None:
        Task.objects.filter(pk=task_id).update(wake_at=at)
        doorbell.ring("reconcile_task", queue_name="control", task_id=task_id)


def touch(*, task: Task) -> None:
    """Something visible of the task changed: pages that show an older version fetch it again."""
    Task.objects.filter(pk=task.pk).update(version=F("version") + 1)
    task.refresh_from_db(fields=["version"])
    doorbell.ring_board(task=task.pk, project=task.project_id, version=task.version)
