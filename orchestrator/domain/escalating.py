"""What becomes of something that a human was asked while nobody answers: who is told next, and when.

The ladder: first the task's author, then the project's maintainers, then the admins. Whoever acknowledges it ends that; a snooze stops the
clock until its time; quiet hours hold all that is not urgent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta, tzinfo
from enum import StrEnum


class Rung(StrEnum):
    """Who is called."""

    AUTHOR = "author"
    MAINTAINERS = "maintainers"
    ADMINS = "admins"


class Telling(StrEnum):
    """Why people are told of something again."""

    CLIMBED = "climbed"  # nobody answered: the next rung is called too
    REMINDED = "reminded"
    BACK = "back"  # its snooze is over


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A rung, and how long after the question it is called."""

    to: Rung
    after: timedelta = timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHours:
    """A span of each day, by the clocks of a place. `start` after `end` reaches over midnight."""

    start: time
    end: time
    zone: tzinfo

    def until(self, at: datetime) -> datetime | None:
        """When the quiet hours end that `at` falls in; None: it falls in none."""
        there = at.astimezone(self.zone)
        clock = there.time()
        over_midnight = self.start > self.end
        inside = clock >= self.start or clock < self.end if over_midnight else self.start <= clock < self.end
        if not inside:
            return None
        day = there.date() + timedelta(days=1 if over_midnight and clock >= self.start else 0)
        ends = datetime.combine(day, self.end, tzinfo=self.zone)
        # An hour that the clocks repeat ends the second time, for whoever asks in its second round.
        found = ends.astimezone(at.tzinfo)
        return found if found > at else ends.replace(fold=1).astimezone(at.tzinfo)


DEFAULT_STEPS = (
    Step(to=Rung.AUTHOR),
    Step(to=Rung.MAINTAINERS, after=timedelta(minutes=15)),
    Step(to=Rung.ADMINS, after=timedelta(hours=1)),
)
DEFAULT_REMIND = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a project calls people: the ladder, how often it reminds (None: never), and when it is quiet."""

    ladder: Sequence[Step] = DEFAULT_STEPS
    remind: timedelta | None = DEFAULT_REMIND
    quiet: QuietHours | None = None

    def held_until(self, at: datetime, *, urgent: bool) -> datetime | None:
        """Until when a message has to wait; None: it need not."""
        return None if urgent or self.quiet is None else self.quiet.until(at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is known of one thing that a human was asked."""

    waits: bool  # nobody has acknowledged or resolved it, and its cause still stands
    pressing: bool  # an escalation, or urgent: called for until somebody answers. Anything else is told once
    urgent: bool
    counts_from: datetime  # when it was asked, or came back from its snooze
    told_at: datetime  # when people were told last
    step: int = 0  # the rung that was called last
    snoozed_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """What is known afterwards, what people are told now, if anything, and when to look again."""

    asked: Asked
    telling: Telling | None = None
    wake_at: datetime | None = None


def advance(asked: Asked, plan: Plan, now: datetime) -> Advance:
    """What is due now. After a time in which nobody looked, it is one message and not all that were missed."""
    if not asked.waits:
        return Advance(asked=asked)
    if asked.snoozed_until is not None:
        if now < asked.snoozed_until:
            return Advance(asked=asked, wake_at=asked.snoozed_until)
        back = replace(asked, snoozed_until=None, counts_from=now, told_at=now)
        return Advance(asked=back, telling=Telling.BACK, wake_at=_next(back, plan))
    held = plan.held_until(now, urgent=asked.urgent)
    if held is not None and asked.pressing:
        return Advance(asked=asked, wake_at=held)
    told = _told(asked, plan, now)
    if told is None:
        return Advance(asked=asked, wake_at=_next(asked, plan))
    telling, step = told
    after = replace(asked, step=step, told_at=now)
    return Advance(asked=after, telling=telling, wake_at=_next(after, plan))


def _told(asked: Asked, plan: Plan, now: datetime) -> tuple[Telling, int] | None:
    if not asked.pressing:
        return None
    reached = [n for n in range(asked.step + 1, len(plan.ladder)) if asked.counts_from + plan.ladder[n].after <= now]
    if reached:
        return Telling.CLIMBED, max(reached)
    if plan.remind is not None and asked.told_at + plan.remind <= now:
        return Telling.REMINDED, asked.step
    return None


def _next(asked: Asked, plan: Plan) -> datetime | None:
    if not asked.pressing:
        return None
    times = [asked.counts_from + step.after for step in plan.ladder[asked.step + 1 :]]
    if plan.remind is not None:
        times.append(asked.told_at + plan.remind)
    first = min(times, default=None)
    return first if first is None else plan.held_until(first, urgent=asked.urgent) or first
