"""Every change of the reaction rules, numbered as they were made: what acted on a task stays known, however often it was changed since."""

from __future__ import annotations

from django.conf import settings
from django.db import connection, models
from django.db.models import Max, Q

from orchestrator.domain.rules import Trigger
from orchestrator.models.project import Project, choices
from orchestrator.models.task import Task


class RuleVersionQuerySet(models.QuerySet["RuleVersion"]):
    def next_number(self) -> int:
        """The number of the next change. Changes are numbered without gaps, in the order in which they are committed: one at a time."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('rule versions', 0))")
        return (self.aggregate(newest=Max("number"))["newest"] or 0) + 1

    def concerning(self, *, project: int | None, task: int | None = None) -> RuleVersionQuerySet:
        """Changes that have a part in what holds: for all projects, for this one, for this task."""
        places = Q(project=None, task=None)
        if project is not None:
            places |= Q(project=project, task=None)
        if task is not None:
            places |= Q(task=task)
        return self.filter(places)


class RuleVersion(models.Model):
    """One change of one rule in one place (all projects, a project, a task). Never changed, never deleted while its place lives."""

    number = models.PositiveIntegerField(unique=True)
    project = models.ForeignKey(Project, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    task = models.ForeignKey(Task, null=True, blank=True, on_delete=models.CASCADE, related_name="rule_versions")
    trigger = models.CharField(max_length=30, choices=choices(Trigger))
    before = models.JSONField(
        default=dict, help_text="What the place set for the trigger until then, as the file writes it."
    )
    fields = models.JSONField(
        default=dict, help_text="What it sets from then on; a field that is missing is inherited."
    )
    at = models.DateTimeField()
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    actor_name = models.CharField(max_length=150)

    objects = RuleVersionQuerySet.as_manager()

    class Meta:
        ordering = ["-number"]
        indexes = [models.Index(fields=["project", "trigger"], name="rule_version_place")]

    def __str__(self) -> str:
        return f"version {self.number}: {self.trigger}"
