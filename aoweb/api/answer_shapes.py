"""The shapes of what is answered, for the schema; tests hold the real answers against them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from orchestrator.domain.claims import Claim, Phase
from orchestrator.domain.issues import Standing
from orchestrator.domain.replay import Kind
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
    cost_usd = serializers.FloatField()
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
    rule_version = serializers.IntegerField(allow_null=True, help_text="Of the rule that asked; null: no rule did.")
    priority = serializers.CharField()
    escalation = serializers.BooleanField()
    state = serializers.ChoiceField(["open", "acknowledged", "snoozed", "resolved"])
    question = serializers.CharField()
    evidence = serializers.JSONField()
    asked_at = serializers.DateTimeField()
    acknowledged_at = serializers.DateTimeField(allow_null=True)
    acknowledged_by = serializers.CharField(allow_null=True)
    resolved_at = serializers.DateTimeField(allow_null=True)
    resolution = serializers.CharField(allow_blank=True)
    step = serializers.IntegerField(help_text="The rung of the ladder that was called last, from 0.")
    told_at = serializers.DateTimeField()
    next_at = serializers.DateTimeField(allow_null=True, help_text="When people are told of it again.")
    snoozed_until = serializers.DateTimeField(allow_null=True)
    cleared_at = serializers.DateTimeField(allow_null=True, help_text="Since when its cause is gone.")


class Usage(Shape):
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cost_usd = serializers.FloatField()


class ProgressShape(Shape):
    at = serializers.DateTimeField()
    what = serializers.CharField(help_text="How it got further: a new head, fewer failed checks, threads resolved.")


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
    paused = serializers.BooleanField(help_text="No further turn begins until somebody resumes it.")
    pause_reason = serializers.CharField(allow_blank=True)
    progress = ProgressShape(allow_null=True)
    priority = serializers.IntegerField()
    labels = serializers.ListField(child=serializers.CharField())
    depends_on = serializers.ListField(child=serializers.IntegerField())
    agent = serializers.CharField()
    reactions = serializers.JSONField(help_text="The rules that the task sets by itself, as the file writes them.")
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
    rule_version = serializers.IntegerField(allow_null=True, help_text="Of the rule that sent it; null: no rule did.")
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
    status = serializers.CharField()
    reason = serializers.CharField()
    why = serializers.ListField(
        child=serializers.CharField(), help_text="Facts seen -> rule -> action, or the reason for none."
    )
    made = serializers.ListField(
        child=serializers.CharField(), help_text="The keys of what was new: messages, questions, jobs."
    )


class StandingShape(Shape):
    sentence = serializers.CharField(help_text="What it waits for at this moment.")
    why = serializers.ListField(child=serializers.CharField())
    wake_at = serializers.DateTimeField(allow_null=True)


class WhyPage(Shape):
    now = StandingShape()
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    results = WhyShape(many=True)


class ForgeWaitShape(Shape):
    until = serializers.DateTimeField()
    writes_go_on = serializers.BooleanField(help_text="Only looks wait; pull requests are still opened and merged.")
    words = serializers.CharField()


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
    forge_wait = ForgeWaitShape(allow_null=True, help_text="Until when its forge allows no more.")
    base_sha = serializers.CharField(allow_blank=True)
    mirrored_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class RuleShape(Shape):
    trigger = serializers.ChoiceField(TRIGGERS)
    project = serializers.CharField(allow_null=True)
    version = serializers.IntegerField(help_text="The newest change that has a part in it; 0: as delivered.")
    says = serializers.CharField(help_text="The rule in a sentence.")
    values = serializers.DictField(
        help_text="Field -> {value, from}; from is default, workflow, global, project or task."
    )
    warnings = serializers.ListField(
        child=serializers.CharField(), help_text="Why it can never do what it says, or what it fights with."
    )


class RuleVersionShape(Shape):
    version = serializers.IntegerField()
    trigger = serializers.ChoiceField(TRIGGERS)
    project = serializers.CharField(allow_null=True, help_text="Null: all projects.")
    task = serializers.IntegerField(allow_null=True, help_text="The task that it is for; null: not for one alone.")
    before = serializers.JSONField(help_text="What the place said until then, as the file writes it.")
    after = serializers.JSONField(help_text="What it says from then on.")
    at = serializers.DateTimeField()
    by = serializers.CharField()


class ReplayEffect(Shape):
    kind = serializers.ChoiceField([str(kind) for kind in Kind])
    at = serializers.DateTimeField()
    name = serializers.CharField()


class ReplayDifference(Shape):
    at = serializers.DateTimeField()
    trigger = serializers.ChoiceField(TRIGGERS)
    text = serializers.CharField()
    was = ReplayEffect(allow_null=True)
    now = ReplayEffect(allow_null=True)


class ReplayedTask(Shape):
    task = serializers.IntegerField()
    key = serializers.CharField()
    title = serializers.CharField()
    parts_at = serializers.DateTimeField(
        allow_null=True, help_text="From here on the facts are those of the other course."
    )
    differences = ReplayDifference(many=True)


class UnreadableTask(Shape):
    task = serializers.IntegerField()
    key = serializers.CharField()
    why = serializers.CharField()


class ReplayAnswer(Shape):
    tasks = serializers.IntegerField()
    decisions = serializers.IntegerField()
    differing = ReplayedTask(many=True)
    was = serializers.DictField(child=serializers.IntegerField())
    now = serializers.DictField(child=serializers.IntegerField())
    unreadable = UnreadableTask(many=True)
    warnings = serializers.ListField(child=serializers.CharField())
    next = serializers.IntegerField(allow_null=True, help_text="Ask again with this as `after`; null: that was all.")


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


class HostLinkAnswer(Shape):
    host = serializers.CharField()
    link = serializers.CharField(help_text="A secret, told this once.")
    gate = serializers.CharField(help_text="Where the machine is going to knock.")
    expires_at = serializers.DateTimeField()


TELLINGS = ["asked", "climbed", "reminded", "back", "alert"]


class NotificationShape(Shape):
    id = serializers.IntegerField()
    interruption = serializers.IntegerField(allow_null=True)
    task = serializers.IntegerField(allow_null=True)
    channel = serializers.CharField()
    telling = serializers.ChoiceField(TELLINGS)
    priority = serializers.CharField()
    title = serializers.CharField()
    state = serializers.ChoiceField(["waiting", "held", "failing", "sent", "dropped"])
    created_at = serializers.DateTimeField()
    held_until = serializers.DateTimeField(allow_null=True)
    tries = serializers.IntegerField()
    message = serializers.CharField(allow_null=True, help_text="The id of the message that it went with.")
    sent_at = serializers.DateTimeField(allow_null=True)
    error = serializers.CharField(allow_blank=True)


class ChannelShape(Shape):
    name = serializers.CharField()
    plugin = serializers.CharField()
    priorities = serializers.ListField(child=serializers.CharField())
    person = serializers.CharField(allow_null=True)
    failures = serializers.IntegerField()
    failing_since = serializers.DateTimeField(allow_null=True)
    dead_since = serializers.DateTimeField(allow_null=True)
    trouble = serializers.CharField(allow_blank=True)


class InboxShape(Shape):
    id = serializers.IntegerField()
    interruption = serializers.IntegerField(allow_null=True)
    task = serializers.IntegerField(allow_null=True)
    telling = serializers.ChoiceField(TELLINGS)
    priority = serializers.CharField()
    title = serializers.CharField()
    body = serializers.CharField(allow_blank=True)
    at = serializers.DateTimeField()
    times = serializers.IntegerField()
    read_at = serializers.DateTimeField(allow_null=True)


class ReadShape(Shape):
    read = serializers.IntegerField(help_text="How many lines that was.")


class ProjectUsage(Usage):
    project = serializers.CharField()


class BudgetShape(Shape):
    project = serializers.CharField()
    span = serializers.ChoiceField(["project", "day"])
    measure = serializers.ChoiceField(["cost", "tokens", "time"])
    used = serializers.FloatField(help_text="USD, tokens, or seconds.")
    limit = serializers.FloatField()
    day = serializers.CharField(allow_blank=True, help_text="The day in UTC that it counts.")


class UsageShape(Shape):
    results = ProjectUsage(many=True)
    total = Usage()
    budgets = BudgetShape(many=True)


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


class WorkflowVersionShape(Shape):
    number = serializers.IntegerField()
    digest = serializers.CharField(help_text="SHA-256 of the text.")
    author = serializers.CharField()
    origin = serializers.CharField()
    taken_at = serializers.DateTimeField()
    text = serializers.CharField()
    diff = serializers.CharField(help_text="What it changed in the version before it.")


class TrackedIssueShape(Shape):
    id = serializers.CharField()
    identifier = serializers.CharField()
    title = serializers.CharField()
    state = serializers.CharField()
    standing = serializers.ChoiceField([str(word) for word in Standing])
    why = serializers.CharField(allow_blank=True)
    url = serializers.CharField(allow_blank=True)
    task = serializers.IntegerField()
    claim = serializers.ChoiceField([str(word) for word in Claim])
    phase = serializers.ChoiceField([str(word) for word in Phase], allow_null=True)
    session_id = serializers.CharField(allow_null=True, help_text="Conversation and turn.")
    turn_count = serializers.IntegerField()
    retry_at = serializers.DateTimeField(allow_null=True, help_text="When an agent that died is set to work again.")
    seen_at = serializers.DateTimeField()


class WorkflowShape(Shape):
    project = serializers.CharField()
    current = WorkflowVersionShape(allow_null=True)
    settings = serializers.DictField(help_text="What the front matter means, defaults included.")
    workspace_root = serializers.CharField(allow_blank=True)
    applied = serializers.BooleanField(help_text="Somebody applied it; else it is the repository's own.")
    fault = serializers.CharField(allow_blank=True, help_text="The class of what is wrong with the newest text.")
    error = serializers.CharField(allow_blank=True)
    poll_at = serializers.DateTimeField(allow_null=True)
    polled_at = serializers.DateTimeField(allow_null=True)
    poll_error = serializers.CharField(allow_blank=True)
    issues = TrackedIssueShape(many=True)


class WorkflowAnswer(Shape):
    applied = serializers.BooleanField()
    version = serializers.IntegerField()
    diff = serializers.CharField(allow_blank=True)
    settings = serializers.DictField()


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
