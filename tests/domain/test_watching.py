"""How soon a pull request is looked at again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.watching import (
    COLD,
    DISTRUST,
    HOT,
    IN_PASSING,
    OWN,
    RUNG_WITHIN,
    WARM,
    look_again_after,
    next_look,
    rings,
)

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
    assert (
        look_again_after(own=False, rung=False, unknown=unknown, approved=False, running=running, quiet_for=quiet_for)
        == after
    )


@pytest.mark.parametrize(
    ("running", "unknown", "approved", "after"),
    [
        (True, False, True, COLD),
        (False, False, True, COLD),
        (True, True, True, COLD),
        (False, True, True, HOT),
        (False, True, False, IN_PASSING),
    ],
)
def test_where_webhooks_ring_only_that_is_looked_for_of_which_they_do_not_tell(
    *, running: bool, unknown: bool, approved: bool, after: timedelta
) -> None:
    found = look_again_after(
        own=False, rung=True, unknown=unknown, approved=approved, running=running, quiet_for=MINUTE
    )
    assert found == after


def test_the_built_in_forge_costs_nobody_anything() -> None:
    assert (
        look_again_after(own=True, rung=False, unknown=False, approved=False, running=False, quiet_for=30 * DAY) == OWN
    )


@pytest.mark.parametrize(
    ("rung_at", "missed_at", "relied_on"),
    [
        (None, None, False),
        (NOW - MINUTE, None, True),
        (NOW - RUNG_WITHIN, None, False),
        (NOW - MINUTE, NOW - MINUTE, False),
        (NOW - MINUTE, NOW - DISTRUST, True),
        (NOW - DISTRUST, NOW - DISTRUST + MINUTE, False),
        (NOW - DISTRUST * 2, NOW - DISTRUST, False),
    ],
)
def test_webhooks_are_relied_on_while_they_come_and_none_is_missed(
    *, rung_at: datetime | None, missed_at: datetime | None, relied_on: bool
) -> None:
    assert rings(rung_at=rung_at, missed_at=missed_at, now=NOW) is relied_on


@pytest.mark.parametrize("span", [WARM, COLD])
def test_looks_that_have_time_fall_on_the_same_moment_in_a_project(span: timedelta) -> None:
    moments = {
        next_look(span, now=NOW + timedelta(seconds=n), project=7) for n in range(0, int(span.total_seconds()), 10)
    }
    assert len(moments) == 2
    assert max(moments) - min(moments) == span
    assert all(NOW < next_look(span, now=NOW, project=n) <= NOW + span for n in range(100))
    assert len({next_look(span, now=NOW, project=n) for n in range(10)}) == 10


@pytest.mark.parametrize("span", [HOT, IN_PASSING])
def test_what_is_hot_or_comes_along_with_others_is_looked_at_in_its_own_time(span: timedelta) -> None:
    assert next_look(span, now=NOW, project=7) == NOW + span
