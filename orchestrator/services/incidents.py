"""Failures of a whole project: found where a task is decided on, told to people once, over when the check is green again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from django.db import transaction
from django.db.models import F, Q

from orchestrator.domain.blame import Blame, incident_of
from orchestrator.domain.rules import Priority
from orchestrator.domain.snapshot import CheckFacts, Snapshot
from orchestrator.domain.triggers import blame_of
from orchestrator.models import BaseCheck, Check, Incident, Project, PullRequest, Task, rows
from orchestrator.services import events, notices
from orchestrator.services.events import Actor

MANY = 3  # open pull requests that fail in the same way
ONE_CALL = timedelta(minutes=10)  # incidents of a project that open so soon after one another are told together
WINDOW = timedelta(days=1)  # in which they began to
GREEN = ("success", "neutral", "skipped")


def notice(looks: Mapping[Task, Snapshot], *, now: datetime) -> bool:
    """Open the incidents that the failures of these tasks show, and end those that they show to be over. True: there is something new to be
    decided on. In the transaction that decides, under the tasks' locks; a constraint keeps two tasks from opening the same one twice."""
    open_now = {task: snapshot for task, snapshot in looks.items() if snapshot.pull and snapshot.pull.state == "open"}
    changed = _mended(open_now, now=now)
    failing = {task: found for task, snapshot in open_now.items() if (found := blame_of(snapshot)) is not None}
    alike = _alike({task: _counted(open_now[task], found) for task, found in failing.items()}, now=now)
    met: dict[_Failure, _Met] = {}
    for task, found in failing.items():
        for check in found.inherited:
            known = met.setdefault(_Failure.of(task, check), _Met(task=task, check=check, on_base=True))
            known.numbers.add(_number(open_now[task]))
        for check in _counted(open_now[task], found):
            numbers = alike.get(_Failure.of(task, check), ())
            if len(numbers) >= MANY:
                known = met.setdefault(_Failure.of(task, check), _Met(task=task, check=check, on_base=False))
                known.numbers.update(numbers)
    for _, one in sorted(met.items(), key=lambda item: item[0]):  # everybody locks them in this order
        changed = _met(one, now=now) or changed
    return changed


def _number(snapshot: Snapshot) -> int:
    return snapshot.pull.number if snapshot.pull is not None else 0


def _counted(snapshot: Snapshot, found: Blame) -> list[CheckFacts]:
    """The failures of which many alike are everybody's: those that the base is not known to have."""
    pull = snapshot.pull
    if pull is None:
        return []
    own = [check for check in found.own if not ((known := incident_of(check, pull)) is not None and known.on_base)]
    return [check for check in (*own, *found.shared) if check.fingerprint]


class _Run(NamedTuple):
    pk: int
    name: str
    fingerprint: str
    head_sha: str
    n: int
    completed_at: datetime | None
    pull_request_id: int
    pull_request__number: int
    pull_request__project_id: int


class _Failure(NamedTuple):
    project: int
    name: str
    fingerprint: str

    @classmethod
    def of(cls, task: Task, check: CheckFacts) -> _Failure:
        return cls(task.project_id, check.name, check.fingerprint)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Met:
    """A failure that is more than one pull request's, and those of this look that have it."""

    task: Task
    check: CheckFacts
    on_base: bool
    numbers: set[int] = field(default_factory=set)


def _alike(counted: Mapping[Task, Iterable[CheckFacts]], *, now: datetime) -> dict[_Failure, list[int]]:
    return failing_alike({_Failure.of(task, check) for task, checks in counted.items() for check in checks}, now=now)


