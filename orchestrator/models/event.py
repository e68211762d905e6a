"""History: one append-only line each."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.expressions import RawSQL

from orchestrator.models.project import Project
from orchestrator.models.task import Task


class EventQuerySet(models.QuerySet["Event"]):
    def settled(self) -> EventQuerySet:
        """Lines whose transaction is older than every one still open: below the newest of them, no other line can appear any more, so
        whoever reads on from there misses none. (Ids are given when a line is written, and seen when it is committed.)"""
        oldest_open = RawSQL(
            "age(pg_snapshot_xmin(pg_current_snapshot())::text::xid)", [], output_field=models.IntegerField()
        )
        age = RawSQL("age(orchestrator_event.xmin)", [], output_field=models.IntegerField())
        return self.alias(age=age).filter(age__gt=oldest_open)


class Event(models.Model):
    """One line of history: what happened, to what, by whom. Never changed, never deleted while its task lives."""

    project = models.ForeignKey(Project, null=True, blank=True, on_delete=models.CASCADE, related_name="events")
    task = models.ForeignKey(Task, null=True, blank=True, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=60, help_text="noun.verb, such as turn.ended")
    text = models.TextField(help_text="The line as people read it.")
    data = models.JSONField(default=dict, blank=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    actor_name = models.CharField(
        max_length=150, blank=True, help_text="Who did it, as they were called then; empty: the system."
    )
    address = models.CharField(max_length=64, blank=True)
    at = models.DateTimeField()

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["task", "id"], name="event_task")]

    def __str__(self) -> str:
        return self.text


class DecisionRecord(models.Model):
    """The flight recorder: what was known and what was decided, as versioned JSON. Only decisions that changed something are kept."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="decisions")
    at = models.DateTimeField()
    version = models.PositiveSmallIntegerField()
    snapshot = models.JSONField()
    decision = models.JSONField()
    why = models.JSONField(
        default=list, help_text="Lines for people: facts seen -> rule -> action, or the reason for none."
    )

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["task", "-id"], name="decision_task")]

    def __str__(self) -> str:
        return f"decision {self.pk} about {self.task}"
