"""How checks go on the base branch: what a red build is compared with."""

from __future__ import annotations

from django.db import models

from orchestrator.models.project import Project


class BaseCheck(models.Model):
    """One check at one commit of the base branch. The built-in forge runs it once somebody needs to know; of other forges' only those are
    kept that fail, or that mend what failed. `n` counts the runs, of which the last is told here."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="base_checks")
    name = models.CharField(max_length=200)
    sha = models.CharField(max_length=64)
    n = models.PositiveIntegerField(default=1)
    external_id = models.CharField(max_length=100, blank=True)
    status = models.CharField(max_length=12, default="queued")
    conclusion = models.CharField(max_length=20, blank=True)
    url = models.TextField(blank=True)
    failing_log = models.TextField(blank=True, help_text="The part of its log that says why it failed.")
    fingerprint = models.CharField(max_length=32, blank=True)
    headline = models.CharField(max_length=300, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "sha", "name"], name="one_base_check_per_commit_and_name")
        ]

    def __str__(self) -> str:
        return f"{self.name} at the base {self.sha[:10]}"

    @property
    def run_id(self) -> str:
        """The id of the supervised run, where the built-in forge runs it."""
        return f"base-{self.pk}-{self.n}"
