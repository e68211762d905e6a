"""Rows for the tests of how people are called, and a clock that is moved: what the rows say is a span earlier, and nothing sleeps."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.db.models import F
from django.utils import timezone

from orchestrator.domain.actions import Interrupt
from orchestrator.domain.rules import Priority, Trigger
from orchestrator.models import Interruption, Job, Membership, Notification, NotificationChannel, Project, Role, Task
from orchestrator.services import projects, promises, tasks
from orchestrator.services.events import Actor


def a_team() -> tuple[User, User, User]:
    """The author of the task, a maintainer, and an admin."""
    people = User.objects
    return (
        people.create_user("ada"),
        people.create_user("grace"),
        people.create_user("chief", is_superuser=True, is_staff=True),
    )


def a_task(author: User | None = None, maintainer: User | None = None, key: str = "app") -> Task:
    """A task of the author in a project that the maintainer looks after."""
    projects.local_host(name="local", capacity=5)
    actor = Actor(user=author, name=author.username if author else "somebody", at=timezone.now())
    project, _ = projects.register(
        key=key, name=key, remote=f"/nowhere/{key}", default_branch="main", agent="command", actor=actor
    )
    join(project, author, Role.MEMBER)
    join(project, maintainer, Role.MAINTAINER)
    return tasks.submit(project=project, title="Fix it", actor=actor)[0]


def join(project: Project, user: User | None, role: Role) -> None:
    if user is not None:
        Membership.objects.update_or_create(project=project, user=user, defaults={"role": role})


def ask(
    task: Task,
    cause: str = "ci-failed:escalation-1",
    *,
    priority: Priority = Priority.URGENT,
    escalation: bool = True,
    trigger: Trigger | None = Trigger.CI_FAILED,
    question: str = "ci-failed: 2 tries used up. What now?",
) -> Interruption:
    """A human is asked."""
    asking = Interrupt(
        trigger=trigger,
        cause=cause,
        priority=priority,
        escalation=escalation,
        question=question,
        evidence=("the check unit failed",),
    )
    promises.promise([asking], task=task, now=timezone.now())
    return Interruption.objects.get(task=task, cause=cause)


def channel(name: str, *priorities: str, plugin: str = "apprise", **fields: object) -> NotificationChannel:
    """A channel of these priorities; of all, where none is named."""
    wanted = list(priorities) or ["urgent", "action", "warning", "info"]
    return NotificationChannel.objects.create(name=name, plugin=plugin, priorities=wanted, **fields)


def let_pass(span: timedelta) -> None:
    """The clock goes on by so much."""
    Interruption.objects.update(
        asked_at=F("asked_at") - span,
        told_at=F("told_at") - span,
        counts_from=F("counts_from") - span,
        wake_at=F("wake_at") - span,
        snoozed_until=F("snoozed_until") - span,
    )
    Job.objects.filter(verb="Deliver").update(run_at=F("run_at") - span)
    Notification.objects.update(
        created_at=F("created_at") - span, held_until=F("held_until") - span, sent_at=F("sent_at") - span
    )
