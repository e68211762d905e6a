"""When to try again."""

from __future__ import annotations

from datetime import timedelta


def backoff(attempt: int, *, seed: str) -> timedelta:
    """The wait after the `attempt`-th failure (from 1): 1, 2, 4 ... seconds up to 5 minutes, spread by +-20 % so that many do not
    return together. The spread comes from `seed`, so a replay waits the same."""
    base = min(2.0 ** min(attempt - 1, 20), 300.0)
    spread = (sum(seed.encode()) + attempt * 7919) % 401 / 1000  # 0 .. 0.4
    return timedelta(seconds=base * (0.8 + spread))
