"""How checks go on the base branch: run by us where the forge is the built-in one, else as the forge shows them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction

from orchestrator.domain.failures import Failure, failure_of
from orchestrator.domain.prompts import plain
from orchestrator.models import BaseCheck, Host, Project, Workspace
from orchestrator.ports import CheckSeen, RunEnd, RunState
from orchestrator.services import events, incidents

GREEN = ("success", "neutral", "skipped")


@transaction.atomic
def begin(*, project: Project, name: str, sha: str, n: int, now: datetime) -> BaseCheck:
    """The row of one run, before anything is started. Asking again, for whichever task, answers the same row."""
    check, _ = BaseCheck.objects.select_for_update().get_or_create(
        project=project, name=name, sha=sha, defaults={"n": n, "started_at": now}
    )
    if check.n < n:
        check.n, check.status, check.conclusion, check.started_at, check.completed_at = n, "queued", "", now, None
        check.save()
    return check


@transaction.atomic
def workspace(*, check: BaseCheck, host: Host) -> Workspace:
    """The clean tree of a run, named by its row so that a second try finds the first one's."""
    found, _ = Workspace.objects.get_or_create(
        name=f"b-{check.pk}-{check.n}-{check.sha[:8]}",
        defaults={
            "project": check.project,
            "host": host,
            "purpose": Workspace.Purpose.CHECK,
            "state": Workspace.State.READY,
            "base_sha": check.sha,
        },
    )
    return found


@transaction.atomic
def started(*, check: BaseCheck, now: datetime) -> None:
    """The host has the run: it is watched from here on."""
    BaseCheck.objects.filter(pk=check.pk, n=check.n, status="queued").update(status="in_progress", started_at=now)


@transaction.atomic
def ended(*, check_id: int, n: int, state: RunState, log: str, now: datetime) -> bool:
    """A run is over, and every task that may have waited for it is decided on. A lost run says nothing. False: it was over before."""
    check = BaseCheck.objects.select_for_update(of=("self",)).select_related("project").get(pk=check_id)
    if check.status == "completed" or check.n != n:
        return False
    if state.end is RunEnd.EXITED and state.exit_code is not None:
        conclusion = "success" if state.exit_code == 0 else "failure"
    else:
        conclusion = "timed_out" if state.end is RunEnd.DEADLINE else "cancelled"
    failure = failure_of(log) if conclusion != "success" else Failure()
    check.status, check.conclusion, check.completed_at = "completed", conclusion, now
    check.failing_log, check.fingerprint, check.headline = failure.part, failure.fingerprint, failure.headline
    check.save()
    words = f"{check.name} on {check.project.default_branch} at {check.sha[:10]}: {conclusion}"
    events.record(kind="base_check.ended", text=words, project=check.project, at=now)
    if conclusion in GREEN:
        incidents.green_on_base(project=check.project, name=check.name, sha=check.sha, now=now)
    incidents.wake(project_id=check.project_id, now=now)
    return True


@transaction.atomic
def record(*, project: Project, sha: str, seen: Iterable[CheckSeen], now: datetime) -> None:
    """The checks of the base as another forge shows them: those that fail, and those that have failed before. What is settled stays."""
    red_before = set(
        BaseCheck.objects.filter(project=project).exclude(conclusion__in=GREEN).values_list("name", flat=True)
    )
    changed = False
    for one in seen:
        if one.name in red_before or one.conclusion not in {None, *GREEN}:
            changed = _record(project, sha, one, now=now) or changed
    if changed:
        incidents.wake(project_id=project.pk, now=now)


def _record(project: Project, sha: str, seen: CheckSeen, *, now: datetime) -> bool:
    known = BaseCheck.objects.filter(project=project, name=seen.name, sha=sha).first()
    same_run = known is not None and known.external_id == seen.id
    # A log may come later than the word that the check failed.
    if known is not None and same_run and known.status == "completed" and (known.failing_log or not seen.failing_log):
        return False
    BaseCheck.objects.update_or_create(
        project=project,
        name=seen.name,
        sha=sha,
        defaults={
            "n": known.n + (not same_run) if known is not None else 1,
            "external_id": seen.id,
            "status": seen.status,
            "conclusion": seen.conclusion or "",
            "url": seen.url,
            "failing_log": plain(seen.failing_log),
            "fingerprint": seen.fingerprint,
            "headline": plain(seen.headline),
            "started_at": seen.started_at,
            "completed_at": seen.completed_at,
        },
    )
    if seen.conclusion in GREEN:
        incidents.green_on_base(project=project, name=seen.name, sha=sha, now=now)
    return True


def forsaken(*, host: Host) -> list[Workspace]:
    """Trees of runs that are over, or whose making was cut short by a later run."""
    rooms = Workspace.objects.filter(
        host=host, purpose=Workspace.Purpose.CHECK, name__startswith="b-", removed_at__isnull=True
    )
    found = {room: [int(part) for part in room.name.split("-")[1:3]] for room in rooms}
    known = BaseCheck.objects.in_bulk([pk for pk, _ in found.values()])
    return [room for room, (pk, n) in found.items() if _is_over(known.get(pk), n)]


def _is_over(check: BaseCheck | None, n: int) -> bool:
    return check is None or check.n != n or check.status == "completed"
