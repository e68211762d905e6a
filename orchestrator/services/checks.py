"""Check runs of the built-in forge."""

from __future__ import annotations

import secrets
from datetime import datetime

from django.db import transaction

from orchestrator.models import Check, Host, PullRequest, Workspace


@transaction.atomic
def begin(*, pull: PullRequest, name: str, n: int, now: datetime) -> Check:
    """The row of one run of a check at the pull request's head, before anything is started. Asking again answers the same row."""
    check, _ = Check.objects.get_or_create(
        pull_request=pull, head_sha=pull.head_sha, name=name, n=n, defaults={"status": "queued", "started_at": now}
    )
    return check


@transaction.atomic
def workspace(*, check: Check, host: Host) -> Workspace:
    """The clean tree of a check, named by the check's row so that a second try finds the first one's."""
    found, _ = Workspace.objects.get_or_create(
        name=f"c-{check.pk}-{check.head_sha[:8]}",
        defaults={
            "project": check.pull_request.project,
            "host": host,
            "purpose": Workspace.Purpose.CHECK,
            "state": Workspace.State.READY,
            "base_sha": check.head_sha,
        },
    )
    return found


@transaction.atomic
def started(*, check: Check, now: datetime) -> None:
    """The host has the run: it is watched from here on."""
    Check.objects.filter(pk=check.pk, status="queued").update(status="in_progress", started_at=now)


def forsaken(*, host: Host) -> list[Workspace]:
    """Trees of checks on a host for which nobody waits and of which no run is watched: their making was cut short, or the change moved on."""
    rooms = Workspace.objects.filter(
        host=host, purpose=Workspace.Purpose.CHECK, name__startswith="c-", removed_at__isnull=True
    )
    by_check = {int(room.name.split("-")[1]): room for room in rooms}
    known = Check.objects.filter(pk__in=by_check).select_related("pull_request__task").in_bulk()
    return [room for pk, room in by_check.items() if pk not in known or _is_over(known[pk])]


def _is_over(check: Check) -> bool:
    return check.status == "completed" or (check.status == "queued" and not check.wanted)


@transaction.atomic
def removed(*, workspace: Workspace, now: datetime) -> None:
    """Its tree is gone."""
    Workspace.objects.filter(pk=workspace.pk).update(state=Workspace.State.REMOVED, removed_at=now)


@transaction.atomic
def warm_workspace(*, project_id: int, host: Host) -> Workspace:
    """A name for a workspace that is prepared ahead of need."""
    return Workspace.objects.create(name=f"w-{secrets.token_hex(6)}", project_id=project_id, host=host)
