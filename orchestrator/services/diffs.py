"""The text of what a task's branch changes."""

from __future__ import annotations

from django.db import transaction

from orchestrator.models import Diff, Task

CAP = 2_000_000  # characters kept of one diff


def keep(*, task: Task, base_sha: str, head_sha: str, text: str) -> None:
    """Replace the stored diff of a task. NUL bytes cannot be stored and are left out."""
    cleaned = text.replace("\x00", "")
    with transaction.atomic():
        Diff.objects.update_or_create(
            task=task,
            defaults={
                "base_sha": base_sha,
                "head_sha": head_sha,
                "text": cleaned[:CAP],
                "truncated": len(cleaned) > CAP,
            },
        )


def read(*, task: Task) -> Diff | None:
    """The stored diff of a task, or None while nothing was published."""
    return Diff.objects.filter(task=task).first()
