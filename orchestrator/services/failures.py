"""What is known of the failures at the head of a pull request: here before, on the base, in the project. Asked only where something failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import AttemptFacts, BaseFacts, CheckFacts, FailureFacts, IncidentFacts
from orchestrator.models import BaseCheck, Check, Incident, PullRequest, Turn
from orchestrator.services import flakes

GREEN = ("success", "neutral", "skipped")
MOST_ATTEMPTS = 6  # red heads that are told side by side

Found = tuple[tuple[CheckFacts, ...], tuple[BaseFacts, ...], tuple[IncidentFacts, ...], tuple[AttemptFacts, ...]]


def facts(pull: PullRequest, runs: Sequence[Check], newest: Sequence[Check], *, now: datetime) -> Found:
    """The checks of a head, how the base does by those that failed, what is known of them beyond it, and the red heads so far."""
    names = [check.name for check in newest if _red(check)]
    if not names or pull.state != "open":
        return tuple(_check(check) for check in newest), (), (), ()
    flaky = flakes.known(project=pull.project, names=names, now=now)
    green = _green_once(pull, names)
    reds = {
        name: sum(_red(run) and run.conclusion != "cancelled" for run in runs if run.name == name) for name in names
    }
    checks = tuple(
        _check(
            check,
            reds=reds.get(check.name, 1),
            flaky=(check.name, check.fingerprint) in flaky,
            green_once=check.name in green,
        )
        for check in newest
    )
    return checks, _base(pull, names), _incidents(pull, names), _attempts(pull)


def _red(check: Check) -> bool:
    return check.status == "completed" and check.conclusion not in GREEN


def _check(check: Check, *, reds: int = 1, flaky: bool = False, green_once: bool = True) -> CheckFacts:
    red = _red(check)
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
        flaky=flaky and red,
        green_once=green_once,
    )


def _green_once(pull: PullRequest, names: Iterable[str]) -> set[str]:
    """The checks that have been green in this project, on a change or on the base."""
    on_changes = Check.objects.filter(pull_request__project=pull.project_id, name__in=names, conclusion__in=GREEN)
    on_base = BaseCheck.objects.filter(project=pull.project_id, name__in=names, conclusion__in=GREEN)
    return {name for rows in (on_changes, on_base) for name in rows.values_list("name", flat=True).distinct()}


def _base(pull: PullRequest, names: Iterable[str]) -> tuple[BaseFacts, ...]:
    rows = BaseCheck.objects.filter(project=pull.project_id, name__in=names).defer("failing_log").order_by("-id")
    return tuple(
        BaseFacts(
            name=row.name,
            sha=row.sha,
            n=row.n,
            status=row.status,
            conclusion=row.conclusion or None,
            fingerprint=row.fingerprint,
        )
        for row in reversed(rows[:200])
        if row.sha == pull.base_sha or row.status == "completed"
    )


def _incidents(pull: PullRequest, names: Iterable[str]) -> tuple[IncidentFacts, ...]:
    return tuple(
        IncidentFacts(
            number=row.pk,
            check=row.check_name,
            fingerprint=row.fingerprint,
            pulls=len(row.pulls),
            on_base=row.on_base,
            released=row.released_at is not None,
        )
        for row in Incident.objects.unresolved().filter(project=pull.project_id, check_name__in=names).order_by("id")
    )


def _attempts(pull: PullRequest) -> tuple[AttemptFacts, ...]:
    """Of each red head, oldest first: the newest run of each check that failed there, and what the agent said that had made it."""
    told = pull.task.messages.filter(trigger=Trigger.CI_FAILED).exclude(occasion="").order_by("-created_at")
    known = list(dict.fromkeys(occasion.partition(".")[0] for occasion in told.values_list("occasion", flat=True)[:20]))
    marks = [mark for mark in known if mark != pull.head_sha[:16]][: MOST_ATTEMPTS - 1]
    heads: dict[str, dict[str, Check]] = {}
    for run in pull.checks.filter(status="completed").defer("failing_log").order_by("id"):
        if run.head_sha[:16] in marks or run.head_sha == pull.head_sha:
            heads.setdefault(run.head_sha, {})[run.name] = run
    said = {
        turn.head_after: turn.last_words
        for turn in Turn.objects.filter(session__task=pull.task_id, head_after__in=heads).order_by("id")
    }
    order = {mark: n for n, mark in enumerate(reversed(marks))}
    return tuple(
        AttemptFacts(
            head_sha=head,
            failures=tuple(
                FailureFacts(name=run.name, fingerprint=run.fingerprint, headline=run.headline)
                for _, run in sorted(heads[head].items())
                if _red(run)
            ),
            said=said.get(head, ""),
        )
        for head in sorted(heads, key=lambda one: order.get(one[:16], len(order)))
    )
