"""What is known of the failures at the heads of pull requests: here before, on the base, in the project. Asked only where something failed, and
of many in as many queries as of one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import AttemptFacts, BaseFacts, CheckFacts, FailureFacts, IncidentFacts
from orchestrator.models import BaseCheck, Check, Incident, Message, Turn, rows
from orchestrator.models.rows import among
from orchestrator.services import flakes

GREEN = ("success", "neutral", "skipped")
MOST_ATTEMPTS = 6  # red heads that are told side by side
BASE_RUNS = 200  # of a project's base branch that are looked at, from the newest on


class PullRow(NamedTuple):
    """What is read of a pull request."""

    pk: int
    task_id: int
    project_id: int
    number: int
    url: str
    state: str
    head_sha: str
    base_sha: str
    base_branch: str
    head_since: datetime
    mergeable: bool | None
    conflict_files: Sequence[str]
    required_checks: Sequence[str] | None
    observed_at: datetime
    merged_at: datetime | None


class Run(NamedTuple):
    """What is read of a run of a check at the head of a pull request."""

    pk: int
    pull_request_id: int
    name: str
    n: int
    head_sha: str
    status: str
    conclusion: str
    failing_log: str
    url: str
    fingerprint: str
    headline: str


class Ended(NamedTuple):
    """What is read of a run that is over, at an earlier head."""

    pk: int
    pull_request_id: int
    name: str
    head_sha: str
    status: str
    conclusion: str
    fingerprint: str
    headline: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OfHead:
    """The newest run of each check at a head, how the base does by those that failed, what is known of them beyond it, and the red heads so
    far."""

    checks: tuple[CheckFacts, ...]
    base: tuple[BaseFacts, ...] = ()
    incidents: tuple[IncidentFacts, ...] = ()
    attempts: tuple[AttemptFacts, ...] = ()


def at_heads(pulls: Collection[PullRow], runs: Mapping[int, Sequence[Run]], *, now: datetime) -> dict[int, OfHead]:
    """By the ids of the pull requests. `runs`: all of each pull request's head, in the order in which they were made."""
    newest = {pull.pk: {run.name: run for run in runs.get(pull.pk, ())} for pull in pulls}
    names = {pk: [run.name for run in found.values() if _red(run)] for pk, found in newest.items()}
    red = [pull for pull in pulls if pull.state == "open" and names[pull.pk]]
    found = {pull.pk: OfHead(checks=tuple(_check(run) for run in newest[pull.pk].values())) for pull in pulls}
    if not red:
        return found
    known = _Known.of(red, {name for pull in red for name in names[pull.pk]}, now=now)
    attempts = _attempts(red, runs)
    for pull in red:
        failed = dict.fromkeys(names[pull.pk])
        found[pull.pk] = OfHead(
            checks=tuple(_judged(run, runs[pull.pk], pull, known) for run in newest[pull.pk].values()),
            base=tuple(_of_base(pull, failed, known)),
            incidents=tuple(one for name in failed for one in known.incidents.get((pull.project_id, name), ())),
            attempts=attempts[pull.pk],
        )
    return found


def _red(check: Run | Ended) -> bool:
    return check.status == "completed" and check.conclusion not in GREEN


def _judged(check: Run, runs: Sequence[Run], pull: PullRow, known: _Known) -> CheckFacts:
    if not _red(check):
        return _check(check)
    reds = sum(_red(run) and run.conclusion != "cancelled" for run in runs if run.name == check.name)
    return _check(
        check,
        reds=reds,
        flaky=(pull.project_id, check.name, check.fingerprint) in known.flaky,
        green_once=(pull.project_id, check.name) in known.green,
    )


def _check(check: Run, *, reds: int = 1, flaky: bool = False, green_once: bool = True) -> CheckFacts:
    return CheckFacts(
        id=check.pk,
        name=check.name,
        n=check.n,
        status=check.status,
        conclusion=check.conclusion or None,
        failing_log=check.failing_log,
        url=check.url,
        fingerprint=check.fingerprint,
        headline=check.headline,
        reds=max(reds, 1),
        flaky=flaky,
        green_once=green_once,
    )


# --- In the project -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What projects know of some checks, by the project and the check's name. `green`: it has been green, on a change or on the base."""

    flaky: Collection[tuple[int, str, str]]
    green: Collection[tuple[int, str]]
    base: Mapping[tuple[int, str], Sequence[BaseCheck]]
    incidents: Mapping[tuple[int, str], Sequence[IncidentFacts]]

    @classmethod
    def of(cls, pulls: Iterable[PullRow], names: Collection[str], *, now: datetime) -> _Known:
        projects = {pull.project_id for pull in pulls}
        return cls(
            flaky=flakes.known(projects=projects, names=names, now=now),
            green=_green(projects, names),
            base=_base(projects, names),
            incidents=_incidents(projects, names),
        )


def _green(projects: Collection[int], names: Collection[str]) -> set[tuple[int, str]]:
    of = {"name__in": names, "conclusion__in": GREEN}
    on_changes = Check.objects.filter(pull_request__project__in=projects, **of)
    on_base = BaseCheck.objects.filter(project__in=projects, **of)
    return {
        *on_changes.values_list("pull_request__project", "name").distinct(),
        *on_base.values_list("project", "name").distinct(),
    }


