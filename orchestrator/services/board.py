"""What the board shows: one value a card, a constant number of queries, and how old it all is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import QuerySet

from orchestrator.domain.status import Attention
from orchestrator.models import Host, Interruption, NotificationChannel, PullRequest, Session, Task, Turn
from orchestrator.services import forges

STALE_AFTER = timedelta(seconds=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A task as the board shows it."""

    id: int
    key: str  # my-app#12
    project: int
    project_key: str
    number: int
    title: str
    status: str
    attention: str
    reason: str
    agent: str
    host: str
    branch: str
    labels: tuple[str, ...]
    activity: str
    question: str  # the newest thing that a human was asked and has not answered
    interruptions: int
    pull_number: int | None
    pull_url: str
    requested_by: str
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    version: int


def cards(*, user: AbstractBaseUser | AnonymousUser, done: int = 50) -> list[Card]:
    """The cards that the user may see: all open ones, and the newest `done` of the ended ones."""
    visible = Task.objects.visible_to(user)
    open_ones = visible.exclude(attention=Attention.DONE).order_by("-priority", "id")
    ended = visible.filter(attention=Attention.DONE).order_by("-ended_at", "-id")[:done]
    return [*cards_of(open_ones), *cards_of(ended)]


def card(*, task_id: int) -> Card | None:
    """One card, or None when the task is gone."""
    return next(iter(cards_of(Task.objects.filter(pk=task_id))), None)


def cards_of(tasks: QuerySet[Task]) -> list[Card]:
    """The cards of tasks in their order, in five queries however many they are."""
    rows = list(tasks.select_related("project", "requested_by"))
    ids = [row.pk for row in rows]
    sessions = {s.task_id: s for s in Session.objects.filter(task__in=ids).select_related("host").order_by("epoch")}
    turns = {
        t.session_id: t
        for t in Turn.objects.filter(session__in=[s.pk for s in sessions.values()]).defer("prompt").order_by("n")
    }
    pulls = {p.task_id: p for p in PullRequest.objects.filter(task__in=ids).order_by("id")}
    asked = _asked(ids)
    return [_card(row, sessions.get(row.pk), turns, pulls.get(row.pk), asked.get(row.pk, [])) for row in rows]


def _asked(ids: Iterable[int]) -> dict[int, list[Interruption]]:
    found: dict[int, list[Interruption]] = {}
    for one in Interruption.objects.open().filter(task__in=list(ids)).order_by("-id"):
        found.setdefault(one.task_id, []).append(one)
    return found


def _card(
    row: Task, session: Session | None, turns: dict[int, Turn], pull: PullRequest | None, asked: list[Interruption]
) -> Card:
    turn = turns.get(session.pk) if session is not None else None
    return Card(
        id=row.pk,
        key=f"{row.project.key}#{row.number}",
        project=row.project_id,
        project_key=row.project.key,
        number=row.number,
        title=row.title,
        status=row.status,
        attention=row.attention,
        reason=row.reason,
        agent=row.agent,
        host=session.host.name if session is not None else "",
        branch=row.branch,
        labels=tuple(row.labels),
        activity=turn.activity if turn is not None and turn.ended_at is None and not row.outcome else "",
        question=_question(turn, asked),
        interruptions=len(asked),
        pull_number=pull.number if pull is not None else None,
        pull_url=pull.url if pull is not None else "",
        requested_by=row.requested_by.get_username() if row.requested_by is not None else "",
        created_at=row.created_at,
        updated_at=row.updated_at,
        ended_at=row.ended_at,
        version=row.version,
    )


def _question(turn: Turn | None, asked: list[Interruption]) -> str:
    if turn is not None and turn.request is not None and "answer" not in turn.request:
        return str(turn.request["question"])
    return asked[0].question if asked else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether what the board shows is the present, and if not, what is wrong, in sentences."""

    facts_at: datetime | None  # when the newest fact was received from any host
    troubles: tuple[str, ...]


def health(*, now: datetime) -> Health:
    """How old the facts are. Hosts that are silent or unseen for longer than STALE_AFTER are named, and forges that ask for patience."""
    hosts = list(Host.objects.present())
    troubles = [f"{host.name} does not answer: {host.trouble}" for host in hosts if host.silent_since is not None]
    late = [
        host.name
        for host in hosts
        if host.silent_since is None and (host.seen_at is None or now - host.seen_at > STALE_AFTER)
    ]
    troubles += [f"nobody watches {name}: are the workers running?" for name in late]
    troubles += [
        f"the channel {channel.name} takes no messages since {channel.failing_since:%H:%M} UTC: {channel.trouble}"
        for channel in NotificationChannel.objects.filter(dead_since__isnull=False, person=None).order_by("name")
    ]
    troubles += forges.waits(now=now)
    seen = [host.seen_at for host in hosts if host.seen_at is not None]
    return Health(facts_at=max(seen, default=None), troubles=tuple(troubles))


def counts(found: Iterable[Card]) -> Counter[str]:
    """How many cards each column has."""
    return Counter(one.attention for one in found)
