"""Workflows of projects: what a `WORKFLOW.md` said, version by version, and the issues that became tasks by it."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import Q

from orchestrator.domain.issues import Standing
from orchestrator.models.project import Project, choices


class WorkflowVersion(models.Model):
    """One text of a project's workflow that was taken. It never changes: sessions keep the one that they began with."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="workflow_versions")
    number = models.PositiveIntegerField(help_text="Counts within the project.")
    text = models.TextField()
    settings = models.JSONField(help_text="What it says, as it was read when it was taken.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the text.")
    author = models.CharField(max_length=200, help_text="Who applied it, or whose branch it stands on.")
    source = models.CharField(max_length=1000, help_text="The file, and the commit where it is the repository's.")
    taken_at = models.DateTimeField()

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="one_workflow_version_per_project_and_number")
        ]

    def __str__(self) -> str:
        return f"workflow {self.number} of {self.project}"


class ProjectWorkflowQuerySet(models.QuerySet["ProjectWorkflow"]):
    def current(self) -> ProjectWorkflowQuerySet:
        """Workflows of which a version holds."""
        return self.filter(current__isnull=False)

    def due(self, now: datetime) -> ProjectWorkflowQuerySet:
        """Workflows whose tracker is to be asked by now."""
        return self.current().filter(poll_at__lte=now, project__paused=False)


class ProjectWorkflow(models.Model):
    """Which version holds in a project, what is wrong with the text that was offered last, and when its tracker is asked next."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="workflow")
    current = models.ForeignKey(WorkflowVersion, null=True, blank=True, on_delete=models.RESTRICT, related_name="+")
    applied = models.BooleanField(
        default=False, help_text="Somebody applied a file: the one in the repository is not looked at any more."
    )
    fault = models.CharField(max_length=60, blank=True, help_text="The class of what is wrong with the newest text.")
    error = models.TextField(blank=True, help_text="What is wrong with it. The last good version goes on meanwhile.")
    offered = models.CharField(max_length=64, blank=True, help_text="SHA-256 of the text that was looked at last.")
    looked_sha = models.CharField(max_length=64, blank=True, help_text="The commit whose file was looked at last.")
    stall_timeout = models.DurationField(
        null=True,
        blank=True,
        help_text="After so long without progress its agents are set to work again; empty: never.",
    )
    poll_at = models.DateTimeField(null=True, blank=True, help_text="The tracker is asked then, whoever rings.")
    polled_at = models.DateTimeField(null=True, blank=True)
    poll_error = models.TextField(blank=True)

    objects = ProjectWorkflowQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["poll_at"], condition=Q(poll_at__isnull=False), name="workflow_due")]

    def __str__(self) -> str:
        return f"workflow of {self.project}"


class TrackedIssue(models.Model):
    """An issue that became a task by itself: as its tracker showed it last, and what that means for the task."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="tracked_issues")
    task = models.OneToOneField("orchestrator.Task", on_delete=models.CASCADE, related_name="tracked")
    issue = models.CharField(max_length=200, help_text="The tracker's own id.")
    facts = models.JSONField(help_text="The issue's fields.")
    state = models.CharField(max_length=100, help_text="As it is compared.")
    standing = models.CharField(max_length=10, choices=choices(Standing), default=Standing.ACTIVE.value)
    why = models.TextField(blank=True, help_text="Why it is not worked on.")
    changes = models.PositiveIntegerField(default=0, help_text="How often its standing has changed.")
    standing_at = models.DateTimeField(help_text="When it was first seen to stand so.")
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "issue"], name="one_task_per_issue")]

    def __str__(self) -> str:
        return f"{self.facts.get('identifier', self.issue)}"
