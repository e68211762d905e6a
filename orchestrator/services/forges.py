"""Forges that allow no more for a while: which projects wait for them, until when, and that they answer again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from django.db import transaction

from orchestrator.models import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What a forge that asks for patience means for a project."""

    until: datetime
    writes_go_on: bool
    words: str


@transaction.atomic
def limited(*, project: Project, until: datetime, writes_go_on: bool) -> None:
    """The forge allows no more until then: neither to this project, nor to others that ask it in the same name."""
    alike = [one.pk for one in Project.objects.all() if _who_asks(one) == _who_asks(project)]
    Project.objects.filter(pk__in=alike).update(forge_waits_until=until, forge_takes_writes=writes_go_on)


@transaction.atomic
def answers(*, project: Project) -> None:
    """The forge answered, so nobody waits for it in this name."""
    if project.forge_waits_until is not None:
        alike = [one.pk for one in Project.objects.all() if _who_asks(one) == _who_asks(project)]
        Project.objects.filter(pk__in=alike).update(forge_waits_until=None)


def wait_of(project: Project, *, now: datetime) -> Wait | None:
    """What a project waits for right now."""
    until = project.forge_waits_until
    if until is None or until <= now:
        return None
    return Wait(until=until, writes_go_on=project.forge_takes_writes, words=_words(project, until))


def waits(*, now: datetime) -> tuple[str, ...]:
    """A sentence for each forge that asks for patience right now."""
    return tuple(dict.fromkeys(_sentences(Project.objects.filter(forge_waits_until__gt=now), now=now)))


def _sentences(projects: Iterable[Project], *, now: datetime) -> Iterable[str]:
    for project in projects:
        wait = wait_of(project, now=now)
        if wait is not None:
            yield wait.words


def _words(project: Project, until: datetime) -> str:
    forge, time = _name(project), f"{until.astimezone(UTC):%H:%M:%S} UTC"
    if project.forge_takes_writes:
        return (
            f"Looks at {forge} wait until {time}, because its limit for this hour is nearly used up. "
            "Writes go first: pull requests are still opened, answered and merged."
        )
    return (
        f"{forge} asks for patience until {time}: nothing is asked of it and nothing written to it before. "
        "What waits goes on by itself then, writes first."
    )


def _name(project: Project) -> str:
    host = urlsplit(str(project.scm.get("apiUrl") or "")).netloc
    return "GitHub" if not host or host == "api.github.com" else f"GitHub at {host}"


def _who_asks(project: Project) -> tuple[str, ...]:
    return tuple(str(project.scm.get(name) or "") for name in ("plugin", "apiUrl", "token", "app"))
