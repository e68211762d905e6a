"""Failures that are known to go away when they are run again."""

from __future__ import annotations

from django.db import models

from orchestrator.models.project import Project


class Flake(models.Model):
    """A check that was red and then green at the same commit, with the failure that it had. `weight` is how much that is worth at `last_at`:
    it halves as time goes by."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="flakes")
    name = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=32, blank=True)
    times = models.PositiveIntegerField(default=0)
    weight = models.FloatField(default=0.0)
    last_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name", "fingerprint"], name="one_flake_per_check_and_failure")
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.times} times)"
