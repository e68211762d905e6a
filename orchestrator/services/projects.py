"""Projects: registered once, found again by their key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Least

from orchestrator import doorbell
from orchestrator.domain import watching
from orchestrator.domain.naming import valid_branch
from orchestrator.domain.status import TaskStatus
from orchestrator.models import Host, Membership, Project, PullRequest, Review, Role
from orchestrator.services import deliveries, events
from orchestrator.services.events import Actor

_ABOUT_TO_BE_MERGED = (TaskStatus.MERGEABLE, TaskStatus.MERGING)


class InvalidProject(Exception):
    """A value that cannot be taken; `field` names it and `message` says what would be."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


@transaction.atomic
def register(
    *,
    key: str,
    name: str,
    remote: str,
    default_branch: str,
    actor: Actor,
    checkout: str = "",
    agent: str = "claude-code",
    agent_config: Mapping[str, object] | None = None,
    scm: Mapping[str, object] | None = None,
    post_create: Sequence[str] = (),
    sandbox: str | None = None,
    notice: str = "",
) -> tuple[Project, bool]:
    """Register a repository, or find the project that it is registered as. The second value is True when it is new."""
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", key):
        raise InvalidProject("key", f"{key!r} is not a project key: use a-z, 0-9 and -, at most 40 characters")
    if not valid_branch(default_branch):
        raise InvalidProject("defaultBranch", f"{default_branch!r} is not a branch name we take")
    known = Project.objects.filter(remote=remote).first()
    if known is not None:
        return known, False
    project = Project.objects.create(
        key=_free_key(key),
        name=name,
        remote=remote,
        checkout=checkout,
        default_branch=default_branch,
        session_prefix=key[:20].strip("-"),
        agent=agent,
        agent_config=dict(agent_config or {}),
        scm=dict(scm or {"plugin": "local"}),
        post_create=list(post_create),
        notice=notice,
        **({"sandbox": sandbox} if sandbox is not None else {}),
    )
    if actor.user is not None:
        Membership.objects.get_or_create(project=project, user_id=actor.user.pk, defaults={"role": Role.MAINTAINER})
    events.record(
        kind="project.registered", text=f"registered {project.shown_remote}", project=project, actor=actor, at=actor.at
    )
    doorbell.ring("look_after_projects", queue_name="control")
    return project, True


def _free_key(key: str) -> str:
    taken = set(Project.objects.filter(key__startswith=key[:36]).values_list("key", flat=True))
    candidates = [key, *(f"{key[:36]}-{n}" for n in range(2, 100))]
    return next(candidate for candidate in candidates if candidate not in taken)


@transaction.atomic
def local_host(*, name: str, capacity: int) -> Host:
    """The row of this machine. Its capacity is set once and then is the administrator's."""
    host, _ = Host.objects.get_or_create(name=name, defaults={"kind": Host.Kind.LOCAL, "capacity": capacity})
    return host


@transaction.atomic
def mirrored(*, project: Project, base_sha: str, now: datetime, looked_at: Sequence[int] = ()) -> bool:
    """The mirror was fetched. True: the base has moved, so every open pull request is looked at again, but those that just were. Whether it can
    still be merged is the only news of it, for which those wait that are about to be: where webhooks tell the rest, the others come along."""
    moved = bool(project.base_sha) and project.base_sha != base_sha
    Project.objects.filter(pk=project.pk).update(base_sha=base_sha, mirrored_at=now)
    Project.objects.filter(pk=project.pk, notice__startswith=project.shown_remote).update(notice="")
    if moved or not project.base_sha:
        _look_again(
            PullRequest.objects.filter(project=project, state="open").exclude(pk__in=looked_at), project, now=now
        )
        doorbell.ring("observe_pull_requests", queue_name="effects")
        doorbell.ring("place_tasks", queue_name="control")
    return moved


def _look_again(pulls: QuerySet[PullRequest], project: Project, *, now: datetime) -> None:
    if deliveries.rings(project=project, now=now):
        later = pulls.filter(poll_at__gt=now + watching.HOT)  # the others are due, or looked at just now
        later.update(poll_at=Least("poll_at", Value(now + watching.IN_PASSING)))
        approved = Exists(Review.objects.filter(pull_request=OuterRef("pk"), decision="approve"))
        pulls = pulls.exclude(~Q(task__status__in=_ABOUT_TO_BE_MERGED), ~approved, poll_at__gt=now + watching.HOT)
    pulls.update(poll_at=now)


@transaction.atomic
def trouble(*, project: Project, notice: str) -> None:
    """What is wrong with a project's repository, shown until it can be fetched again."""
    Project.objects.filter(pk=project.pk).update(notice=notice)
