"""How people are told: channels, what was sent there, everybody's inbox, when somebody wants to be left alone."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import Q

from orchestrator.domain.rules import Priority
from orchestrator.models.project import choices
from orchestrator.models.reaction import Interruption

CHANNEL_QUEUES = "channel."  # the jobs of each channel have a queue of their own, of which one is carried out at a time


class NotificationChannel(models.Model):
    """A way to reach people, as the file names it: `apprise` takes any of its URLs. One with a person is that person's alone."""

    name = models.SlugField(max_length=60, unique=True)
    plugin = models.CharField(max_length=40)
    config = models.JSONField(default=dict, blank=True)
    priorities = models.JSONField(default=list, blank=True, help_text="The priorities that are sent here.")
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="channels",
        help_text="Whose channel it is; empty: many read it, so what is pressed there needs a login.",
    )
    failures = models.PositiveIntegerField(default=0, help_text="In a row.")
    failing_since = models.DateTimeField(null=True, blank=True)
    dead_since = models.DateTimeField(null=True, blank=True, help_text="Since when admins know that it is broken.")
    trouble = models.TextField(blank=True, help_text="What it said last when it took nothing.")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(dead_since__isnull=True) | Q(failing_since__isnull=False), name="a_dead_channel_fails"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def queue(self) -> str:
        return f"{CHANNEL_QUEUES}{self.pk}"


class NotificationQuerySet(models.QuerySet["Notification"]):
    def waiting(self) -> NotificationQuerySet:
        """What is still to be sent."""
        return self.filter(sent_at__isnull=True, dropped_at__isnull=True)

    def over(self) -> NotificationQuerySet:
        """What was sent or dropped."""
        return self.filter(Q(sent_at__isnull=False) | Q(dropped_at__isnull=False))

    def due(self, now: datetime) -> NotificationQuerySet:
        """What is to be sent now."""
        return self.waiting().filter(Q(held_until__isnull=True) | Q(held_until__lte=now))


class Notification(models.Model):
    """One thing on its way to one channel; carried out by a job of its own, at least once, with this row's stable id. Several that wait
    together may go as one message, which names them all."""

    channel = models.ForeignKey(NotificationChannel, on_delete=models.CASCADE, related_name="notifications")
    interruption = models.ForeignKey(
        Interruption, null=True, blank=True, on_delete=models.CASCADE, related_name="notifications"
    )
    cause = models.CharField(max_length=340, help_text="The same cause is told to a channel once.")
    telling = models.CharField(max_length=12, default="asked", help_text="asked, climbed, reminded, back or alert")
    priority = models.CharField(max_length=10, choices=choices(Priority))
    title = models.TextField()
    body = models.TextField(blank=True)
    created_at = models.DateTimeField()
    held_until = models.DateTimeField(null=True, blank=True, help_text="The end of the quiet hours that it waits for.")
    tries = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    message = models.CharField(max_length=60, blank=True, help_text="The id of the message that it went with.")
    dropped_at = models.DateTimeField(null=True, blank=True)
    dropped_why = models.CharField(max_length=200, blank=True)

    objects = NotificationQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["channel", "cause"], name="one_notification_per_cause_and_channel"),
            models.CheckConstraint(
                condition=Q(sent_at__isnull=True) | Q(dropped_at__isnull=True),
                name="what_was_sent_was_not_dropped",
            ),
        ]
        indexes = [
            models.Index(
                fields=["channel", "id"],
                condition=Q(sent_at__isnull=True, dropped_at__isnull=True),
                name="notification_waiting",
            ),
            models.Index(fields=["channel", "sent_at"], name="notification_sent"),
        ]

    def __str__(self) -> str:
        return f"{self.title[:60]} to {self.channel}"

    @property
    def state(self) -> str:
        """sent, dropped, held, failing or waiting."""
        if self.sent_at is not None:
            return "sent"
        if self.dropped_at is not None:
            return "dropped"
        if self.error:
            return "failing"
        return "held" if self.held_until is not None else "waiting"


class InboxItem(models.Model):
    """Something that one person was told here. The same cause is one line, which is unread again when the person is told again."""

    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="inbox")
    interruption = models.ForeignKey(
        Interruption, null=True, blank=True, on_delete=models.CASCADE, related_name="inbox"
    )
    cause = models.CharField(max_length=340)
    telling = models.CharField(max_length=12, default="asked")
    priority = models.CharField(max_length=10, choices=choices(Priority))
    title = models.TextField()
    body = models.TextField(blank=True)
    at = models.DateTimeField()
    times = models.PositiveIntegerField(default=1)
    read_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-at", "-id"]
        constraints = [models.UniqueConstraint(fields=["person", "cause"], name="one_inbox_item_per_person_and_cause")]
        indexes = [
            models.Index(fields=["person", "-at"], name="inbox_of_a_person"),
            models.Index(fields=["person"], condition=Q(read_at__isnull=True), name="inbox_unread"),
        ]

    def __str__(self) -> str:
        return self.title[:80]


class QuietTime(models.Model):
    """When a person's own channels are quiet, for all that is not urgent. The inbox always shows at once."""

    person = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="quiet_time")
    start = models.TimeField(default="22:00")
    end = models.TimeField(default="07:00")
    zone = models.CharField(max_length=60, default="UTC", help_text="A name such as Europe/Berlin.")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~Q(start=models.F("end")), name="quiet_hours_leave_some_of_the_day")
        ]

    def __str__(self) -> str:
        return f"{self.start:%H:%M} to {self.end:%H:%M} {self.zone}"


class SpentLink(models.Model):
    """A signed link by which somebody acted. It acts once."""

    digest = models.CharField(max_length=64, unique=True)
    interruption = models.ForeignKey(Interruption, on_delete=models.CASCADE, related_name="+")
    action = models.CharField(max_length=20)
    person = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    spent_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.action} of {self.interruption}"
