"""What forges deliver: each once, kept for a while."""

from __future__ import annotations

from django.db import models


class Delivery(models.Model):
    """One webhook that was signed as it should be. Its words decide nothing: they say where to look again."""

    id = models.CharField(primary_key=True, max_length=100, help_text="The forge's own id of the delivery.")
    event = models.CharField(max_length=60)
    action = models.CharField(max_length=60, blank=True)
    repository = models.CharField(max_length=200, blank=True)
    received_at = models.DateTimeField()
    looked_at = models.PositiveIntegerField(default=0, help_text="How many pull requests are looked at because of it.")

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ["-received_at"]
        indexes = [models.Index(fields=["received_at"], name="delivery_received")]

    def __str__(self) -> str:
        return f"{self.event} {self.action} of {self.repository}".replace("  ", " ")
