"""Tasks, and what they wait for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import connection, models
from django.db.models import Q

from orchestrator.domain.status import Attention, Outcome, TaskStatus
from orchestrator.models.project import Project, choices

# What was decided of many tasks, in one statement.
_SETTLE = """
UPDATE orchestrator_task AS task
   SET status = said.status, reason = said.reason, evidence = said.evidence, attention = said.attention, standing = said.standing,
       wake_at = said.wake_at, version = said.version, outcome = said.outcome, ended_at = said.ended_at, updated_at = said.updated_at,
       progress = said.progress
  FROM jsonb_to_recordset(%s::jsonb) AS said(
       id bigint, status text, reason text, evidence jsonb, attention text, standing text,
       wake_at timestamptz, version integer, outcome text, ended_at timestamptz, updated_at timestamptz, progress jsonb)
 WHERE task.id = said.id
"""
_SETTLED = (
    *("id", "status", "reason", "evidence", "attention", "standing"),
    *("wake_at", "version", "outcome", "ended_at", "updated_at", "progress"),
)


class TaskQuerySet(models.QuerySet["Task"]):
    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> TaskQuerySet:
        """Tasks of projects that the user may see."""
        if getattr(user, "is_superuser", False):
            return self
        return self.filter(project__memberships__user=user.pk or 0).distinct()

    def due(self, now: datetime) -> TaskQuerySet:
        """Tasks that asked to be looked at again by now."""
        return self.filter(wake_at__lte=now)

    def settle(self, tasks: Sequence[Task]) -> None:
        """Store what was decided of these tasks. The caller holds their locks."""
        said = [{name: getattr(task, name) for name in _SETTLED} for task in tasks]
        with connection.cursor() as cursor:
            cursor.execute(_SETTLE, [json.dumps(said, default=str)])


class Task(models.Model):
    """What the team asked for. `status`, `attention`, `reason` and `evidence` are caches written by `settle` alone."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="tasks")
    number = models.PositiveIntegerField(help_text="Counts within the project.")
    title = models.CharField(max_length=300)
    body = models.TextField(blank=True)
    issue = models.CharField(max_length=200, blank=True)
    issue_unread = models.BooleanField(default=False, help_text="The words of the issue are still to be asked for.")
    agent = models.CharField(max_length=60)
    agent_config = models.JSONField(default=dict, blank=True, help_text="Laid over the project's.")
    own_rules = models.JSONField(
        default=dict, blank=True, help_text="The task's own rules, as the file writes them; laid over the project's."
    )
    priority = models.SmallIntegerField(default=0, help_text="Higher goes first.")
    labels = models.JSONField(default=list, blank=True)
    branch = models.CharField(max_length=200)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    depends_on = models.ManyToManyField("self", symmetrical=False, blank=True, related_name="dependents")
    idempotency_key = models.CharField(max_length=200, null=True, blank=True)

    attempt = models.PositiveIntegerField(default=0, help_text="How often a person said retry.")
    paused = models.BooleanField(default=False)
    pause_reason = models.TextField(blank=True, help_text="Who or which rule paused it, in a sentence.")
    budget_waived = models.JSONField(
        default=dict,
        blank=True,
        help_text="What had been used of a budget when a person said go on: span -> day, cost, tokens, time in seconds.",
    )
    progress = models.JSONField(
        null=True, blank=True, help_text="The last progress and where it stood then; written by `settle` alone."
    )
    merge_requested = models.CharField(max_length=64, blank=True, help_text="The head that a person asked to merge.")
    allowed_sha = models.CharField(
        max_length=64, blank=True, help_text="A head that a person allowed although it touches sensitive paths."
    )
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=12, blank=True, choices=choices(Outcome))
    ended_at = models.DateTimeField(null=True, blank=True)

    status = models.CharField(max_length=20, choices=choices(TaskStatus), default=TaskStatus.QUEUED.value)
    attention = models.CharField(max_length=10, choices=choices(Attention), default=Attention.PENDING.value)
    reason = models.TextField(blank=True, help_text="Why the task has this status, in a sentence.")
    evidence = models.JSONField(default=list, blank=True)
    waiting_for = models.TextField(blank=True, help_text="Why placement has not chosen a host yet.")
    standing = models.CharField(max_length=16, blank=True, help_text="A name for the reasons that were kept last.")
    wake_at = models.DateTimeField(null=True, blank=True, help_text="Look again then, even if nobody rings.")
    version = models.PositiveIntegerField(default=1, help_text="Grows with every visible change.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = TaskQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="one_task_per_project_and_number"),
            models.UniqueConstraint(fields=["project", "branch"], name="one_task_per_branch"),
            models.UniqueConstraint(fields=["project", "idempotency_key"], name="one_task_per_idempotency_key"),
            models.CheckConstraint(
                condition=Q(outcome="", ended_at__isnull=True) | (~Q(outcome="") & Q(ended_at__isnull=False)),
                name="an_outcome_has_its_time",
            ),
        ]
        indexes = [
            models.Index(fields=["wake_at"], condition=Q(wake_at__isnull=False), name="task_due"),
            models.Index(fields=["project", "attention"], name="task_board"),
            models.Index(fields=["-priority", "id"], condition=Q(outcome=""), name="task_open"),
        ]

    def __str__(self) -> str:
        return f"{self.project.key}#{self.number}"

    @property
    def open(self) -> bool:
        return not self.outcome
