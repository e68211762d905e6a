"""Failures of a whole project: found where a task is decided on, told to people once, over when the check is green again."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from functools import partial

from django.db import transaction

from orchestrator.domain.blame import incident_of
from orchestrator.domain.rules import Priority
from orchestrator.domain.snapshot import CheckFacts, IncidentFacts, Snapshot
from orchestrator.domain.triggers import blame_of
from orchestrator.models import BaseCheck, Check, Incident, Project, PullRequest, Task
from orchestrator.services import events, notices
from orchestrator.services.events import Actor

MANY = 3  # open pull requests that fail in the same way
ONE_CALL = timedelta(minutes=10)  # incidents of a project that open so soon after one another are told together
WINDOW = timedelta(days=1)  # in which they began to
GREEN = ("success", "neutral", "skipped")


def notice(*, task: Task, snapshot: Snapshot, now: datetime) -> bool:
    """Open the incidents that the failures of this task show, and end those that it shows to be over. True: there is something new to be
    decided on. In the transaction that decides, under the task's lock; a constraint keeps two tasks from opening the same one twice."""
    pull = snapshot.pull
    if pull is None or pull.state != "open":
        return False
    changed = _mended_here(task, snapshot, now=now)
    found = blame_of(snapshot)
    if found is None:
        return changed
    for check in found.inherited:
        changed = _met(task, check, [pull.number], on_base=True, now=now) or changed
    known = {check.name: incident_of(check, pull) for check in found.own}
    counted = [check for check in found.own if check.fingerprint and not _of_base(known[check.name])] + [*found.shared]
    alike = failing_alike(project=task.project, failures={(one.name, one.fingerprint) for one in counted}, now=now)
    for check in counted:
        numbers = alike.get((check.name, check.fingerprint), [])
        if len(numbers) >= MANY:
            changed = _met(task, check, numbers, on_base=False, now=now) or changed
    return changed


def _of_base(incident: IncidentFacts | None) -> bool:
    return incident is not None and incident.on_base


def failing_alike(
    *, project: Project, failures: Collection[tuple[str, str]], now: datetime
) -> dict[tuple[str, str], list[int]]:
    """For each of these failures, as (name, fingerprint), the numbers of the open pull requests on whose head the check fails like this,
    and has begun to since the last such incident was over."""
    if not failures:
        return {}
    names = {name for name, _ in failures}
    over = Incident.objects.filter(project=project, check_name__in=names, resolved_at__isnull=False)
    since = {
        (name, mark): last
        for name, mark, last in over.order_by("resolved_at").values_list("check_name", "fingerprint", "resolved_at")
        if last is not None
    }
    heads = {pull.pk: pull for pull in PullRequest.objects.filter(project=project, state="open", task__outcome="")}
    runs = Check.objects.filter(pull_request__in=heads, name__in=names).defer("failing_log").order_by("n")
    newest = {
        (run.pull_request_id, run.name): run for run in runs if run.head_sha == heads[run.pull_request_id].head_sha
    }
    found: dict[tuple[str, str], list[int]] = {}
    for (pk, name), run in newest.items():
        failure = (name, run.fingerprint)
        red = run.status == "completed" and run.conclusion not in GREEN
        if (
            red
            and failure in failures
            and (run.completed_at or now) > max(now - WINDOW, since.get(failure, now - WINDOW))
        ):
            found.setdefault(failure, []).append(heads[pk].number)
    return found


def _met(task: Task, check: CheckFacts, numbers: Iterable[int], *, on_base: bool, now: datetime) -> bool:
    incident, created = Incident.objects.get_or_create(
        project=task.project,
        check_name=check.name,
        fingerprint=check.fingerprint,
        resolved_at__isnull=True,
        defaults={"headline": check.headline, "on_base": on_base, "pulls": sorted(numbers), "opened_at": now},
    )
    if created:
        _tell(incident, now=now)
        return True
    joined = sorted({*incident.pulls, *numbers})
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


def _mended_here(task: Task, snapshot: Snapshot, *, now: datetime) -> bool:
    """A check that is green on a pull request which had the failure."""
    pull = snapshot.pull
    green = {check.name for check in pull.checks if check.conclusion in GREEN} if pull is not None else set()
    if pull is None or not green:
        return False
    over = [
        incident
        for incident in Incident.objects.unresolved().filter(project=task.project, check_name__in=green, on_base=False)
        if pull.number in incident.pulls
    ]
    for incident in over:
        _end(incident, resolution=f"it is green on !{pull.number}", now=now)
    return bool(over)


def green_on_base(*, project: Project, name: str, sha: str, now: datetime) -> None:
    """The base is green by this check: whoever fails there still has to be told so. In the transaction that takes the check in."""
    for incident in Incident.objects.unresolved().filter(project=project, check_name=name):
        _end(incident, resolution=f"{name} is green on {project.default_branch} at {sha[:10]}", now=now)


@transaction.atomic
def end_forgotten(*, now: datetime) -> int:
    """Incidents that no open pull request has any more."""
    ended = 0
    for incident in Incident.objects.unresolved().select_related("project"):
        failure = (incident.check_name, incident.fingerprint)
        still = failing_alike(project=incident.project, failures={failure}, now=now)
        if not still and now - incident.opened_at > timedelta(minutes=1) and not _any_red(incident):
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