def failing_alike(failures: Collection[tuple[int, str, str]], *, now: datetime) -> dict[_Failure, list[int]]:
    """Of these failures, as (project, name, fingerprint), those that at least `MANY` open pull requests show at their heads, each with the
    numbers of those whose newest run fails like this and has begun to since the last such incident was over."""
    if not failures:
        return {}
    of = {"name__in": {name for _, name, _ in failures}, "fingerprint__in": {mark for _, _, mark in failures}}
    heads = Q(pull_request__project__in={project for project, _, _ in failures}) & Q(
        pull_request__state="open", pull_request__task__outcome="", head_sha=F("pull_request__head_sha")
    )
    red = Check.objects.filter(heads, status="completed", **of).exclude(conclusion__in=GREEN)
    found: dict[_Failure, dict[int, _Run]] = {}
    for run in rows.read(red.order_by("n"), _Run):
        failure = _Failure(run.pull_request__project_id, run.name, run.fingerprint)
        if failure in failures:
            found.setdefault(failure, {})[run.pull_request_id] = run
    many = {failure: known for failure, known in found.items() if len(known) >= MANY}
    since, newer = _over(many), _overtaken(many)
    return {
        failure: [
            run.pull_request__number
            for run in known.values()
            if run.pk not in newer and (run.completed_at or now) > max(now - WINDOW, since.get(failure, now - WINDOW))
        ]
        for failure, known in many.items()
    }


def _over(failures: Collection[_Failure]) -> dict[_Failure, datetime]:
    """When the last incident of each was over."""
    if not failures:
        return {}
    over = Incident.objects.filter(
        project__in={one.project for one in failures},
        check_name__in={one.name for one in failures},
        resolved_at__isnull=False,
    )
    columns = over.order_by("resolved_at").values_list("project", "check_name", "fingerprint", "resolved_at")
    return {_Failure(project, name, mark): at for project, name, mark, at in columns if at is not None}


def _overtaken(failures: Mapping[_Failure, Mapping[int, _Run]]) -> set[int]:
    """The runs after which the same check ran at the same head once more."""
    runs = [run for known in failures.values() for run in known.values()]
    if not runs:
        return set()
    again = Check.objects.filter(
        pull_request__in={run.pull_request_id for run in runs}, name__in={one.name for one in failures}
    )
    last: dict[tuple[int, str, str], int] = {}
    for pull, name, head, n in again.values_list("pull_request", "name", "head_sha", "n"):
        last[pull, name, head] = max(n, last.get((pull, name, head), 0))
    return {run.pk for run in runs if run.n < last[run.pull_request_id, run.name, run.head_sha]}


def _met(met: _Met, *, now: datetime) -> bool:
    check = met.check
    incident, created = Incident.objects.get_or_create(
        project=met.task.project,
        check_name=check.name,
        fingerprint=check.fingerprint,
        resolved_at__isnull=True,
        defaults={
            "headline": check.headline,
            "on_base": met.on_base,
            "pulls": sorted(met.numbers),
            "opened_at": now,
        },
    )
    if created:
        _tell(incident, now=now)
        return True
    joined = sorted({*incident.pulls, *met.numbers})
    if joined == incident.pulls:
        return False
    Incident.objects.filter(pk=incident.pk).update(pulls=joined)
    return True


def _tell(incident: Incident, *, now: datetime) -> None:
    text = f"{incident.project.key}: {incident}"
    events.record(kind="incident.opened", text=text, project=incident.project, at=now, data={"incident": incident.pk})
    if _told_already(incident, now=now):
        return
    notices.alert(
        key=f"incident-{incident.pk}",
        title=text,
        body="\n".join(
            part for part in (incident.headline, "The tasks that meet it wait. Mend it, or let agents try.") if part
        ),
        priority=Priority.ACTION,
        project=incident.project,
        now=now,
    )


def _told_already(incident: Incident, *, now: datetime) -> bool:
    """What breaks many checks at once is one call: people who look find them all."""
    others = Incident.objects.unresolved().filter(project=incident.project).exclude(pk=incident.pk)
    return others.filter(opened_at__gt=now - ONE_CALL).exists()


# --- How it ends --------------------------------------------------------------------------------------------------------------------------


