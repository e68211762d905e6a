"""When things go to a channel together, and how long a channel is left alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.delivering import BURST, LONGEST_PAUSE, PER, folds, free_at, pause_after

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("waiting", "held", "sent_lately", "together"),
    [
        (1, 0, 0, False),
        (1, 1, 500, False),
        (BURST, 0, 0, False),
        (BURST + 1, 0, 0, True),
        (2, 0, BURST - 1, True),
        (2, 1, 0, True),
    ],
)
def test_a_flood_and_what_waited_for_the_morning_are_one_message(
    *, waiting: int, held: int, sent_lately: int, together: bool
) -> None:
    assert folds(waiting=waiting, held=held, sent_lately=sent_lately) is together


def test_no_minute_sees_more_messages_than_a_burst() -> None:
    sent: list[datetime] = []
    for second in range(600):
        now = NOW + timedelta(seconds=second)
        if free_at(sent, now) is None:
            sent.insert(0, now)
    assert all(sum(begin - PER < at <= begin for at in sent) <= BURST for begin in sent)
    assert len(sent) == 10 * BURST


def test_pauses_grow_up_to_a_bound() -> None:
    pauses = [pause_after(n) for n in range(1, 100)]
    assert pauses[:3] == [timedelta(seconds=5), timedelta(seconds=10), timedelta(seconds=20)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
