"""Sessions, their turns, their messages and what they wrote."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q

from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import TurnEnd
from orchestrator.models.host import Host
from orchestrator.models.project import choices
from orchestrator.models.task import Task
from orchestrator.models.workflow import WorkflowVersion


class SessionQuerySet(models.QuerySet["Session"]):
    def live(self) -> SessionQuerySet:
        return self.filter(ended_at__isnull=True)


class Session(models.Model):
    """One agent at work on a task, in one workspace on one host. `epoch` is its fencing token: a lower one is refused everywhere."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="sessions")
    epoch = models.PositiveIntegerField()
    host = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="sessions")
    agent = models.CharField(max_length=60)
    workflow = models.ForeignKey(
        WorkflowVersion,
        null=True,
        blank=True,
        on_delete=models.RESTRICT,
        related_name="sessions",
        help_text="The version of the project's workflow that it began with, and keeps.",
    )
    native_id = models.CharField(max_length=200, blank=True, help_text="The agent's own conversation id.")
    base_sha = models.CharField(max_length=64, blank=True)
    prepared_at = models.DateTimeField(null=True, blank=True)
    published_sha = models.CharField(max_length=64, blank=True, help_text="The head that we pushed last.")
    commits = models.PositiveIntegerField(default=0, help_text="Of the published branch over its base.")
    saved_ref = models.CharField(
        max_length=200, blank=True, help_text="Where what was uncommitted at the end is kept, in our mirror."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.TextField(blank=True)

    objects = SessionQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["task", "epoch"], name="one_session_per_task_and_epoch"),
            models.UniqueConstraint(
                fields=["task"], condition=Q(ended_at__isnull=True), name="one_live_session_per_task"
            ),
        ]

    def __str__(self) -> str:
        return f"session {self.pk} (epoch {self.epoch})"

    @property
    def fence(self) -> str:
        """What hosts count epochs for: the task, so that a successor fences its predecessor wherever they meet."""
        return f"task-{self.task_id}"


class Turn(models.Model):
    """One run of the agent's program over one prompt."""

    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="turns")
    n = models.PositiveIntegerField()
    prompt = models.TextField()
    resumes = models.PositiveIntegerField(
        default=0, help_text="How many turns in a row, up to this one, follow a death."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    end = models.CharField(max_length=12, blank=True, choices=choices(TurnEnd))
    exit_code = models.IntegerField(null=True, blank=True)
    detail = models.TextField(blank=True)
    progress_at = models.DateTimeField(help_text="When the agent last showed progress.")
    last_words = models.TextField(blank=True)
    activity = models.CharField(max_length=200, blank=True)
    request = models.JSONField(
        null=True,
        blank=True,
        help_text="The question that the agent waits for: id, kind, question, options, asked_at, answer.",
    )
    requests_behind = models.JSONField(
        default=list, blank=True, help_text="Questions that came while another was open; asked one after the other."
    )
    done_at = models.DateTimeField(null=True, blank=True, help_text="When the agent said that its turn was over.")
    waited = models.DurationField(
        default=timedelta, help_text="How long it waited for people's answers: that is not the agent's time."
    )
    done_ok = models.BooleanField(default=True, help_text="Whether it said that it came to its end.")
    published_at = models.DateTimeField(null=True, blank=True)
    head_before = models.CharField(max_length=64, blank=True)
    head_after = models.CharField(max_length=64, blank=True)
    journal_size = models.PositiveBigIntegerField(default=0, help_text="Bytes of the run's journal that we have.")
    parsed_to = models.PositiveBigIntegerField(default=0, help_text="Bytes of it that were read for events.")
    dropped = models.PositiveBigIntegerField(default=0)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=12, decimal_places=6, default=0)
    counted_request = models.CharField(
        max_length=100,
        blank=True,
        help_text="The last request to the model that was counted, until its agent tells the sum.",
    )

    class Meta:
        ordering = ["n"]
        constraints = [
            models.UniqueConstraint(fields=["session", "n"], name="one_turn_per_session_and_number"),
            models.UniqueConstraint(
                fields=["session"], condition=Q(ended_at__isnull=True), name="one_live_turn_per_session"
            ),
            models.CheckConstraint(
                condition=Q(end="", ended_at__isnull=True) | (~Q(end="") & Q(ended_at__isnull=False)),
                name="a_turns_end_has_its_time",
            ),
        ]
        indexes = [models.Index(fields=["created_at"], name="turn_begun")]

    def __str__(self) -> str:
        return f"turn {self.n} of {self.session}"

    @property
    def in_conversation(self) -> str:
        """The turn's name for programs: the agent's own conversation (or the session, where it has none) and the turn's number."""
        return f"{self.session.native_id or self.session.pk}-{self.n}"

    @property
    def run_id(self) -> str:
        """The run's id on the host: known before it is started, so that a second start finds the first."""
        return f"turn-{self.pk}"


class JournalChunk(models.Model):
    """Bytes of a run's journal from `offset` on. Consecutive chunks leave no gap."""

    run = models.CharField(max_length=60)
    offset = models.PositiveBigIntegerField()
    data = models.BinaryField()

    class Meta:
        ordering = ["offset"]
        constraints = [models.UniqueConstraint(fields=["run", "offset"], name="one_chunk_per_run_and_offset")]

    def __str__(self) -> str:
        return f"{self.run}@{self.offset}"


class Message(models.Model):
    """Words for an agent: recorded first, delivered once, confirmed by what the host or the agent shows."""

    BY_A_PERSON = "send:person:"  # how the key of a person's own message begins

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="messages")
    session = models.ForeignKey(Session, null=True, on_delete=models.CASCADE, related_name="messages")
    key = models.CharField(max_length=300, help_text="Verb, object and occasion: the same key is the same message.")
    trigger = models.CharField(max_length=30, blank=True, choices=choices(Trigger))
    rule_version = models.PositiveIntegerField(
        null=True, blank=True, help_text="The version of the rule that sent it; empty: no rule did."
    )
    occasion = models.CharField(max_length=200)
    episode = models.PositiveIntegerField(default=0)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    text = models.TextField()
    answers = models.JSONField(
        null=True, blank=True, help_text="The question of a live turn that this answers, and the answer alone."
    )
    turn = models.ForeignKey(Turn, null=True, blank=True, on_delete=models.SET_NULL, related_name="messages")
    created_at = models.DateTimeField(auto_now_add=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    deliveries = models.PositiveIntegerField(
        default=0, help_text="How often a host reported it in a conversation; more than 1 is a double."
    )

    class Meta:
        ordering = ["created_at"]
        constraints = [models.UniqueConstraint(fields=["task", "key"], name="one_message_per_task_and_key")]

    def __str__(self) -> str:
        return f"message {self.id}"

    @property
    def by_a_person(self) -> bool:
        """Somebody said it to the agent, of their own accord or in answer to it."""
        return self.answers is not None or self.key.startswith(self.BY_A_PERSON)
