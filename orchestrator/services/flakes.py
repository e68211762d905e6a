"""Failures that went away at the same commit are remembered for their project."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from orchestrator.domain.flakes import is_known, seen_again
from orchestrator.models import Check, Flake
from orchestrator.services import events

RED = ("failure", "timed_out")


def went_green(*, check: Check, before: str, now: datetime) -> None:
    """A run of a check is green: where the run before it at the same commit was not, that failure is a flake. `before` is what the same row
    said before. Part of the transaction that takes the run in."""
    if check.conclusion != "success" or before == "success":
        return
    earlier = Check.objects.filter(
        pull_request=check.pull_request_id, head_sha=check.head_sha, name=check.name, n__lt=check.n, conclusion__in=RED
    ).order_by("-n")
    red = check if before in RED else earlier.first()
    if red is None:
        return
    project = check.pull_request.project
    flake, _ = Flake.objects.select_for_update().get_or_create(
        project=project, name=check.name, fingerprint=red.fingerprint, defaults={"last_at": now}
    )
    flake.weight = seen_again(flake.weight, last_at=flake.last_at, now=now)
    flake.times, flake.last_at = flake.times + 1, now
    flake.save()
    events.record(
        kind="check.flaked",
        text=f"{check.name} was red and then green at {check.head_sha[:10]}",
        task=check.pull_request.task,
        at=now,
        data={"fingerprint": red.fingerprint},
    )


def known(*, projects: Collection[int], names: Collection[str], now: datetime) -> set[tuple[int, str, str]]:
    """The failures of these checks that are worth one more run, as (project, name, fingerprint)."""
    found = Flake.objects.filter(project__in=projects, name__in=names)
    return {
        (one.project_id, one.name, one.fingerprint)
        for one in found
        if is_known(one.weight, last_at=one.last_at, now=now)
    }
