"""How well a failure is known to go away: each time it did counts, and counts for less as time goes by."""

from __future__ import annotations

from datetime import datetime, timedelta

HALF_LIFE = timedelta(days=14)
KNOWN = 0.5  # a failure that went away once is known for two weeks, one that did twice for four
MOST = 8.0


def faded(weight: float, *, last_at: datetime, now: datetime) -> float:
    """What a weight of `last_at` is worth now."""
    span = max(now - last_at, timedelta())
    return float(weight * 0.5 ** (span / HALF_LIFE))


def seen_again(weight: float, *, last_at: datetime, now: datetime) -> float:
    """The weight after one more time."""
    return min(faded(weight, last_at=last_at, now=now) + 1.0, MOST)


def is_known(weight: float, *, last_at: datetime, now: datetime) -> bool:
    """Whether it is worth one more run before anybody is bothered."""
    return faded(weight, last_at=last_at, now=now) >= KNOWN
