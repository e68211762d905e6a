"""How soon a pull request is looked at again. Looks cost the forge's patience: where nobody rings, those that change get most of them; where
webhooks ring, a look comes with the ring, and the others only find what a lost one would have told."""

from __future__ import annotations

from datetime import datetime, timedelta

OWN = timedelta(seconds=30)  # the built-in forge, which costs nobody anything
HOT, WARM, COLD = timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=15)
JUST_NOW = timedelta(minutes=10)
FOR_LONG = timedelta(days=1)


RUNG_WITHIN = timedelta(days=2)  # webhooks of which nothing was heard for longer may have been taken away
BELL_IS_LATE = timedelta(minutes=2)  # what a look saw is told of within so long, else its webhook was lost
DISTRUST = timedelta(hours=3)  # for so long after a lost one, looks go by themselves again
# After a ring. What somebody waits for is looked at now; what only goes on is looked at together with what else happens soon.
SOON = timedelta(seconds=30)


def look_again_after(*, own: bool, rung: bool, unknown: bool, running: bool, quiet_for: timedelta) -> timedelta:
    """`rung`: webhooks tell what happens. `unknown`: the forge does not know yet whether it can be merged, of which nothing tells. `running`:
    checks run. `quiet_for`: how long nobody has pushed or said anything."""
    if own:
        return OWN
    if unknown:
        return HOT
    if rung:
        return COLD
    if running or quiet_for < JUST_NOW:
        return HOT
    return COLD if quiet_for >= FOR_LONG else WARM


def rings(*, rung_at: datetime | None, missed_at: datetime | None, now: datetime) -> bool:
    """Whether webhooks can be relied on. `rung_at`: when the newest came. `missed_at`: when a look last saw something that none had told of."""
    heard = rung_at is not None and now - rung_at < RUNG_WITHIN
    return heard and (missed_at is None or now - missed_at >= DISTRUST)
