"""The gate: where machines that join come in, while it is open."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class Gate(models.Model):
    """The one gate of the installation, as the process that keeps it wrote it down. No row: it is closed."""

    address = models.CharField(max_length=255, help_text="Where it listens.")
    port = models.PositiveIntegerField()
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of its certificate.")
    opened_at = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(name="there_is_one_gate", condition=Q(id=1))]

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"
