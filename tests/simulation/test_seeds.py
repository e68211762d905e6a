"""Ten thousand seeded lives of tasks, each with its crashes, cuts and people; AO_SIM_SEEDS says another number."""

import os

import pytest

from tests.simulation.play import play

SEEDS = int(os.environ.get("AO_SIM_SEEDS", "10000"))
PARTS = 10


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_promise_is_kept_at_every_seed(part: int) -> None:
    for seed in range(part, SEEDS, PARTS):
        play(seed)


def test_a_seed_replays_exactly() -> None:
    assert play(17).history == play(17).history


def test_the_seeds_reach_every_way_a_task_can_go() -> None:
    reached = {task.status.value for seed in range(120) for task in play(seed).tasks}
    assert reached >= {
        "merged",
        "closed",
        "done",
        "cancelled",
        "failed",
        "needs_input",
        "ci_failed",
        "review_pending",
        "mergeable",
        "queued",
    }
