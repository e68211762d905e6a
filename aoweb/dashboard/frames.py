"""What sockets send to boards, as text that is the same for everyone in an audience."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime

from aoweb.dashboard import cards
from aoweb.dashboard.cards import GALLERY, Audience, Place
from orchestrator.domain.status import Attention
from orchestrator.models import Task
from orchestrator.services.board import Health

# Ended tasks that a check looks at again, so that a lost doorbell of an end is repaired too.
_RECENT_ENDS = 200


def changes(audience: Audience, ids: Collection[int]) -> str:
    """The cards of these tasks as they are now; those that the audience does not see (any more) are gone."""
    places = cards.places_by_id(audience, ids)
    return cards_frame(audience, places, gone=set(ids) - {place.id for place in places})


def catch_up(audience: Audience, have: Mapping[int, int]) -> str:
    """What a page that shows these versions lacks: newer cards, cards that it should show and does not, and which are gone."""
    shown = [place for column in Attention for place in cards.places(audience, column)]
    known = {place.id: place for place in shown}
    others = cards.places_by_id(audience, [task for task in have if task not in known])
    places = [place for place in (*shown, *others) if have.get(place.id) != place.version]
    return cards_frame(audience, places, gone=set(have) - set(known) - {place.id for place in others})


def cards_frame(audience: Audience, places: Collection[Place], *, gone: Collection[int]) -> str:
    """Cards with their places, and how many each column has."""
    drawn = [
        {
            "id": card.place.id,
            "version": card.place.version,
            "column": card.place.column,
            "rank": card.place.rank,
            "html": card.html,
        }
        for card in GALLERY.cards(places)
    ]
    return json.dumps({"kind": "cards", "cards": drawn, "gone": sorted(gone), "counts": cards.counts(audience)})


def beat(audience: Audience, health: Health) -> str:
    """A sign of life: how many cards each column has, how old the facts are, and what is down."""
    return json.dumps({"kind": "beat", "counts": cards.counts(audience), **_health(health)})


def bell(task: int, version: int) -> str:
    """The page of this task has something new to fetch."""
    return json.dumps({"kind": "task", "id": task, "version": version})


def task_beat(health: Health, version: int) -> str:
    """A sign of life for the page of a task, with the version that it should show by now."""
    return json.dumps({"kind": "beat", "version": version, **_health(health)})


def _health(health: Health) -> dict[str, object]:
    return {"facts_at": _iso(health.facts_at), "trouble": list(health.troubles)}


def _iso(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None


def versions(audience: Audience) -> dict[int, int]:
    """The version of everything on the audience's board: all open tasks, and those that ended last."""
    tasks = audience.tasks().order_by()
    open_tasks = tasks.exclude(attention=Attention.DONE).values_list("pk", "version")
    ended = tasks.filter(attention=Attention.DONE).order_by("-ended_at").values_list("pk", "version")[:_RECENT_ENDS]
    return dict(open_tasks) | dict(ended)


def task_versions(ids: Collection[int]) -> dict[int, int]:
    """The version of each of the tasks."""
    return dict(Task.objects.filter(pk__in=ids).values_list("pk", "version"))
