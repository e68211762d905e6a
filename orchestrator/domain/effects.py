"""What rules bring about, and in what two courses of one task differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.domain.durations import format_duration
from orchestrator.domain.rules import Trigger

AT_ONCE = timedelta(seconds=1)  # what lies closer together is the same instant


class Kind(StrEnum):
    """What a rule can bring about."""

    MESSAGE = "message"
    QUESTION = "question"
    ESCALATION = "escalation"
    MERGE = "merge"
    STOP = "stop"
    CHECK = "check"


# What changes what happens next. A question may as well, but only through what people do about it.
TURNS_THE_COURSE = frozenset({Kind.MESSAGE, Kind.MERGE, Kind.STOP, Kind.CHECK})


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Something that a rule brought about. `kind` and `name` are the same in both courses where it is the same work; `n` counts the messages of a
    cause."""

    at: datetime
    trigger: Trigger
    kind: Kind
    name: str
    n: int = 0

    def __str__(self) -> str:
        match self.kind:
            case Kind.MESSAGE:
                return f"message {self.n}"
            case Kind.QUESTION:
                return "a question"
            case Kind.ESCALATION:
                return "an escalation"
            case Kind.MERGE:
                return "a merge by itself"
            case Kind.STOP:
                return "a stop of the agent"
            case Kind.CHECK:
                return "another run of a check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What the other rules would have done otherwise, at one instant."""

    at: datetime
    trigger: Trigger
    was: Effect | None
    now: Effect | None

    def __str__(self) -> str:
        if self.was is None:
            return f"{self.now}"
        if self.now is None:
            return f"no {str(self.was).removeprefix('a ').removeprefix('an ')}"
        if (self.was.kind, self.was.name) != (self.now.kind, self.now.name):
            return f"{self.now} instead of {self.was}"
        span = self.was.at - self.now.at
        return f"{self.now} {format_duration(abs(span))} {'earlier' if span > timedelta() else 'later'}"


def differences(was: Sequence[Effect], now: Sequence[Effect]) -> list[Difference]:
    """What is only in one of the courses, or in both at another time, in order. What comes at the instant of something that is gone comes
    instead of it."""
    before, after = {(one.kind, one.name): one for one in was}, {(one.kind, one.name): one for one in now}
    gone = [one for name, one in before.items() if name not in after]
    found: list[Difference] = []
    for name, one in after.items():
        known = before.get(name)
        if known is not None and abs(known.at - one.at) <= AT_ONCE:
            continue
        instead = next((g for g in gone if g.trigger is one.trigger and abs(g.at - one.at) <= AT_ONCE), None)
        if instead is not None:
            gone.remove(instead)
        first = one.at if known is None else min(one.at, known.at)
        found.append(Difference(at=first, trigger=one.trigger, was=instead or known, now=one))
    found += [Difference(at=one.at, trigger=one.trigger, was=one, now=None) for one in gone]
    return sorted(found, key=lambda one: one.at)


def counted(effects: Sequence[Effect]) -> Counter[Kind]:
    """How much of what."""
    return Counter(one.kind for one in effects)
