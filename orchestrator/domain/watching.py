"""How soon a pull request is looked at again, where nobody rings. Looks cost the forge's patience: those that change get most of them."""

from __future__ import annotations

from datetime import timedelta

OWN = timedelta(seconds=30)  # the built-in forge, which costs nobody anything
HOT, WARM, COLD = timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=15)
JUST_NOW = timedelta(minutes=10)
FOR_LONG = timedelta(days=1)


def look_again_after(*, own: bool, moving: bool, quiet_for: timedelta) -> timedelta:
    """`moving`: checks run, or the forge does not know yet. `quiet_for`: how long nobody has pushed or said anything."""
    if own:
        return OWN
    if moving or quiet_for < JUST_NOW:
        return HOT
    return COLD if quiet_for >= FOR_LONG else WARM
