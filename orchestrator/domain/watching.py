"""How soon a pull request is looked at again. Looks cost the forge's patience: where nobody rings, those that change get most of them; where
webhooks ring, a look comes with the ring, and the others only find what a lost one would have told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

OWN = timedelta(seconds=30)  # the built-in forge, which costs nobody anything
HOT, WARM, COLD = timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=15)
JUST_NOW = timedelta(minutes=10)
FOR_LONG = timedelta(days=1)


_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)
RUNG_WITHIN = timedelta(days=2)  # webhooks of which nothing was heard for longer may have been taken away
BELL_IS_LATE = timedelta(minutes=2)  # what a look saw is told of within so long, else its webhook was lost
# For so long after a lost one, and until one has come since, looks go by themselves again.
DISTRUST = timedelta(minutes=30)
# After a ring. What somebody waits for is looked at now; what only goes on comes along with the next look of its project, or is looked at by
# then.
IN_A_ROW = timedelta(seconds=5)
IN_PASSING = timedelta(minutes=5)


def look_again_after(
    *, own: bool, rung: bool, unknown: bool, approved: bool, running: bool, quiet_for: timedelta
) -> timedelta:
    """`rung`: webhooks tell what happens. `unknown`: the forge does not know yet whether it can be merged, of which nothing tells. `approved`:
    somebody waits for that. `running`: checks run. `quiet_for`: how long nobody has pushed or said anything."""
    if own:
        return OWN
    if rung and not running and unknown:
        return HOT if approved else IN_PASSING
    if rung:
        return COLD
    if unknown or running or quiet_for < JUST_NOW:
        return HOT
    return COLD if quiet_for >= FOR_LONG else WARM


def next_look(span: timedelta, *, now: datetime, project: int) -> datetime:
    """When a look that is due after `span` is made: those that nothing else brings along and that have time fall on the same moments in a
    project, and are one question."""
    if span not in {WARM, COLD}:
        return now + span
    shift = timedelta(seconds=project * 37 % span.total_seconds())  # not all projects at once
    return now + span - (now - _ORIGIN - shift) % span


def rings(*, rung_at: datetime | None, missed_at: datetime | None, now: datetime) -> bool:
    """Whether webhooks can be relied on. `rung_at`: when the newest came. `missed_at`: when a look last saw something that none had told of."""
    if rung_at is None or now - rung_at >= RUNG_WITHIN:
        return False
    return missed_at is None or (rung_at > missed_at and now - missed_at >= DISTRUST)
