"""Parcels: git bundles on their way between our mirrors and a machine that has no other way to them than this database."""

from __future__ import annotations

from django.db import models

from orchestrator.models.host import Host
from orchestrator.models.project import Project


class ParcelQuerySet(models.QuerySet["Parcel"]):
    def whole(self) -> ParcelQuerySet:
        """Those of which every piece is here."""
        return self.filter(size__isnull=False)


class Parcel(models.Model):
    """One bundle. `key` says what it is for: the same key is the same parcel."""

    key = models.CharField(max_length=300, unique=True)
    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="parcels")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="parcels")
    sha = models.CharField(max_length=64, blank=True, help_text="The commit that the machine asks for.")
    haves = models.JSONField(default=list, blank=True, help_text="The commits that it has already.")
    size = models.PositiveBigIntegerField(null=True, blank=True, help_text="In bytes, once it is whole.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ParcelQuerySet.as_manager()

    def __str__(self) -> str:
        return self.key


class ParcelPiece(models.Model):
    """Bytes of a parcel from `offset` on."""

    parcel = models.ForeignKey(Parcel, on_delete=models.CASCADE, related_name="pieces")
    offset = models.PositiveBigIntegerField()
    data = models.BinaryField()

    class Meta:
        ordering = ["offset"]
        constraints = [models.UniqueConstraint(fields=["parcel", "offset"], name="one_piece_per_parcel_and_offset")]

    def __str__(self) -> str:
        return f"{self.parcel}@{self.offset}"
