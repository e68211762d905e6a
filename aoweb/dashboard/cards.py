"""The board's cards: which tasks an audience sees, what a card shows, and the one rendering that page and sockets share."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Count, F, Q, QuerySet
from django.template.loader import render_to_string

from orchestrator.domain.status import Attention
from orchestrator.models import Check, Project, PullRequest, Task
from orchestrator.services import board

# How many cards of a column are drawn before "show more". The history is longer than anybody reads.
SHOWN = 100
SHOWN_DONE = 50
# Cards kept rendered, newest use last.
_KEPT = 8_000
# Sorts cards of a higher priority above all ids of a lower one; still exact in a browser's numbers.
_PRIORITY = 10**11


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Everybody who sees exactly the same board: the projects they may see, and what they filtered for."""

    projects: frozenset[int] | None  # None: all
    project: str = ""
    text: str = ""
    requested_by: int | None = None

    @property
    def filtered(self) -> bool:
        """Whether people chose to see less than they may."""
        return bool(self.project or self.text or self.requested_by)

    def sees(self, project_id: int) -> bool:
        """Whether it may see the project at all."""
        return self.projects is None or project_id in self.projects

    def tasks(self) -> QuerySet[Task]:
        """Its tasks."""
        tasks = Task.objects.all() if self.projects is None else Task.objects.filter(project__in=self.projects)
        if self.project:
            tasks = tasks.filter(project__key=self.project)
        if self.requested_by:
            tasks = tasks.filter(requested_by=self.requested_by)
        for word in self.text.split():
            tasks = tasks.filter(Q(title__icontains=word) | Q(branch__icontains=word) | Q(labels__icontains=word))
        return tasks


def audience_of(user: AbstractBaseUser | AnonymousUser, query: Mapping[str, str]) -> Audience:
    """The audience that a user with these filters (`project`, `q`, `mine`) belongs to."""
    everything = bool(getattr(user, "is_superuser", False))
    visible = None if everything else frozenset(Project.objects.visible_to(user).values_list("pk", flat=True))
    return Audience(
        projects=visible,
        project=query.get("project", "")[:40],
        text=query.get("q", "").replace("\x00", "").strip()[:100],
        requested_by=user.pk if query.get("mine") else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a card stands: its column, and its rank there (higher comes first)."""

    id: int
    version: int
    column: str
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A task as the board shows it, with its place and how its checks stand."""

    facts: board.Card
    place: Place
    checks: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A card as HTML."""

    place: Place
    html: str


def place_of(task: Task) -> Place:
    """Open cards keep their place while they change, so that the board stays calm; ended ones stand in the order of their ends."""
    if task.attention == Attention.DONE:
        rank = int(task.ended_at.timestamp()) if task.ended_at else task.pk
    else:
        rank = task.priority * _PRIORITY + task.pk
    return Place(id=task.pk, version=task.version, column=task.attention, rank=rank)


def counts(audience: Audience) -> dict[str, int]:
    """How many tasks stand in each column."""
    found = dict(audience.tasks().order_by().values_list("attention").annotate(Count("pk")))
    return {str(column): found.get(column, 0) for column in Attention}


def places(audience: Audience, column: str, *, start: int = 0, stop: int | None = None) -> list[Place]:
    """The places of a column from the top."""
    limit = SHOWN_DONE if column == Attention.DONE else SHOWN
    order = [F("ended_at").desc(nulls_last=True), "-pk"] if column == Attention.DONE else ["-priority", "-pk"]
    rows = audience.tasks().filter(attention=column).order_by(*order)[start : stop or start + limit]
    return [place_of(task) for task in rows.only(*_PLACE_FIELDS)]


def places_by_id(audience: Audience, ids: Collection[int]) -> list[Place]:
    """Where those of the tasks stand that the audience sees."""
    return [place_of(task) for task in audience.tasks().filter(pk__in=ids).only(*_PLACE_FIELDS)]


_PLACE_FIELDS = ("id", "version", "attention", "priority", "ended_at")


class Gallery:
    """Cards rendered once per version, shared by every page and socket of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cards: OrderedDict[tuple[int, int], Rendered] = OrderedDict()

    def cards(self, wanted: Collection[Place]) -> list[Rendered]:
        """The cards at these places, in their order, at this version or a newer one; those that are gone are left out.

        Whoever asks while another renders waits and finds the work done.
        """
        with self._lock:
            missing = [place.id for place in wanted if (place.id, place.version) not in self._cards]
            fresh = {card.place.id: card for card in map(_render, load(missing))} if missing else {}
            for card in fresh.values():
                self._cards[card.place.id, card.place.version] = card
            found = [fresh.get(place.id) or self._known(place) for place in wanted]
            while len(self._cards) > _KEPT:
                self._cards.popitem(last=False)
        return [card for card in found if card is not None]

    def _known(self, place: Place) -> Rendered | None:
        key = (place.id, place.version)
        if key in self._cards:
            self._cards.move_to_end(key)
        return self._cards.get(key)

    def clear(self) -> None:
        """Forget all: for tests, whose databases use the same ids again."""
        with self._lock:
            self._cards.clear()


GALLERY = Gallery()


def load(ids: Collection[int]) -> list[Card]:
    """The cards of these tasks, in a handful of queries however many they are."""
    tasks = Task.objects.filter(pk__in=ids)
    places = {task.pk: place_of(task) for task in tasks.only(*_PLACE_FIELDS)}
    newest = {pull.task_id: pull for pull in PullRequest.objects.filter(task__in=ids).order_by("pk")}
    checks = check_counts(list(newest.values()))
    return [
        Card(facts=facts, place=replace(places[facts.id], version=facts.version), checks=checks.get(facts.id, {}))
        for facts in board.cards_of(tasks.order_by())
        if facts.id in places
    ]


def check_counts(pulls: Collection[PullRequest]) -> dict[int, dict[str, int]]:
    """Of each pull request's task: how many checks passed, failed and are still running at its head, the newest run of each name."""
    heads = {pull.pk: pull for pull in pulls}
    newest: dict[tuple[int, str], Check] = {}
    for check in Check.objects.filter(pull_request__in=heads).defer("failing_log").order_by("n"):
        if check.head_sha == heads[check.pull_request_id].head_sha:
            newest[check.pull_request_id, check.name] = check
    totals: dict[int, dict[str, int]] = {}
    for (pull, _name), check in newest.items():
        total = totals.setdefault(heads[pull].task_id, {"passed": 0, "failed": 0, "running": 0})
        total[verdict(check)] += 1
    return totals


def verdict(check: Check) -> str:
    """A check in one word: running, passed or failed."""
    if check.status != "completed":
        return "running"
    return "passed" if check.conclusion in {"success", "neutral", "skipped"} else "failed"


def _render(card: Card) -> Rendered:
    html = render_to_string("ao/card.html", {"card": card, "task": card.facts, "place": card.place})
    return Rendered(place=card.place, html=html)
