"""How soon a pull request is looked at again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.watching import COLD, HOT, OWN, WARM, look_again_after

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("moving", "quiet_for", "after"),
    [
        (False, MINUTE, HOT),
        (False, 10 * MINUTE, WARM),
        (False, DAY - MINUTE, WARM),
        (False, DAY, COLD),
        (True, MINUTE, HOT),
        (True, 30 * DAY, HOT),
    ],
)
def test_what_moves_is_looked_at_most(*, moving: bool, quiet_for: timedelta, after: timedelta) -> None:
    assert look_again_after(own=False, moving=moving, quiet_for=quiet_for) == after


def test_the_built_in_forge_costs_nobody_anything() -> None:
    assert look_again_after(own=True, moving=False, quiet_for=30 * DAY) == OWN
