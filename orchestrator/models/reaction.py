"""What is remembered of triggers, what humans were asked, and how they were told."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from orchestrator.domain.rules import Priority, Trigger
from orchestrator.models.project import choices
from orchestrator.models.task import Task


class Reaction(models.Model):
    """The memory of a trigger since it was last clear. Retry counts are not here: they are counted from messages."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="reactions")
    trigger = models.CharField(max_length=30, choices=choices(Trigger))
    episode = models.PositiveIntegerField(default=0)
    held = models.BooleanField(default=False)
    since = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField(null=True, blank=True)
    escalated = models.BooleanField(default=False)
    attempt = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["task", "trigger"], name="one_reaction_per_task_and_trigger")]

    def __str__(self) -> str:
        return f"{self.trigger} of {self.task}"


class InterruptionQuerySet(models.QuerySet["Interruption"]):
    def open(self) -> InterruptionQuerySet:
        return self.filter(resolved_at__isnull=True, acknowledged_at__isnull=True)


class Interruption(models.Model):
    """A human was asked for something: cause, evidence, asked, seen, answered, by whom. An escalation stays until acknowledged."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="interruptions")
    trigger = models.CharField(max_length=30, blank=True, choices=choices(Trigger))
    rule_version = models.PositiveIntegerField(
        null=True, blank=True, help_text="The version of the rule that asked; empty: no rule did."
    )
    cause = models.CharField(max_length=300, help_text="The same cause interrupts once.")
    priority = models.CharField(max_length=10, choices=choices(Priority))
    escalation = models.BooleanField(default=False)
    question = models.TextField()
    evidence = models.JSONField(default=list, blank=True)
    asked_at = models.DateTimeField()
    seen_at = models.DateTimeField(null=True, blank=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolution = models.TextField(blank=True)

    objects = InterruptionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["task", "cause"], name="one_interruption_per_cause")]
        indexes = [
            models.Index(
                fields=["task"],
                condition=Q(resolved_at__isnull=True, acknowledged_at__isnull=True),
                name="interruption_open",
            )
        ]

    def __str__(self) -> str:
        return self.question[:80]

    @property
    def open(self) -> bool:
        return self.resolved_at is None and self.acknowledged_at is None


class NotificationChannel(models.Model):
    """A way to reach people, as the file names it: `apprise` takes any of its URLs."""

    name = models.SlugField(max_length=60, unique=True)
    plugin = models.CharField(max_length=40)
    config = models.JSONField(default=dict, blank=True)
    priorities = models.JSONField(default=list, blank=True, help_text="The priorities that are sent here.")

    def __str__(self) -> str:
        return self.name


class Notification(models.Model):
    """One interruption on its way to one channel; carried out by a job of its own, at least once, with this row's stable id."""

    interruption = models.ForeignKey(Interruption, on_delete=models.CASCADE, related_name="notifications")
    channel = models.ForeignKey(NotificationChannel, on_delete=models.CASCADE, related_name="notifications")
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["interruption", "channel"], name="one_notification_per_interruption_and_channel"
            )
        ]

    def __str__(self) -> str:
        return f"{self.interruption} to {self.channel}"
