"""What the configuration file says beyond projects, rules and channels."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q


class GlobalSettings(models.Model):
    """The one row with the file's top level as its author wrote it (`projects` without their contents): references such as ${NAME} stay
    references, and keys without a column survive to the next export."""

    only = models.PositiveSmallIntegerField(primary_key=True, default=1)
    document = models.JSONField(default=dict, blank=True)
    text = models.TextField(blank=True, help_text="The file that was applied last, to the byte.")
    applied_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "global settings"
        constraints = [models.CheckConstraint(condition=Q(only=1), name="one_row_of_global_settings")]

    def __str__(self) -> str:
        return "global settings"

    @classmethod
    def current(cls) -> dict[str, Any]:
        """The document, or an empty one."""
        return cls.objects.filter(only=1).values_list("document", flat=True).first() or {}

    @classmethod
    def text_as_applied(cls) -> str:
        """The file that was applied last, or nothing."""
        return cls.objects.filter(only=1).values_list("text", flat=True).first() or ""
