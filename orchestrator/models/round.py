"""Rounds of work on a project: from the first open task to none."""

from __future__ import annotations

from django.db import models
from django.db.models import Exists, OuterRef, Q

from orchestrator.models.project import Project
from orchestrator.models.task import Task


class RoundQuerySet(models.QuerySet["Round"]):
    def open(self) -> RoundQuerySet:
        return self.filter(completed_at__isnull=True)

    def complete(self) -> RoundQuerySet:
        """Those that are still open although no task of their project is."""
        return self.open().filter(~Exists(Task.objects.filter(project=OuterRef("project"), outcome="")))


class Round(models.Model):
    """What all-complete is said of, once: it begins with a task where none was open, and is complete when every one has ended."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="rounds")
    first_number = models.PositiveIntegerField(help_text="The number of the task that began it.")
    begun_at = models.DateTimeField()
    completed_at = models.DateTimeField(null=True, blank=True)
    digest = models.JSONField(
        default=dict, blank=True, help_text="What came of it: counts, cost, tokens, time, and a line a task."
    )

    objects = RoundQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["project"], condition=Q(completed_at__isnull=True), name="one_open_round_per_project"
            )
        ]
        indexes = [models.Index(fields=["id"], condition=Q(completed_at__isnull=True), name="round_open")]

    def __str__(self) -> str:
        return f"round {self.pk} of {self.project}"
