"""Another rule set over recorded facts: what it would have sent, asked and merged, in place of what was.

Each task is decided again at each of its recorded instants, and at those in between at which the other rules would have looked again. What
these rules said before is carried along in place of what was really said: messages, questions and memories are those of the replay. What
the agent and people did is not known for a course that was not taken: from the first difference on, the facts are those of the other one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from orchestrator.domain.carried import Carried
from orchestrator.domain.course import ROUNDS
from orchestrator.domain.effects import TURNS_THE_COURSE, Difference, Effect, Kind, differences
from orchestrator.domain.lifecycle import decide
from orchestrator.domain.rules import Rule, Trigger
from orchestrator.domain.snapshot import Snapshot

WAKES = 100  # instants between two records at which it is decided

RulesAt = Callable[[Snapshot], Mapping[Trigger, Rule]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Both courses of one task, and where they part."""

    was: tuple[Effect, ...]
    now: tuple[Effect, ...]
    differences: tuple[Difference, ...]

    @property
    def parts_at(self) -> datetime | None:
        """From here on the facts are those of the other course."""
        return next((one.at for one in self.differences if _turns(one.was) or _turns(one.now)), None)


def _turns(effect: Effect | None) -> bool:
    return effect is not None and effect.kind in TURNS_THE_COURSE


def compare(records: Sequence[Snapshot], rules: RulesAt) -> Compared:
    """One task's recorded facts, oldest first, under the rules that held then and under `rules`."""
    was = course(records, lambda snapshot: snapshot.rules)
    merges = frozenset(effect.name for effect in was if effect.kind is Kind.MERGE)
    now = course(records, rules, merges=merges)
    return Compared(was=was, now=now, differences=tuple(differences(was, now)))


def course(records: Sequence[Snapshot], rules: RulesAt, *, merges: frozenset[str] | None = None) -> tuple[Effect, ...]:
    """What these rules bring about on the recorded facts of one task. A merge by itself that is not among `merges`, those that were really
    begun, is the end: what was recorded after it belongs to another course."""
    if not records:
        return ()
    carried = Carried.of(records[0])
    for place, snapshot in enumerate(records):
        following = records[place + 1] if place + 1 < len(records) else None
        carried.begin()
        for moment in _moments(snapshot, following, carried):
            new = _decide_at(moment, carried, rules)
            if merges is not None and any(one.kind is Kind.MERGE and one.name not in merges for one in new):
                return tuple(carried.effects)
    return tuple(carried.effects)


def _moments(snapshot: Snapshot, following: Snapshot | None, carried: Carried) -> Iterator[Snapshot]:
    """The facts as they were recorded, then again at each instant before the next record at which somebody would have looked again."""
    yield snapshot
    if following is None or snapshot.task.outcome is not None:
        return
    quiet = _until(snapshot, following)
    for _ in range(WAKES):
        wake_at = carried.wake_at
        if wake_at is None or wake_at >= following.now:
            return
        yield replace(quiet, now=wake_at)


def _until(snapshot: Snapshot, following: Snapshot) -> Snapshot:
    """The facts between two records. An agent whose progress in between is not known is taken to have made some: no alarm is invented."""
    if snapshot.turn is None or following.session is None or snapshot.session is None:
        return snapshot
    later = following.turn
    same = following.session.id == snapshot.session.id and later is not None and later.n == snapshot.turn.n
    progress = later.last_progress_at if same and later is not None else following.now
    return replace(
        snapshot, turn=replace(snapshot.turn, last_progress_at=max(progress, snapshot.turn.last_progress_at))
    )


def _decide_at(snapshot: Snapshot, carried: Carried, rules: RulesAt) -> list[Effect]:
    """Decide until nothing new follows; answers what was new."""
    found: list[Effect] = []
    for _ in range(ROUNDS):
        facts = carried.over(snapshot, rules(snapshot))
        new = carried.take(decide(facts), facts)
        found += new
        if not new:
            break
    return found
