"""The shapes of what is answered, for the schema; tests hold the real answers against them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from orchestrator.domain.rules import Trigger
from orchestrator.domain.status import Attention, TaskStatus
from orchestrator.models import Host

Shape = serializers.Serializer[Any]
STATUSES = [str(word) for word in TaskStatus]
ATTENTIONS = [str(word) for word in Attention]
TRIGGERS = [str(word) for word in Trigger]


class ErrorShape(Shape):
    field = serializers.CharField()
    message = serializers.CharField()


class Problem(Shape):
    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    errors = ErrorShape(many=True, required=False)  # type: ignore[assignment]  # a declared field, which rest_framework takes out of the class


class PullBrief(Shape):
    number = serializers.IntegerField()
    url = serializers.CharField(allow_blank=True)
    head_sha = serializers.CharField()
    state = serializers.CharField()


class TaskCard(Shape):
    id = serializers.IntegerField()
    key = serializers.CharField()
    number = serializers.IntegerField()
    project = serializers.CharField()
    title = serializers.CharField()
    issue = serializers.CharField(allow_blank=True)
    status = serializers.ChoiceField(STATUSES)
    attention = serializers.ChoiceField(ATTENTIONS)
    reason = serializers.CharField(allow_blank=True)
    priority = serializers.IntegerField()
    labels = serializers.ListField(child=serializers.CharField())
    agent = serializers.CharField()
    host = serializers.CharField(allow_null=True)
    branch = serializers.CharField()
    pull_request = PullBrief(allow_null=True)
    open_escalations = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    version = serializers.IntegerField()


class CheckShape(Shape):
    name = serializers.CharField()
    status = serializers.CharField()
    conclusion = serializers.CharField(allow_null=True)
    url = serializers.CharField(allow_blank=True)
    required = serializers.BooleanField()  # type: ignore[assignment]  # a declared field, which rest_framework takes out of the class
    log = serializers.CharField(allow_blank=True, help_text="The failing part of its log.")
    headline = serializers.CharField(allow_blank=True, help_text="The failure in one line.")
    fingerprint = serializers.CharField(
        allow_blank=True, help_text="What the same failure has in every run; empty: nothing is known of it."
    )
    blame = serializers.ChoiceField(
        ["own", "inherited", "shared", "flaky"],
        allow_null=True,
        help_text="Whose a failure is: the change's own, the base branch's, that of many pull requests, or known to go away.",
    )


class ReviewShape(Shape):
    id = serializers.IntegerField()
    author = serializers.CharField()
    decision = serializers.CharField()
    head_sha = serializers.CharField()
    body = serializers.CharField(allow_blank=True)
    trusted = serializers.BooleanField()


class CommentShape(Shape):
    id = serializers.IntegerField()
    thread = serializers.CharField()
    author = serializers.CharField()
    body = serializers.CharField()
    path = serializers.CharField(allow_blank=True)
    line = serializers.IntegerField(allow_null=True)
    resolved = serializers.BooleanField()
    trusted = serializers.BooleanField()


class PullShape(PullBrief):
    checks = CheckShape(many=True)
    review = serializers.ChoiceField(["approved", "changes_requested", "pending"])
    mergeable = serializers.BooleanField(allow_null=True)
    conflict_files = serializers.ListField(child=serializers.CharField())
    reviews = ReviewShape(many=True)
    comments = CommentShape(many=True)


class SessionShape(Shape):
    id = serializers.IntegerField()
    epoch = serializers.IntegerField()
    turn = serializers.IntegerField(allow_null=True)
    state = serializers.ChoiceField(["preparing", "running", "waiting", "idle", "ended"])


class RequestShape(Shape):
    id = serializers.CharField()
    kind = serializers.CharField(allow_null=True)
    question = serializers.CharField(allow_null=True)
    options = serializers.JSONField(allow_null=True)
    asked_at = serializers.DateTimeField(allow_null=True)


class InterruptionShape(Shape):
    id = serializers.IntegerField()
    task = serializers.IntegerField()
    trigger = serializers.ChoiceField(TRIGGERS, allow_null=True)
    priority = serializers.CharField()
    escalation = serializers.BooleanField()
    state = serializers.ChoiceField(["open", "acknowledged", "resolved"])
    question = serializers.CharField()
    evidence = serializers.JSONField()
    asked_at = serializers.DateTimeField()
    acknowledged_at = serializers.DateTimeField(allow_null=True)
    acknowledged_by = serializers.CharField(allow_null=True)
    resolved_at = serializers.DateTimeField(allow_null=True)
    resolution = serializers.CharField(allow_blank=True)


class IncidentShape(Shape):
    id = serializers.IntegerField()
    project = serializers.CharField()
    check = serializers.CharField()
    fingerprint = serializers.CharField(allow_blank=True)
    headline = serializers.CharField(allow_blank=True)
    on_base = serializers.BooleanField()
    pull_requests = serializers.ListField(child=serializers.IntegerField())
    sentence = serializers.CharField()
    state = serializers.ChoiceField(["open", "released", "resolved"])
    opened_at = serializers.DateTimeField()
    released_at = serializers.DateTimeField(allow_null=True)
    released_by = serializers.CharField(allow_null=True)
    resolved_at = serializers.DateTimeField(allow_null=True)
    resolved_by = serializers.CharField(allow_null=True)
    resolution = serializers.CharField(allow_blank=True)


class Usage(Shape):
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cost_usd = serializers.FloatField()


class TaskShape(Shape):
    id = serializers.IntegerField()
    key = serializers.CharField()
    number = serializers.IntegerField()
    project = serializers.CharField()
    title = serializers.CharField()
    body = serializers.CharField(allow_blank=True)
    issue = serializers.CharField(allow_blank=True)
    status = serializers.ChoiceField(STATUSES)
    attention = serializers.ChoiceField(ATTENTIONS)
    reason = serializers.CharField(allow_blank=True)
    evidence = serializers.JSONField()
    waiting_for = serializers.CharField(allow_blank=True)
    priority = serializers.IntegerField()
    labels = serializers.ListField(child=serializers.CharField())
    depends_on = serializers.ListField(child=serializers.IntegerField())
    agent = serializers.CharField()
    host = serializers.CharField(allow_null=True)
    branch = serializers.CharField()
    base_sha = serializers.CharField(allow_blank=True)
    pull_request = PullShape(allow_null=True)
    session = SessionShape(allow_null=True)
    request = RequestShape(allow_null=True)
    escalations = InterruptionShape(many=True)
    interruptions = InterruptionShape(many=True)
    usage = Usage()
    outcome = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    version = serializers.IntegerField()


class EventShape(Shape):
    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    kind = serializers.CharField()
    text = serializers.CharField()
    data = serializers.JSONField()  # type: ignore[assignment]  # a declared field, which rest_framework takes out of the class
    actor = serializers.CharField(allow_null=True)
    project = serializers.CharField(allow_null=True)
    task = serializers.IntegerField(allow_null=True)


class MessageShape(Shape):
    id = serializers.UUIDField()
    text = serializers.CharField()
    trigger = serializers.CharField(allow_null=True)
    author = serializers.CharField(allow_null=True)
    turn = serializers.IntegerField(allow_null=True)
    created_at = serializers.DateTimeField()
    delivered_at = serializers.DateTimeField(allow_null=True)
    confirmed_at = serializers.DateTimeField(allow_null=True)
    deliveries = serializers.IntegerField()


class TurnBrief(Shape):
    session = serializers.IntegerField()
    turn = serializers.IntegerField()
    agent = serializers.CharField(help_text="Whose lines these are.")
    live = serializers.BooleanField()


class Transcript(Shape):
    session = serializers.IntegerField(allow_null=True)
    turn = serializers.IntegerField(allow_null=True)
    agent = serializers.CharField(allow_blank=True, help_text="Whose lines these are; empty before the first turn.")
    live = serializers.BooleanField()
    text = serializers.CharField(allow_blank=True)
    next = serializers.IntegerField(help_text="Ask again with `after` set to this.")
    dropped = serializers.IntegerField(help_text="Bytes over the cap, which were not kept.")
    turns = TurnBrief(many=True)


class DiffShape(Shape):
    base_sha = serializers.CharField(allow_blank=True)
    head_sha = serializers.CharField(allow_blank=True)
    text = serializers.CharField(allow_blank=True)
    truncated = serializers.BooleanField()


class WhyShape(Shape):
    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    why = serializers.ListField(child=serializers.CharField())
    decision = serializers.JSONField()


class ProjectShape(Shape):
    key = serializers.CharField()
    name = serializers.CharField()
    remote = serializers.CharField()
    default_branch = serializers.CharField()
    session_prefix = serializers.CharField()
    agent = serializers.CharField()
    scm = serializers.CharField()
    required_checks = serializers.ListField(child=serializers.CharField(), allow_null=True)
    checks = serializers.ListField(child=serializers.CharField())
    sandbox = serializers.CharField()
    max_sessions = serializers.IntegerField()
    paused = serializers.BooleanField()
    notice = serializers.CharField(allow_blank=True)
    base_sha = serializers.CharField(allow_blank=True)
    mirrored_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class RuleShape(Shape):
    trigger = serializers.ChoiceField(TRIGGERS)
    project = serializers.CharField(allow_null=True)
    values = serializers.DictField(help_text="Field -> {value, from}; from is default, global or project.")


class HostShape(Shape):
    name = serializers.CharField()
    kind = serializers.ChoiceField(Host.Kind.values)
    address = serializers.CharField(allow_blank=True)
    host_key = serializers.CharField(allow_blank=True, help_text="The key that it was pinned with.")
    key_path = serializers.CharField(allow_blank=True, help_text="Our private key for it. Shown to superusers only.")
    folder = serializers.CharField(allow_blank=True, help_text="What we keep there is in it. Shown to superusers only.")
    capacity = serializers.IntegerField()
    live_sessions = serializers.IntegerField()
    labels = serializers.ListField(child=serializers.CharField())
    draining = serializers.BooleanField()
    seen_at = serializers.DateTimeField(allow_null=True)
    silent_since = serializers.DateTimeField(allow_null=True)
    trouble = serializers.CharField(allow_blank=True)


class NotificationShape(Shape):
    id = serializers.IntegerField()
    interruption = serializers.IntegerField()
    task = serializers.IntegerField()
    channel = serializers.CharField()
    sent_at = serializers.DateTimeField(allow_null=True)
    error = serializers.CharField(allow_blank=True)


class ProjectUsage(Usage):
    project = serializers.CharField()


class UsageShape(Shape):
    results = ProjectUsage(many=True)
    total = Usage()


class ChangeShape(Shape):
    kind = serializers.CharField(help_text="create, update or unchanged")
    what = serializers.CharField()
    changed = serializers.ListField(child=serializers.CharField(), help_text="The fields that would differ.")


class ConfigAnswer(Shape):
    applied = serializers.BooleanField()
    changes = ChangeShape(many=True)
    warnings = serializers.ListField(child=serializers.CharField())


class ConfigText(Shape):
    text = serializers.CharField()


class TokenShape(Shape):
    id = serializers.IntegerField()
    name = serializers.CharField()
    prefix = serializers.CharField()
    scope = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    used_at = serializers.DateTimeField(allow_null=True)


class NewTokenAnswer(Shape):
    token = serializers.CharField(help_text="Shown this once.")
    name = serializers.CharField()
    scope = serializers.CharField()


class LoginLinkAnswer(Shape):
    url = serializers.CharField()
