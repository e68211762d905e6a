"""Hosts and the workspaces on them."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import Q

from orchestrator.models.project import Project


class HostQuerySet(models.QuerySet["Host"]):
    def unwatched(self, now: datetime) -> HostQuerySet:
        """Hosts whose channel nobody holds."""
        return self.filter(Q(channel_until__isnull=True) | Q(channel_until__lte=now))

    def present(self) -> HostQuerySet:
        """All but those that were taken away and stay for their history only."""
        return self.filter(removed_at__isnull=True)


class Host(models.Model):
    """A machine on which sessions run."""

    class Kind(models.TextChoices):
        LOCAL = "local", "this machine"
        SSH = "ssh", "over SSH"
        WORKER = "worker", "with its own worker"

    name = models.SlugField(max_length=60, unique=True)
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.LOCAL)
    address = models.CharField(max_length=200, blank=True, help_text="user@host:port, where it is reached over SSH.")
    host_key = models.TextField(blank=True, help_text="The key that it was pinned with; another one is refused.")
    key_path = models.CharField(
        max_length=500,
        blank=True,
        help_text="Our private key for it; else those of the service's account and of its SSH agent.",
    )
    folder = models.CharField(max_length=40, blank=True, help_text="What our files there are kept in.")
    capacity = models.PositiveIntegerField(default=30, help_text="How many sessions may be live on it.")
    labels = models.JSONField(default=list, blank=True)
    draining = models.BooleanField(default=False, help_text="Takes no new sessions.")
    boot_id = models.CharField(max_length=64, blank=True)
    facts = models.JSONField(default=dict, blank=True, help_text="What the host last said of itself.")
    seen_at = models.DateTimeField(null=True, blank=True, help_text="When the last look at it was received.")
    silent_since = models.DateTimeField(null=True, blank=True, help_text="Since when looks have failed.")
    trouble = models.TextField(blank=True)
    channel_holder = models.CharField(max_length=80, blank=True)
    channel_until = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)
    link_digest = models.CharField(max_length=64, blank=True, help_text="Of the secret in the link that it joins with.")
    link_until = models.DateTimeField(null=True, blank=True, help_text="Until when an unused link opens the gate.")
    machine_digest = models.CharField(
        max_length=64, blank=True, help_text="Of what the machine that used the link says to prove that it is that one."
    )
    joined_at = models.DateTimeField(null=True, blank=True)

    objects = HostQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                name="a_host_over_ssh_is_pinned",
                condition=~Q(kind="ssh") | (~Q(host_key="") & ~Q(address="") & ~Q(folder="")),
            ),
            models.CheckConstraint(
                name="a_host_with_a_worker_has_a_link",
                condition=~Q(kind="worker") | (~Q(link_digest="") & Q(link_until__isnull=False)),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def queue(self) -> str:
        """The queue of its jobs: carried out by the worker on it or, over SSH, by any that listens for `ssh`."""
        return f"{'ssh' if self.kind == self.Kind.SSH else 'host'}.{self.name}"


class WorkspaceQuerySet(models.QuerySet["Workspace"]):
    def warm(self) -> WorkspaceQuerySet:
        """Prepared ahead of need and nobody's yet."""
        return self.filter(state=Workspace.State.READY, session__isnull=True, purpose=Workspace.Purpose.SESSION)


class Workspace(models.Model):
    """An isolated working tree on a host: of a session, of a check, or prepared ahead of need."""

    class State(models.TextChoices):
        PREPARING = "preparing", "preparing"
        READY = "ready", "ready"
        REMOVED = "removed", "removed"

    class Purpose(models.TextChoices):
        SESSION = "session", "session"
        CHECK = "check", "check"

    name = models.CharField(max_length=40, unique=True, help_text="Its name on the host, such as w-1f3a.")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="workspaces")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="workspaces")
    session = models.OneToOneField(
        "Session", null=True, blank=True, on_delete=models.SET_NULL, related_name="workspace"
    )
    purpose = models.CharField(max_length=10, choices=Purpose.choices, default=Purpose.SESSION)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PREPARING)
    path = models.TextField(blank=True)
    branch = models.CharField(max_length=200, blank=True)
    base_sha = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    removed_at = models.DateTimeField(null=True, blank=True)

    objects = WorkspaceQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name
