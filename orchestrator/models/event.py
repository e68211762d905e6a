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
    """The flight recorder: what was known at one look and what came of it, whenever something did or the reasons were others than before."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="decisions")
    at = models.DateTimeField()
    version = models.PositiveSmallIntegerField(help_text="How the facts are written.")
    facts = models.BinaryField(help_text="The snapshot, abridged and compressed: `services.recorder` reads it.")
    status = models.CharField(max_length=20)
    reason = models.TextField(blank=True)
    why = models.JSONField(
        default=list, help_text="Lines for people: facts seen -> rule -> action, or the reason for none."
    )
    made = models.JSONField(default=list, help_text="The keys of what was new: messages, questions, jobs.")

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["task", "-id"], name="decision_task"),
            models.Index(fields=["at"], name="decision_at"),
        ]

    def __str__(self) -> str:
        return f"decision {self.pk} about {self.task}"
