"""The shapes of what is sent: each request is validated by its own."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from orchestrator.domain.rules import Priority, Reply, Trigger
from orchestrator.domain.status import Attention, TaskStatus
from orchestrator.models import ApiToken, Review
from orchestrator.services.replays import MOST_DAYS
from orchestrator.services.tasks import TEXT_LENGTH, TITLE_LENGTH

Shape = serializers.Serializer[Any]
BIGGEST = 2**63 - 1


class NewTask(Shape):
    project = serializers.CharField(max_length=40, help_text="The project's key.")
    title = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=TITLE_LENGTH,
        help_text="Needed unless `issue` names one that can be read.",
    )
    body = serializers.CharField(required=False, allow_blank=True, max_length=TEXT_LENGTH, trim_whitespace=False)
    issue = serializers.CharField(required=False, allow_blank=True, max_length=200)
    agent = serializers.CharField(required=False, allow_null=True, max_length=60)
    priority = serializers.IntegerField(required=False, min_value=-100, max_value=100)
    labels = serializers.ListField(child=serializers.CharField(max_length=60), required=False, max_length=50)
    depends_on = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=BIGGEST), required=False, max_length=100
    )
    reactions = serializers.JSONField(
        required=False, help_text='Rules for this task alone, as the file writes them: {"ci-failed": {"retries": 1}}.'
    )


class TaskChange(Shape):
    reactions = serializers.JSONField(
        help_text="All that the task sets about reactions by itself from now on; {} leaves everything to its project."
    )


class VersionFilter(Shape):
    project = serializers.CharField(required=False, max_length=40)
    task = serializers.IntegerField(required=False, min_value=1, max_value=BIGGEST)
    trigger = serializers.ChoiceField([str(word) for word in Trigger], required=False)


class NewReplay(Shape):
    text = serializers.CharField(
        max_length=500_000,
        trim_whitespace=False,
        help_text="A file with `reactions:` alone, laid over the rules that held, or a whole one, in their place.",
    )
    path = serializers.CharField(required=False, allow_blank=True, max_length=1000, help_text="Its name, for messages.")
    days = serializers.IntegerField(default=30, min_value=1, max_value=MOST_DAYS)
    project = serializers.CharField(required=False, allow_blank=True, max_length=40)
    after = serializers.IntegerField(
        default=0, min_value=0, max_value=BIGGEST, help_text="`next` of the answer before."
    )


class TaskFilter(Shape):
    project = serializers.CharField(required=False, max_length=40)
    number = serializers.IntegerField(required=False, min_value=1, max_value=2**31 - 1)
    status = serializers.ChoiceField([str(word) for word in TaskStatus], required=False)
    attention = serializers.ChoiceField([str(word) for word in Attention], required=False)
    open = serializers.BooleanField(required=False, allow_null=True, default=None)
    label = serializers.CharField(required=False, max_length=60)  # type: ignore[assignment]  # a declared field, which rest_framework takes out of the class
    q = serializers.CharField(required=False, max_length=200, help_text="Words of the title.")


class NewMessage(Shape):
    text = serializers.CharField(max_length=TEXT_LENGTH, trim_whitespace=False)


class NewAnswer(Shape):
    request_id = serializers.CharField(max_length=200)
    answer = serializers.CharField(max_length=TEXT_LENGTH)


class NewReviewComment(Shape):
    path = serializers.CharField(max_length=1000)
    line = serializers.IntegerField(min_value=1, max_value=2**31 - 1, required=False, allow_null=True)
    body = serializers.CharField(max_length=TEXT_LENGTH, trim_whitespace=False)


class NewReview(Shape):
    decision = serializers.ChoiceField([word for word in Review.Decision.values if word != Review.Decision.DISMISSED])
    body = serializers.CharField(required=False, allow_blank=True, max_length=TEXT_LENGTH, trim_whitespace=False)
    comments = NewReviewComment(many=True, required=False)
    head_sha = serializers.CharField(
        required=False, allow_blank=True, max_length=64, help_text="The head that was looked at."
    )


class Nothing(Shape):
    """A body without fields."""


class NewOverride(Shape):
    project = serializers.CharField(max_length=40, allow_null=True, required=False, help_text="Null: for all projects.")
    trigger = serializers.ChoiceField([str(word) for word in Trigger])
    auto = serializers.BooleanField(required=False, allow_null=True)
    action = serializers.ListField(
        child=serializers.ChoiceField([str(word) for word in Reply]), required=False, allow_null=True, min_length=1
    )
    message = serializers.CharField(required=False, allow_null=True, allow_blank=True, max_length=10_000)
    priority = serializers.ChoiceField([str(word) for word in Priority], required=False, allow_null=True)
    retries = serializers.IntegerField(required=False, allow_null=True, min_value=0, max_value=1000)
    escalate_after = serializers.CharField(
        required=False, allow_null=True, max_length=20, help_text="Attempts (2) or a duration (30m)."
    )
    threshold = serializers.CharField(required=False, allow_null=True, max_length=20, help_text="A duration (10m).")
    include_summary = serializers.BooleanField(required=False, allow_null=True)


class ProjectParameter(Shape):
    project = serializers.CharField(required=False, max_length=40)


class UsageFilter(ProjectParameter):
    days = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=366,
        help_text="Of UTC, with today; a turn counts to the day on which it began.",
    )


class HostChange(Shape):
    capacity = serializers.IntegerField(required=False, min_value=0, max_value=100_000)
    draining = serializers.BooleanField(required=False)
    labels = serializers.ListField(child=serializers.CharField(max_length=60), required=False, max_length=50)


class NewHost(Shape):
    name = serializers.CharField(max_length=60)
    address = serializers.CharField(max_length=200, help_text="user@host or user@host:port.")
    host_key = serializers.CharField(
        max_length=3000, help_text="What it must prove itself with: type and key, as in known_hosts."
    )
    key_path = serializers.CharField(
        max_length=500,
        required=False,
        allow_blank=True,
        default="",
        help_text="A private key on the machine of the workers.",
    )
    folder = serializers.RegexField(
        r"^[a-z0-9]{4,40}$", required=False, default=None, allow_null=True, help_text="What ours is kept in there."
    )
    capacity = serializers.IntegerField(min_value=0, max_value=100_000, default=8)
    labels = serializers.ListField(
        child=serializers.CharField(max_length=60), required=False, default=list, max_length=50
    )


class NewHostLink(Shape):
    name = serializers.CharField(max_length=60)
    capacity = serializers.IntegerField(min_value=0, max_value=100_000, default=8)
    labels = serializers.ListField(
        child=serializers.CharField(max_length=60), required=False, default=list, max_length=50
    )
    address = serializers.RegexField(
        r"^[A-Za-z0-9.:_-]{1,255}$",
        required=False,
        allow_blank=True,
        default="",
        help_text="Where the machine reaches the gate, where that is not the address on which it listens.",
    )
    minutes = serializers.IntegerField(
        min_value=1, max_value=7 * 24 * 60, default=60, help_text="For how long the link may be used."
    )


class EscalationFilter(Shape):
    state = serializers.ChoiceField(["open", "unresolved", "all"], default="open")
    kind = serializers.ChoiceField(["escalation", "all"], default="escalation")


class NewSnooze(Shape):
    until = serializers.DateTimeField(required=False, help_text="Quiet until then, at most 30 days ahead.")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """`for` is a word of the language."""
        told = serializers.CharField(max_length=40, required=False, help_text="Quiet for a duration such as 2h.")
        return {**super().get_fields(), "for": told}


class NewResolution(Shape):
    resolution = serializers.CharField(max_length=2000, help_text="How it was resolved.")


class NotificationFilter(Shape):
    channel = serializers.CharField(required=False, max_length=60)


class InboxFilter(Shape):
    unread = serializers.BooleanField(default=False)


class WhatIsRead(Shape):
    item = serializers.IntegerField(required=False, min_value=1, max_value=2**62, help_text="Its id; without: all.")


class NewConfig(Shape):
    text = serializers.CharField(max_length=500_000, trim_whitespace=False, help_text="The file, as YAML.")
    path = serializers.CharField(required=False, allow_blank=True, max_length=1000, help_text="Its name, for messages.")
    plan = serializers.BooleanField(default=False, help_text="Only say what would change.")


class NewWorkflow(Shape):
    text = serializers.CharField(
        max_length=500_000, trim_whitespace=False, help_text="The file: front matter and prompt."
    )
    path = serializers.CharField(required=False, allow_blank=True, max_length=1000, help_text="Its name, for messages.")
    plan = serializers.BooleanField(default=False, help_text="Only say what would change.")


class NewToken(Shape):
    name = serializers.CharField(max_length=100)
    scope = serializers.ChoiceField(ApiToken.Scope.values, default=ApiToken.Scope.WRITE)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
