"""Failures of a whole project, which no single agent is to mend."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import models
from django.db.models import Q

from orchestrator.models.project import Project


class IncidentQuerySet(models.QuerySet["Incident"]):
    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> IncidentQuerySet:
        """Incidents of projects that the user may see."""
        if getattr(user, "is_superuser", False):
            return self
        return self.filter(project__memberships__user=user.pk or 0).distinct()

    def unresolved(self) -> IncidentQuerySet:
        return self.filter(resolved_at__isnull=True)


class Incident(models.Model):
    """One failure that the base branch has, or that many open pull requests have: told to people once; the tasks that meet it wait for its
    end. `released_at`: a person said that agents shall try."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="incidents")
    check_name = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=32, blank=True)
    headline = models.CharField(max_length=300, blank=True)
    on_base = models.BooleanField(default=False, help_text="The base branch fails; else many pull requests do.")
    pulls = models.JSONField(default=list, help_text="The numbers of the pull requests that have met it.")
    opened_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True, blank=True)
    released_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    resolution = models.TextField(blank=True)

    objects = IncidentQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "check_name", "fingerprint"],
                condition=Q(resolved_at__isnull=True),
                name="one_unresolved_incident_per_failure",
            )
        ]

    def __str__(self) -> str:
        return f"incident #{self.pk}: {self.sentence}"

    @property
    def sentence(self) -> str:
        """What is wrong, for people."""
        if self.on_base:
            return f"{self.check_name} fails on {self.project.default_branch}"
        return f"{self.check_name} fails on {len(self.pulls)} pull requests the same way"

    @property
    def state(self) -> str:
        """open | released | resolved"""
        if self.resolved_at is not None:
            return "resolved"
        return "released" if self.released_at is not None else "open"
