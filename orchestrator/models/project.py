"""Projects, their members and the rules that they set."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.exceptions import ValidationError
from django.db import models

from orchestrator.domain.budgets import parse_budget
from orchestrator.domain.naming import FILE_LENGTH, valid_repository_file, without_login
from orchestrator.domain.rules import Priority, Trigger
from orchestrator.ports import Sandbox

MERGE_METHODS = ("merge", "squash", "rebase")


def choices(words: type) -> list[tuple[str, str]]:
    """The words of an enum as Django choices."""
    return [(str(word), str(word).replace("-", " ").replace("_", " ")) for word in words]  # type: ignore[attr-defined]  # any StrEnum


def valid_budget(written: object) -> None:
    """Refuse a budget that nobody could read."""
    try:
        parse_budget(written if isinstance(written, dict) else {str(written): {}})
    except ValueError as error:
        raise ValidationError(str(error)) from error


def valid_rules_file(path: str) -> None:
    """Refuse what agents could not be told to read in their repository."""
    if not valid_repository_file(path):
        raise ValidationError(
            f"{path!r} is not a plain path from the root of the repository, such as docs/RULES.md: write the text as agent rules instead"
        )


class ProjectQuerySet(models.QuerySet["Project"]):
    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> ProjectQuerySet:
        """Projects that the user may see: all for superusers, else those with a membership."""
        if getattr(user, "is_superuser", False):
            return self
        return self.filter(memberships__user=user.pk or 0).distinct()


class Project(models.Model):
    """A repository we work on, with its defaults. Field names follow `agent-orchestrator.yaml`, in snake case."""

    key = models.SlugField(
        max_length=40, unique=True, help_text="The project's name in the API, the file and the board."
    )
    name = models.CharField(max_length=120)
    remote = models.TextField(
        help_text="Where the repository lives: a URL, or the path of a repository on this machine."
    )
    checkout = models.TextField(blank=True, help_text="The checkout it was registered from, if any.")
    default_branch = models.CharField(max_length=200)
    session_prefix = models.SlugField(max_length=20, help_text="Branches are named PREFIX/NUMBER-TITLE.")
    agent = models.CharField(max_length=60, default="claude-code")
    agent_config = models.JSONField(default=dict, blank=True)
    agent_rules = models.TextField(blank=True, help_text="Told to every agent with its task.")
    agent_rules_file = models.CharField(
        max_length=FILE_LENGTH,
        blank=True,
        validators=[valid_rules_file],
        help_text="A file of the repository, such as docs/RULES.md, that every agent is told to read before it begins.",
    )
    env = models.JSONField(
        default=dict, blank=True, help_text="Environment of the agents. No secrets: agents can read it."
    )
    symlinks = models.JSONField(default=dict, blank=True)
    post_create = models.JSONField(default=list, blank=True, help_text="Commands run once in each new workspace.")
    sandbox = models.CharField(
        max_length=20,
        choices=choices(Sandbox),
        blank=True,
        help_text="The level that runs require; empty: the best that works on the host.",
    )
    scm = models.JSONField(
        default=dict, blank=True, help_text="The forge: plugin, checks, requiredChecks, requiredApprovals, ..."
    )
    merge_method = models.CharField(max_length=10, default="merge", choices=[(word, word) for word in MERGE_METHODS])
    reassign_after = models.DurationField(
        null=True, blank=True, default=timedelta(minutes=15), help_text="Empty: never."
    )
    max_sessions = models.PositiveIntegerField(default=10)
    warm_workspaces = models.PositiveIntegerField(default=1, help_text="Workspaces kept prepared ahead of need.")
    auto_cleanup = models.BooleanField(default=True)
    cleanup_grace = models.DurationField(default=timedelta(minutes=5))
    paused = models.BooleanField(default=False)
    escalation = models.JSONField(
        default=dict,
        blank=True,
        help_text="How people are called: remind, ladder, quietHours; what is not here is the installation's.",
    )
    budget = models.JSONField(
        default=dict,
        blank=True,
        validators=[valid_budget],
        help_text='What agents may use of each task, of the project ever, and of a day (UTC): {"task": {"cost": 5, "tokens": "2M", "time": "4h"}}.',
    )
    settings_extra = models.JSONField(
        default=dict, blank=True, help_text="Keys of the file kept for export, without effect here."
    )
    notice = models.TextField(
        blank=True, help_text="What is wrong with the project right now, in a sentence; empty: nothing."
    )
    rung_at = models.DateTimeField(null=True, blank=True, help_text="When a webhook came last.")
    forge_waits_until = models.DateTimeField(
        null=True, blank=True, help_text="Until when its forge allows no more looks, or nothing at all."
    )
    forge_takes_writes = models.BooleanField(default=False, help_text="Whether only looks have to wait until then.")
    mirrored_at = models.DateTimeField(null=True, blank=True, help_text="When the mirror was fetched last.")
    base_sha = models.CharField(max_length=64, blank=True, help_text="The default branch as the mirror has it.")
    next_number = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ["key"]

    def __str__(self) -> str:
        return self.key

    @property
    def shown_remote(self) -> str:
        """Where the repository lives, as people may see it."""
        return without_login(self.remote)

    @property
    def own_checks(self) -> dict[str, str]:
        """The checks that the built-in forge runs: name -> command."""
        checks = self.scm.get("checks") or {}
        return dict(checks) if self.scm.get("plugin", "local") == "local" else {}


class Role(models.TextChoices):
    VIEWER = "viewer", "viewer"
    MEMBER = "member", "member"
    MAINTAINER = "maintainer", "maintainer"


class Membership(models.Model):
    """What a person may do in a project: viewers look, members drive tasks and review, maintainers configure."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=12, choices=Role.choices, default=Role.MEMBER)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "user"], name="one_membership_per_project_and_user")]

    def __str__(self) -> str:
        return f"{self.user} in {self.project}"


class RuleRow(models.Model):
    """The fields of a reaction rule that the global file (no project) or a project sets; an empty field is inherited."""

    project = models.ForeignKey(Project, null=True, blank=True, on_delete=models.CASCADE, related_name="rules")
    trigger = models.CharField(max_length=30, choices=choices(Trigger))
    auto = models.BooleanField(null=True, blank=True)
    action = models.JSONField(null=True, blank=True, help_text='A list of actions, such as ["send-to-agent"].')
    priority = models.CharField(max_length=10, blank=True, choices=choices(Priority))
    message = models.TextField(blank=True)
    retries = models.PositiveIntegerField(null=True, blank=True)
    escalate_after = models.CharField(
        max_length=20, blank=True, help_text="A number of attempts or a duration such as 30m."
    )
    threshold = models.CharField(max_length=20, blank=True)
    include_summary = models.BooleanField(null=True, blank=True)

    class Meta:
        verbose_name = "rule"
        ordering = ["project_id", "trigger"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "trigger"], nulls_distinct=False, name="one_rule_per_project_and_trigger"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.trigger} ({self.project or 'all projects'})"
