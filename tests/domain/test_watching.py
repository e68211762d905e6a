"""How soon a pull request is looked at again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.watching import COLD, DISTRUST, HOT, OWN, RUNG_WITHIN, WARM, look_again_after, rings

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("running", "unknown", "quiet_for", "after"),
    [
        (False, False, MINUTE, HOT),
        (False, False, 10 * MINUTE, WARM),
        (False, False, DAY - MINUTE, WARM),
        (False, False, DAY, COLD),
        (True, False, MINUTE, HOT),
        (True, False, 30 * DAY, HOT),
        (False, True, 30 * DAY, HOT),
    ],
)
def test_what_moves_is_looked_at_most(*, running: bool, unknown: bool, quiet_for: timedelta, after: timedelta) -> None:
    assert look_again_after(own=False, rung=False, unknown=unknown, running=running, quiet_for=quiet_for) == after


@pytest.mark.parametrize(
    ("running", "unknown", "after"), [(True, False, COLD), (False, False, COLD), (True, True, HOT)]
)
def test_where_webhooks_ring_only_that_is_looked_for_of_which_they_do_not_tell(
    *, running: bool, unknown: bool, after: timedelta
) -> None:
    assert look_again_after(own=False, rung=True, unknown=unknown, running=running, quiet_for=MINUTE) == after


def test_the_built_in_forge_costs_nobody_anything() -> None:
    assert look_again_after(own=True, rung=False, unknown=False, running=False, quiet_for=30 * DAY) == OWN


@pytest.mark.parametrize(
    ("rung_at", "missed_at", "relied_on"),
    [
        (None, None, False),
        (NOW - MINUTE, None, True),
        (NOW - RUNG_WITHIN, None, False),
        (NOW - MINUTE, NOW - MINUTE, False),
        (NOW - MINUTE, NOW - DISTRUST, True),
    ],
)
def test_webhooks_are_relied_on_while_they_come_and_none_is_missed(
    *, rung_at: datetime | None, missed_at: datetime | None, relied_on: bool
) -> None:
    assert rings(rung_at=rung_at, missed_at=missed_at, now=NOW) is relied_on