def _mended(looks: Mapping[Task, Snapshot], *, now: datetime) -> bool:
    """Checks that are green on a pull request which had the failure."""
    if not looks:
        return False
    standing = Incident.objects.unresolved().filter(on_base=False, project__in={task.project_id for task in looks})
    ended = False
    for incident in standing.select_related("project").order_by("project", "check_name", "fingerprint"):
        numbers = [
            _number(snapshot)
            for task, snapshot in looks.items()
            if task.project_id == incident.project_id and _green(snapshot, incident)
        ]
        if numbers:
            _end(incident, resolution=f"it is green on !{min(numbers)}", now=now)
            ended = True
    return ended


def _green(snapshot: Snapshot, incident: Incident) -> bool:
    pull = snapshot.pull
    if pull is None or pull.number not in incident.pulls:
        return False
    return any(check.name == incident.check_name and check.conclusion in GREEN for check in pull.checks)


def green_on_base(*, project: Project, name: str, sha: str, now: datetime) -> None:
    """The base is green by this check: whoever fails there still has to be told so. In the transaction that takes the check in."""
    for incident in Incident.objects.unresolved().filter(project=project, check_name=name):
        _end(incident, resolution=f"{name} is green on {project.default_branch} at {sha[:10]}", now=now)


@transaction.atomic
def end_forgotten(*, now: datetime) -> int:
    """Incidents that no open pull request has any more."""
    ended = 0
    for incident in Incident.objects.unresolved().select_related("project"):
        if now - incident.opened_at > timedelta(minutes=1) and not _any_red(incident):
            _end(incident, resolution="no open pull request fails like this any more", now=now)
            ended += 1
    return ended


def _any_red(incident: Incident) -> bool:
    """Longer ago than the window, and still."""
    pulls = PullRequest.objects.filter(
        project=incident.project, state="open", task__outcome="", number__in=incident.pulls
    )
    return any(
        pull.checks.filter(
            head_sha=pull.head_sha, name=incident.check_name, fingerprint=incident.fingerprint, status="completed"
        )
        .exclude(conclusion__in=GREEN)
        .exists()
        for pull in pulls
    )


@transaction.atomic
def resolve(*, incident: Incident, actor: Actor) -> None:
    """A person says that it is over: the failures that were seen before count for nothing, the base's neither."""
    now = actor.at
    red = BaseCheck.objects.filter(project=incident.project, name=incident.check_name, status="completed")
    red.exclude(conclusion__in=GREEN).update(conclusion="cancelled")
    _end(incident, resolution=f"{actor.name} says that it is over", now=now, actor=actor)


@transaction.atomic
def release(*, incident: Incident, actor: Actor) -> None:
    """A person says that agents shall try: from here on it is told to them like any other failure."""
    now = actor.at
    user = actor.user.pk if actor.user is not None else None
    changed = Incident.objects.unresolved().filter(pk=incident.pk, released_at__isnull=True)
    if changed.update(released_at=now, released_by_id=user):
        text = f"{actor.name} lets agents try: {incident}"
        events.record(kind="incident.released", text=text, project=incident.project, actor=actor, at=now)
        wake(project_id=incident.project_id, now=now)


def _end(incident: Incident, *, resolution: str, now: datetime, actor: Actor | None = None) -> None:
    user = actor.user.pk if actor is not None and actor.user is not None else None
    ended = Incident.objects.unresolved().filter(pk=incident.pk)
    if ended.update(resolved_at=now, resolved_by_id=user, resolution=resolution):
        text = f"{incident} is over: {resolution}"
        events.record(kind="incident.resolved", text=text, project=incident.project, actor=actor, at=now)
        wake(project_id=incident.project_id, now=now)


def wake(*, project_id: int, now: datetime) -> None:
    """Let the tasks with open pull requests be decided on, after the commit: whoever holds a task's lock may be about to write what is
    written here. A task that waits looks again by itself within a minute, so one that is not woken is late and not lost."""
    transaction.on_commit(partial(_wake, project_id, now=now), robust=True)


def _wake(project_id: int, *, now: datetime) -> None:
    waiting = Task.objects.filter(project=project_id, outcome="", pull_requests__state="open")
    for task_id in waiting.values_list("pk", flat=True).distinct():
        events.look_again(task_id=task_id, at=now)
