"""Pull requests as they were last observed, with their checks, reviews and comments."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from orchestrator.models.project import Project, choices
from orchestrator.models.session import Message
from orchestrator.models.task import Task
from orchestrator.ports import PullState


class PullRequest(models.Model):
    """The change as the team reviews it. For the built-in forge these rows are the forge; for others they are what was observed."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="pull_requests")
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="pull_requests")
    number = models.PositiveIntegerField()
    url = models.TextField(blank=True)
    title = models.CharField(max_length=300)
    body = models.TextField(blank=True)
    branch = models.CharField(max_length=200)
    base_branch = models.CharField(max_length=200)
    state = models.CharField(max_length=10, choices=choices(PullState), default=PullState.OPEN.value)
    head_sha = models.CharField(max_length=64)
    head_since = models.DateTimeField(help_text="When this head was first seen.")
    base_sha = models.CharField(max_length=64, blank=True)
    mergeable = models.BooleanField(null=True, blank=True)
    conflict_files = models.JSONField(default=list, blank=True)
    required_checks = models.JSONField(null=True, blank=True)
    merged_sha = models.CharField(max_length=64, blank=True)
    merged_head = models.CharField(max_length=64, blank=True, help_text="The head that was merged.")
    merged_at = models.DateTimeField(null=True, blank=True)
    merged_by = models.CharField(max_length=150, blank=True)
    observed_at = models.DateTimeField()
    poll_at = models.DateTimeField(null=True, blank=True)
    seen = models.CharField(max_length=80, blank=True, help_text="What the last look showed, as a digest.")
    rung_at = models.DateTimeField(null=True, blank=True, help_text="When a webhook named it last.")
    untold_at = models.DateTimeField(
        null=True, blank=True, help_text="When a look showed something of which no webhook has told."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="one_pull_request_per_number"),
            models.UniqueConstraint(fields=["task"], condition=Q(state="open"), name="one_open_pull_request_per_task"),
            models.UniqueConstraint(
                fields=["project", "branch"], condition=Q(state="open"), name="one_open_pull_request_per_branch"
            ),
        ]
        indexes = [models.Index(fields=["poll_at"], condition=Q(state="open"), name="pull_request_due")]

    def __str__(self) -> str:
        return f"{self.project.key}!{self.number}"


class QueuedMerge(models.Model):
    """A head that we put, or are about to put, into the merge queue of its forge. `removal` is the last time that the queue had given the
    pull request up before: another one means that it has given up this head."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="queued_merges")
    number = models.PositiveIntegerField()
    head_sha = models.CharField(max_length=64)
    removal = models.CharField(max_length=200, blank=True)
    queued_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number", "head_sha"], name="one_queued_merge_per_head"),
        ]

    def __str__(self) -> str:
        return f"{self.head_sha[:10]} of {self.project}!{self.number}"


class Check(models.Model):
    """One run of one check at one sha. `n` counts the runs of the same check at the same sha."""

    pull_request = models.ForeignKey(PullRequest, on_delete=models.CASCADE, related_name="checks")
    external_id = models.CharField(max_length=100, blank=True)
    name = models.CharField(max_length=200)
    head_sha = models.CharField(max_length=64)
    n = models.PositiveIntegerField(default=1)
    status = models.CharField(max_length=12, default="queued")
    conclusion = models.CharField(max_length=20, blank=True)
    url = models.TextField(blank=True)
    failing_log = models.TextField(blank=True, help_text="The part of its log that says why it failed.")
    fingerprint = models.CharField(
        max_length=32, blank=True, help_text="By which the same failure is known again; empty: nothing is known of it."
    )
    headline = models.CharField(max_length=300, blank=True, help_text="The failure in one line.")
    detail = models.TextField(blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["name", "n"]
        constraints = [
            models.UniqueConstraint(
                fields=["pull_request", "head_sha", "name", "n"], name="one_check_per_head_name_and_number"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} at {self.head_sha[:10]}"

    @property
    def run_id(self) -> str:
        """The id of the check's supervised run, where the built-in forge runs it."""
        return f"check-{self.pk}"

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for it: the pull request is open and has not moved on, the task has not ended."""
        pull, task = self.pull_request, self.pull_request.task
        return (
            pull.state == PullState.OPEN
            and pull.head_sha == self.head_sha
            and task.open
            and not task.cancel_requested_at
        )


class Review(models.Model):
    """One review. `trusted` was decided when it was observed: its author may approve and direct the agent."""

    class Decision(models.TextChoices):
        APPROVE = "approve", "approve"
        REQUEST_CHANGES = "request_changes", "request changes"
        COMMENT = "comment", "comment"
        DISMISSED = "dismissed", "dismissed"

    pull_request = models.ForeignKey(PullRequest, on_delete=models.CASCADE, related_name="reviews")
    external_id = models.CharField(max_length=100, blank=True)
    author = models.CharField(max_length=150)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    decision = models.CharField(max_length=20, choices=Decision.choices)
    head_sha = models.CharField(max_length=64)
    body = models.TextField(blank=True)
    trusted = models.BooleanField(default=False)
    bot = models.BooleanField(default=False)
    edits = models.PositiveIntegerField(
        default=0, help_text="How often its words were changed after they were told, or had approved."
    )
    message = models.ForeignKey(Message, null=True, blank=True, on_delete=models.SET_NULL, related_name="reviews")
    submitted_at = models.DateTimeField()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["pull_request", "external_id"], condition=~Q(external_id=""), name="one_review_per_external_id"
            )
        ]

    def __str__(self) -> str:
        return f"{self.decision} by {self.author}"


class Comment(models.Model):
    """One comment of a review thread. `message` is the one that told it to the agent; each is told once."""

    pull_request = models.ForeignKey(PullRequest, on_delete=models.CASCADE, related_name="comments")
    review = models.ForeignKey(Review, null=True, blank=True, on_delete=models.CASCADE, related_name="comments")
    external_id = models.CharField(max_length=100, blank=True)
    thread = models.CharField(max_length=100)
    author = models.CharField(max_length=150)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    body = models.TextField()
    path = models.TextField(blank=True)
    line = models.PositiveIntegerField(null=True, blank=True)
    resolved = models.BooleanField(default=False)
    trusted = models.BooleanField(default=False)
    bot = models.BooleanField(default=False)
    ours = models.BooleanField(default=False)
    edits = models.PositiveIntegerField(default=0, help_text="How often its words were changed after they were told.")
    message = models.ForeignKey(Message, null=True, blank=True, on_delete=models.SET_NULL, related_name="comments")
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["pull_request", "external_id"], condition=~Q(external_id=""), name="one_comment_per_external_id"
            )
        ]

    def __str__(self) -> str:
        return f"comment by {self.author}"


class Diff(models.Model):
    """What the task's branch changes, as text for people: made when a head is published."""

    task = models.OneToOneField(Task, on_delete=models.CASCADE, related_name="diff")
    base_sha = models.CharField(max_length=64)
    head_sha = models.CharField(max_length=64)
    text = models.TextField()
    truncated = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"diff {self.base_sha[:10]}..{self.head_sha[:10]}"
