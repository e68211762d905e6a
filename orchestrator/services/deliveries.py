"""Webhooks mean "look again": which pull requests are meant is read from them, what has become of those is asked of the forge."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Case, DateTimeField, ExpressionWrapper, F, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce, Greatest, Least

from orchestrator import doorbell
from orchestrator.domain import watching
from orchestrator.domain.naming import repository_name
from orchestrator.models import Delivery, Project, ProjectWorkflow, PullRequest
from orchestrator.ports import Refused
from orchestrator.services.references import resolved

SECRET = "AO_GITHUB_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
OUR_MARK = "<!-- ao-"  # in whatever we say
_WELL = frozenset({"success", "neutral", "skipped"})
_NAMED = 100  # pull requests that one delivery may name


def secrets_of(plugin: str) -> list[tuple[bytes, Project | None]]:
    """The secrets by which deliveries of a forge may be signed, each with the project that it speaks for; None: any of them."""
    found: list[tuple[bytes, Project | None]] = []
    everybody = os.environ.get(SECRET, "")
    if everybody:
        found.append((everybody.encode(), None))
    for project in Project.objects.filter(scm__plugin=plugin, scm__webhook__has_key="secret"):
        try:
            read = resolved(project.scm["webhook"], of=f"scm.webhook of {project.key}")
        except Refused:
            continue  # it is not set here, so nobody can have signed with it
        if read.get("secret"):
            found.append((str(read["secret"]).encode(), project))
    return found


@transaction.atomic
def take_in(
    *, delivery: str, event: str, payload: Mapping[str, Any], speaks_for: Project | None, now: datetime
) -> Delivery | None:
    """Store a delivery and let the pull requests that it is about be looked at now. None: it was here before, and nothing follows."""
    repository = str(_inner(payload, "repository").get("full_name") or "")[:200]
    row, new = Delivery.objects.get_or_create(
        id=delivery,
        defaults={
            "event": event[:60],
            "action": str(payload.get("action") or "")[:60],
            "repository": repository,
            "received_at": now,
        },
    )
    if not new:
        return None
    projects = [project for project in _projects(repository) if speaks_for in {None, project}]
    meant = PullRequest.objects.filter(_meant(payload), project__in=projects, state="open")
    urgent = _urgent(event, payload)
    row.looked_at = _ring(meant, by=now if urgent else now + watching.IN_PASSING, now=now)
    row.save(update_fields=["looked_at"])
    Project.objects.filter(_rung_before(now), pk__in=[project.pk for project in projects]).update(rung_at=now)
    if row.looked_at and urgent:
        for after in {max((at or now) - now, timedelta()) for at in meant.values_list("poll_at", flat=True)}:
            doorbell.ring("observe_pull_requests", queue_name="effects", after=after)
    if event == "issues":
        ProjectWorkflow.objects.filter(project__in=projects, poll_at__isnull=False).update(poll_at=now)
    if event == "push" and projects:
        doorbell.ring("look_after_projects", queue_name="control")
    return row


def rings(*, project: Project, now: datetime) -> bool:
    """Whether the project's webhooks can be relied on: they come, and nothing was seen for a while of which none had told."""
    late = Q(untold_at__lte=now - watching.BELL_IS_LATE, untold_at__gt=now - watching.RUNG_WITHIN)
    missed = (
        PullRequest.objects.filter(late, project=project).order_by("-untold_at").values_list("untold_at", flat=True)
    )
    return watching.rings(rung_at=project.rung_at, missed_at=missed.first(), now=now)


def _ring(meant: QuerySet[PullRequest], *, by: datetime, now: datetime) -> int:
    """Let these be looked at by then at the latest. What a look saw before its bell rang was told after all."""
    meant.filter(untold_at__gt=now - watching.BELL_IS_LATE).update(untold_at=None)
    # What one act rings for in a row is looked at at once, then once more, and not once for each.
    once_more = ExpressionWrapper(F("observed_at") + watching.IN_A_ROW, output_field=DateTimeField())
    answered = Q(rung_at__lte=F("observed_at"), rung_at__gt=F("observed_at") - watching.IN_A_ROW)
    awaited = Q(rung_at__gt=F("observed_at"), poll_at__gt=now, poll_at__lte=once_more)
    gathered = Case(When(answered | awaited, then=Greatest(Value(by), once_more)), default=Value(by))
    return meant.update(rung_at=now, poll_at=Least(Coalesce("poll_at", Value(now)), gathered))


def _rung_before(now: datetime) -> Q:
    """Once a minute is often enough to know that webhooks come, and keeps them from waiting for each other's row."""
    return Q(rung_at__isnull=True) | Q(rung_at__lt=now - timedelta(minutes=1))


def _urgent(event: str, payload: Mapping[str, Any]) -> bool:
    """Whether somebody may wait for what this tells. That something began, goes on or went well in part, nobody does: what is still missing
    follows with a ring of its own."""
    action = payload.get("action")
    if event in {"check_run", "workflow_job"}:
        ended = _inner(payload, event)
        return action == "completed" and ended.get("conclusion") not in _WELL
    if event in {"check_suite", "workflow_run"}:
        return action == "completed"
    if event == "pull_request":
        return action in {"closed", "reopened"}
    if _by_us(payload):
        return False
    return event not in {"push", "status"} or payload.get("state") in {"failure", "error"}


def _by_us(payload: Mapping[str, Any]) -> bool:
    """Whether it is what we said, or the settling of a thread in which we did. By the account, which may be a person's as well: then what they
    do there is seen in passing, too."""
    listed = _inner(payload, "thread").get("comments")
    said = [payload.get("comment"), *(listed if isinstance(listed, list) else ())]
    ours = [_inner(one, "user") for one in said if isinstance(one, Mapping) and OUR_MARK in str(one.get("body"))]
    return _inner(payload, "sender").get("login") in {author.get("login") for author in ours}


def _projects(repository: str) -> list[Project]:
    if not repository:
        return []
    github = Project.objects.filter(scm__plugin="github")
    return [project for project in github if (repository_name(project.remote) or "").lower() == repository.lower()]


def _meant(payload: Mapping[str, Any]) -> Q:
    """The pull requests that a delivery names: by number, by the commit that it is about, or by branch."""
    numbers = [number for number in _numbers(payload) if isinstance(number, int)][:_NAMED]
    shas = [sha for sha in _shas(payload) if isinstance(sha, str)]
    ref = payload.get("ref")
    branch = ref.removeprefix("refs/heads/") if isinstance(ref, str) else ""
    return Q(number__in=numbers) | Q(head_sha__in=shas) | Q(branch=branch)


def _numbers(payload: Mapping[str, Any]) -> Iterator[object]:
    for name in ("pull_request", "issue"):
        yield _inner(payload, name).get("number")
    for name in ("check_run", "check_suite", "workflow_run"):
        listed = _inner(payload, name).get("pull_requests")
        for pull in listed if isinstance(listed, Sequence) and not isinstance(listed, str) else ():
            yield pull.get("number") if isinstance(pull, Mapping) else None


def _shas(payload: Mapping[str, Any]) -> Iterator[object]:
    for name in ("check_run", "check_suite", "workflow_run", "workflow_job"):
        yield _inner(payload, name).get("head_sha")
    yield payload.get("sha")


def _inner(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = payload.get(name)
    return value if isinstance(value, Mapping) else {}