def _base(projects: Collection[int], names: Collection[str]) -> dict[tuple[int, str], list[BaseCheck]]:
    """Oldest first."""
    runs = BaseCheck.objects.filter(project__in=projects, name__in=names).defer("failing_log").order_by("-id")
    found: dict[tuple[int, str], list[BaseCheck]] = defaultdict(list)
    for row in reversed(runs[: BASE_RUNS * len(projects)]):
        found[row.project_id, row.name].append(row)
    return found


def _of_base(pull: PullRow, names: Iterable[str], known: _Known) -> Iterable[BaseFacts]:
    known_runs = [row for name in names for row in known.base.get((pull.project_id, name), ())]
    for row in sorted(known_runs, key=lambda row: row.pk):
        if row.sha == pull.base_sha or row.status == "completed":
            yield BaseFacts(
                name=row.name,
                sha=row.sha,
                n=row.n,
                status=row.status,
                conclusion=row.conclusion or None,
                fingerprint=row.fingerprint,
            )


def _incidents(projects: Collection[int], names: Collection[str]) -> dict[tuple[int, str], list[IncidentFacts]]:
    found: dict[tuple[int, str], list[IncidentFacts]] = defaultdict(list)
    for row in Incident.objects.unresolved().filter(project__in=projects, check_name__in=names).order_by("id"):
        found[row.project_id, row.check_name].append(
            IncidentFacts(
                number=row.pk,
                check=row.check_name,
                fingerprint=row.fingerprint,
                pulls=len(row.pulls),
                on_base=row.on_base,
                released=row.released_at is not None,
            )
        )
    return found


# --- Here before --------------------------------------------------------------------------------------------------------------------------


def _attempts(pulls: Collection[PullRow], runs: Mapping[int, Sequence[Run]]) -> dict[int, tuple[AttemptFacts, ...]]:
    """Of each pull request its red heads, oldest first: the newest run of each check that failed there, and what the agent said that had made
    it. `runs`: all of each head that is there now."""
    marks = _told_heads(pulls)
    heads: dict[int, dict[str, dict[str, Run | Ended]]] = {pull.pk: {} for pull in pulls}
    ended: list[Run | Ended] = [run for pull in pulls for run in runs.get(pull.pk, ()) if run.status == "completed"]
    ended += _ended_before(marks)
    for run in sorted(ended, key=lambda run: run.pk):
        heads[run.pull_request_id].setdefault(run.head_sha, {})[run.name] = run
    said = _said({pull.task_id for pull in pulls}, {head for found in heads.values() for head in found})
    return {
        pull.pk: tuple(
            AttemptFacts(
                head_sha=head,
                failures=tuple(
                    FailureFacts(name=run.name, fingerprint=run.fingerprint, headline=run.headline)
                    for _, run in sorted(heads[pull.pk][head].items())
                    if _red(run)
                ),
                said=said.get((pull.task_id, head), ""),
            )
            for head in sorted(heads[pull.pk], key=lambda one, at=_places(marks[pull.pk]): at(one))  # type: ignore[misc]  # bound to this round
        )
        for pull in pulls
    }


def _ended_before(marks: Mapping[int, Sequence[str]]) -> Iterable[Ended]:
    """The runs that are over at the heads of whose failures an agent was told."""
    told = [pull for pull, heads in marks.items() if heads]
    if not told:
        return []
    ended = rows.read(Check.objects.filter(among("pull_request", told), status="completed").order_by(), Ended)
    return [run for run in ended if run.head_sha[:16] in marks[run.pull_request_id]]


def _places(marks: Sequence[str]) -> Any:
    """Where a head stands among those that were told of; the newest is not told of yet."""
    order = {mark: n for n, mark in enumerate(marks)}
    return lambda head: order.get(head[:16], len(order))


def _told_heads(pulls: Iterable[PullRow]) -> dict[int, list[str]]:
    """The beginnings of the heads of whose failures an agent was told, oldest first, without the head that is there now."""
    of_task = {pull.task_id: pull for pull in pulls}
    told = (
        Message.objects.filter(among("task", of_task), trigger=Trigger.CI_FAILED)
        .exclude(occasion="")
        .order_by("created_at")
    )
    found: dict[int, dict[str, None]] = {pull.pk: {} for pull in of_task.values()}
    for task, occasion in told.values_list("task", "occasion"):
        mark, known = occasion.partition(".")[0], found[of_task[task].pk]
        known.pop(mark, None)
        if mark != of_task[task].head_sha[:16]:
            known[mark] = None
    return {pk: list(known)[1 - MOST_ATTEMPTS :] for pk, known in found.items()}


def _said(tasks: Collection[int], heads: Collection[str]) -> dict[tuple[int, str], str]:
    """What agents said last when they had made a head, by the task and the head."""
    turns = Turn.objects.filter(among("session__task", tasks), head_after__in=heads).order_by("id")
    return {(task, head): words for task, head, words in turns.values_list("session__task", "head_after", "last_words")}
