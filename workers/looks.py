"""Looks at the pull requests that are due: a question per project, and a decision where something moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.db.models import F, Q, QuerySet
from django.utils import timezone

from orchestrator.domain import watching
from orchestrator.models import Project, PullRequest
from orchestrator.ports import LimitReached, PortError, PullRequestSeen, PullState
from orchestrator.services import base_checks, deliveries, forges, projects, pull_requests
from workers import runner
from workers.toolbox import Toolbox

# What is due so soon comes along, and so does what was rung for in passing, or is not known of this base yet: looks of a project fall together, and
# cost the forge one question.
TOGETHER = timedelta(seconds=15)
A_QUESTION = 100  # pull requests that a forge shows at once
DECIDED_TOGETHER = 25
WRITES_FIRST = timedelta(seconds=5)  # between the end of a limit and the first look

_Looked = tuple[PullRequest, PullRequestSeen]


def observe_due_pull_requests(tools: Toolbox) -> int:
    """Look at the pull requests that are due, one call per project, and decide where something moved."""
    now = timezone.now()
    open_ones = PullRequest.objects.filter(state="open")
    due = open_ones.filter(_due_by(now)).values_list("project", flat=True)
    seen = 0
    for project in Project.objects.filter(pk__in=list(due.distinct())):
        pulls = _looked_at_now(open_ones.filter(project=project).select_related("task__project"), now=now)
        if pulls:  # else somebody was faster
            seen += _observe(project, pulls, tools)
    return seen


def _looked_at_now(open_ones: QuerySet[PullRequest], *, now: datetime) -> Sequence[PullRequest]:
    """What is due, and what comes along, the soonest due first, as much as the last question still takes: nobody who rang waits for more."""
    due = list(open_ones.filter(_due_by(now)))
    wanted = (
        Q(rung_at__gt=F("observed_at"))
        | Q(mergeable__isnull=True)
        | ~Q(base_sha=F("project__base_sha"))
        | _due_by(now + TOGETHER)
    )
    return [*due, *open_ones.filter(wanted).exclude(_due_by(now)).order_by("poll_at")[: -len(due) % A_QUESTION]]


def _due_by(moment: datetime) -> Q:
    return Q(poll_at__isnull=True) | Q(poll_at__lte=moment)


def _observe(project: Project, pulls: Sequence[PullRequest], tools: Toolbox) -> int:
    now = timezone.now()
    ids = [pull.pk for pull in pulls]
    held = now + watching.HOT  # whoever comes meanwhile has nothing to do
    PullRequest.objects.filter(pk__in=ids).update(poll_at=held)
    by_number = {pull.number: pull for pull in pulls}
    rung = deliveries.rings(project=project, now=now)
    told = {pull.number: pull.rung_at for pull in pulls}
    try:
        found = tools.scm(project).observe(sorted(by_number), told=told if rung else None)
    except LimitReached as error:
        # A little later than those who write, who have waited as long.
        PullRequest.objects.filter(pk__in=ids).update(poll_at=now + error.wait + WRITES_FIRST)
        forges.limited(project=project, until=now + error.wait, writes_go_on=error.writes_go_on)
        return 0
    except PortError as error:
        projects.trouble(project=project, notice=f"{project.shown_remote}: {error}")
        return 0
    forges.answers(project=project)
    _look_again_later(project, by_number, found, rung=rung, held=held, now=now)
    if found and found[0].base_sha != project.base_sha:
        # Before anything is decided on it: an agent that is told of a conflict finds this base in its workspace.
        projects.mirrored(project=project, base_sha=found[0].base_sha, now=now, looked_at=ids)
    if found and found[0].base_checks:
        base_checks.record(project=project, sha=found[0].base_sha, seen=found[0].base_checks, now=now)
    _take_in([(by_number[one.number], one) for one in found], now=now)
    return len(found)


def _take_in(looked: Sequence[_Looked], *, now: datetime) -> None:
    """What is new is recorded and decided on, first what was rung for; the rest was only seen."""
    news = [(pull, seen, pull_requests.News.of(pull, seen)) for pull, seen in looked]
    surprises = [pull for pull, _, new in news if new.told and pull.seen]
    if surprises:
        pull_requests.untold(pulls=surprises, now=now)
    still: list[PullRequest] = []
    changed: list[_Looked] = []
    moved: dict[tuple[str, bool | None], list[_Looked]] = {}
    for pull, seen, new in news:
        if new.only_base and not seen.conflict_files and seen.mergeable is not False:
            moved.setdefault((seen.base_sha, seen.mergeable), []).append((pull, seen))
        elif new.told or new.rest or new.base:
            changed.append((pull, seen))
        else:
            still.append(pull)
    rung = [one for one in changed if _rung_for(one[0])]
    others = [one for one in changed if not _rung_for(one[0])]
    for some in [*_few(rung), *_few(others)]:
        for pull, seen in some:
            pull_requests.record(task=pull.task, seen=seen, now=now)
        runner.decide_on_many([pull.task_id for pull, _ in some])
    for alike in moved.values():
        pull_requests.base_moved(pulls=[pull for pull, _ in alike], seen=alike[0][1], now=now)
        for some in _few(alike):
            runner.decide_on_many([pull.task_id for pull, _ in some])
    if still:
        pull_requests.seen_unchanged(pulls=still, at=min(seen.observed_at for _, seen in looked))


def _rung_for(pull: PullRequest) -> bool:
    return pull.rung_at is not None and pull.rung_at > pull.observed_at


def _few(looked: Sequence[_Looked]) -> list[Sequence[_Looked]]:
    return [looked[start : start + DECIDED_TOGETHER] for start in range(0, len(looked), DECIDED_TOGETHER)]


def _look_again_later(
    project: Project,
    by_number: Mapping[int, PullRequest],
    found: Sequence[PullRequestSeen],
    *,
    rung: bool,
    held: datetime,
    now: datetime,
) -> None:
    """When each is due again. One for which somebody rang while we looked stays due."""
    spans: dict[timedelta, list[int]] = {}
    for seen in found:
        pull = by_number[seen.number]
        spans.setdefault(_span(project, pull, seen, rung=rung, now=now), []).append(pull.pk)
    quiet = Q(rung_at__isnull=True) | Q(rung_at__lte=now)
    for span, ids in spans.items():
        at = watching.next_look(span, now=now, project=project.pk)
        PullRequest.objects.filter(quiet, pk__in=ids, poll_at=held).update(poll_at=at)


def _span(project: Project, pull: PullRequest, seen: PullRequestSeen, *, rung: bool, now: datetime) -> timedelta:
    words = [*(one.submitted_at for one in seen.reviews), *(one.created_at for one in seen.comments)]
    pushed = pull.head_since if pull.head_sha == seen.head_sha else now
    return watching.look_again_after(
        own=project.scm.get("plugin", "local") == "local",
        rung=rung,
        approved=any(one.decision == "approve" for one in seen.reviews),
        unknown=seen.state is PullState.OPEN and seen.mergeable is None,
        running=any(check.status != "completed" for check in seen.checks),
        quiet_for=now - max([pushed, *words]),
    )
