"""Looks at the pull requests that are due: a question per project, and a decision where something moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from orchestrator.domain import watching
from orchestrator.models import Project, PullRequest
from orchestrator.ports import PortError, PullRequestSeen, PullState, Unavailable
from orchestrator.services import base_checks, projects, pull_requests
from workers import runner
from workers.toolbox import Toolbox

TOGETHER = timedelta(
    seconds=15
)  # what is due so soon comes along: looks of a project fall together, and cost the forge one question


def observe_due_pull_requests(tools: Toolbox) -> int:
    """Look at the pull requests that are due, one call per project, and decide where something moved."""
    now = timezone.now()
    open_ones = PullRequest.objects.filter(state="open").select_related("project", "task")
    due = open_ones.filter(Q(poll_at__isnull=True) | Q(poll_at__lte=now))
    projects = {pull.project_id: pull.project for pull in due}
    soon = Q(poll_at__isnull=True) | Q(poll_at__lte=now + TOGETHER)
    return sum(_observe(project, list(open_ones.filter(soon, project=project)), tools) for project in projects.values())


def _observe(project: Project, pulls: Sequence[PullRequest], tools: Toolbox) -> int:
    now = timezone.now()
    ids = [pull.pk for pull in pulls]
    held = now + watching.HOT  # whoever comes meanwhile has nothing to do
    PullRequest.objects.filter(pk__in=ids).update(poll_at=held)
    by_number = {pull.number: pull for pull in pulls}
    try:
        found = tools.scm(project).observe(sorted(by_number))
    except PortError as error:
        if isinstance(error, Unavailable) and error.retry_after is not None:
            PullRequest.objects.filter(pk__in=ids).update(poll_at=now + error.retry_after)
        projects.trouble(project=project, notice=f"{project.shown_remote}: {error}")
        return 0
    _look_again_later(by_number, found, held=held, now=now)
    if found and found[0].base_sha != project.base_sha:
        # Before anything is decided on it: an agent that is told of a conflict finds this base in its workspace.
        projects.mirrored(project=project, base_sha=found[0].base_sha, now=now)
    if found and found[0].base_checks:
        base_checks.record(project=project, sha=found[0].base_sha, seen=found[0].base_checks, now=now)
    for one in found:
        pull = by_number[one.number]
        moved = (pull.head_sha, pull.base_sha, pull.state, pull.mergeable) != (
            one.head_sha,
            one.base_sha,
            one.state,
            one.mergeable,
        )
        if moved or one.checks or one.reviews or one.comments:
            pull_requests.record(task=pull.task, seen=one, now=now)
            runner.decide_on(pull.task_id)
        else:
            pull_requests.seen_unchanged(pull=pull, at=one.observed_at)
    return len(found)


def _look_again_later(
    by_number: Mapping[int, PullRequest], found: Sequence[PullRequestSeen], *, held: datetime, now: datetime
) -> None:
    """When each is due again. One for which somebody rang while we looked stays due."""
    spans: dict[timedelta, list[int]] = {}
    for seen in found:
        pull = by_number[seen.number]
        spans.setdefault(_span(pull, seen, now=now), []).append(pull.pk)
    for span, ids in spans.items():
        PullRequest.objects.filter(pk__in=ids, poll_at=held).update(poll_at=now + span)


def _span(pull: PullRequest, seen: PullRequestSeen, *, now: datetime) -> timedelta:
    words = [*(one.submitted_at for one in seen.reviews), *(one.created_at for one in seen.comments)]
    pushed = pull.head_since if pull.head_sha == seen.head_sha else now
    running = any(check.status != "completed" for check in seen.checks)
    return watching.look_again_after(
        own=pull.project.scm.get("plugin", "local") == "local",
        moving=running or (seen.state is PullState.OPEN and seen.mergeable is None),
        quiet_for=now - max([pushed, *words]),
    )
