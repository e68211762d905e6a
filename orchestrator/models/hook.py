"""Scripts of a workflow around a session's turns."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from orchestrator.models.session import Session


class HookRun(models.Model):
    """One supervised run of a hook in a session's workspace. Its row is first, and names the run."""

    class Hook(models.TextChoices):
        BEFORE_RUN = "before_run", "before a turn"
        AFTER_RUN = "after_run", "after a turn"
        BEFORE_REMOVE = "before_remove", "before the workspace is removed"

    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="hooks")
    hook = models.CharField(max_length=20, choices=Hook.choices)
    turn = models.PositiveIntegerField()
    attempt = models.PositiveIntegerField(help_text="The task's attempt: a person's retry runs it again.")
    begun_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    succeeded = models.BooleanField(default=False)
    detail = models.TextField(blank=True, help_text="How it ended, with its last words.")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["session", "hook", "turn", "attempt"], name="one_run_per_hook_and_turn"),
            models.CheckConstraint(
                condition=Q(succeeded=False) | Q(ended_at__isnull=False), name="a_hook_that_succeeded_has_ended"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.hook} of {self.session}"

    @property
    def run_id(self) -> str:
        """The run's id on the host."""
        return f"hook-{self.pk}"
