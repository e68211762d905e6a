"""Messages on their way to channels: no flood, and nobody hammers on what is broken."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

BURST = 10  # messages a minute to one channel; what is more goes together in one
PER = timedelta(minutes=1)
DEAD_AFTER = 4  # failures in a row; a refusal needs none
SHORTEST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=10)
GIVE_UP_AFTER = timedelta(hours=24)


def folds(*, waiting: int, held: int, sent_lately: int) -> bool:
    """Whether what waits for a channel goes there as one message that names all of it: after quiet hours, and before it is a flood."""
    return waiting > 1 and (held > 0 or waiting + sent_lately > BURST)


def free_at(sent: Sequence[datetime], now: datetime) -> datetime | None:
    """When a channel to which messages were sent at these times, the newest first, takes another; None: now."""
    if len(sent) < BURST or sent[BURST - 1] + PER <= now:
        return None
    return sent[BURST - 1] + PER


def pause_after(failures: int) -> timedelta:
    """How long a channel is left alone after so many failures in a row."""
    return min(SHORTEST_PAUSE * (1 << min(max(failures - 1, 0), 20)), LONGEST_PAUSE)
