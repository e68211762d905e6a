"""What is remembered of triggers, and what humans were asked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
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
        """What asks for a person now: nobody has taken it on, put it off or resolved it."""
        return self.filter(resolved_at__isnull=True, acknowledged_at__isnull=True, snoozed_until__isnull=True)

    def unresolved(self) -> InterruptionQuerySet:
        """What is not over: open, acknowledged or snoozed."""
        return self.filter(resolved_at__isnull=True)

    def of(self, tasks: Iterable[Task]) -> InterruptionQuerySet:
        """What was asked about these tasks."""
        return self.filter(task__in=tasks)

    def gone(self) -> InterruptionQuerySet:
        """What waits for a person though its cause has gone."""
        return self.filter(cleared_at__isnull=False, resolved_at__isnull=True)

    def standing(self) -> InterruptionQuerySet:
        """What was asked and needs not be asked again."""
        return self.exclude(cleared_at__isnull=False, resolved_at__isnull=True)

    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> InterruptionQuerySet:
        """What was asked about tasks of projects that the user may see."""
        if getattr(user, "is_superuser", False):
            return self
        return self.filter(task__project__memberships__user=user.pk or 0).distinct()

    def due(self, now: datetime) -> InterruptionQuerySet:
        """What people are to be told of again by now."""
        return self.filter(wake_at__lte=now)

    def resolve(self, *, at: datetime, words: str) -> int:
        """Close them: nobody is told of them any more."""
        return self.unresolved().update(resolved_at=at, resolution=words, snoozed_until=None, wake_at=None)


class Interruption(models.Model):
    """A human was asked for something: cause, evidence, asked, seen, answered, by whom. Its priority is its severity.

    open -> acknowledged (someone is on it) or snoozed (quiet until then) -> resolved, by its cause's end or by a person's words.
    An escalation whose cause has gone stays until a person acknowledges it, and is not pressed meanwhile.
    """

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
    step = models.PositiveSmallIntegerField(default=0, help_text="The rung of the ladder that was called last, from 0.")
    counts_from = models.DateTimeField(
        null=True, blank=True, help_text="From when the ladder counts; empty: since it was asked."
    )
    told_at = models.DateTimeField(null=True, blank=True, help_text="When people were told of it last.")
    tellings = models.PositiveIntegerField(default=0, help_text="How often people were told of it again.")
    wake_at = models.DateTimeField(
        null=True, blank=True, help_text="People are told of it again then: a reminder, the next rung, a snooze's end."
    )
    snoozed_until = models.DateTimeField(null=True, blank=True)
    cleared_at = models.DateTimeField(null=True, blank=True, help_text="Since when its cause is gone.")
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolution = models.TextField(blank=True)

    objects = InterruptionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["task", "cause"], name="one_interruption_per_cause"),
            models.CheckConstraint(
                condition=Q(wake_at__isnull=True) | Q(acknowledged_at__isnull=True, resolved_at__isnull=True),
                name="what_somebody_took_on_presses_nobody",
            ),
            models.CheckConstraint(
                condition=Q(snoozed_until__isnull=True)
                | Q(acknowledged_at__isnull=True, resolved_at__isnull=True, wake_at__isnull=False),
                name="what_is_snoozed_comes_back",
            ),
            models.CheckConstraint(
                condition=Q(resolved_at__isnull=True) | ~Q(resolution=""), name="what_is_resolved_says_how"
            ),
        ]
        indexes = [
            models.Index(
                fields=["task"],
                condition=Q(resolved_at__isnull=True, acknowledged_at__isnull=True),
                name="interruption_open",
            ),
            models.Index(fields=["task"], condition=Q(resolved_at__isnull=True), name="interruption_unresolved"),
            models.Index(fields=["wake_at"], condition=Q(wake_at__isnull=False), name="interruption_due"),
        ]

    def __str__(self) -> str:
        return self.question[:80]

    @property
    def open(self) -> bool:
        return self.resolved_at is None and self.acknowledged_at is None and self.snoozed_until is None

    @property
    def pressing(self) -> bool:
        """Whether people are called until somebody answers. Any other question is told once."""
        return self.escalation or self.priority == Priority.URGENT

    @property
    def state(self) -> str:
        """open, acknowledged, snoozed or resolved."""
        if self.resolved_at is not None:
            return "resolved"
        if self.acknowledged_at is not None:
            return "acknowledged"
        return "open" if self.snoozed_until is None else "snoozed"
