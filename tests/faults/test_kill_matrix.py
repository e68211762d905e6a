"""kill -9 of every part of the system at the steps of a task's way, over the real processes: nothing is lost, nothing is done twice."""

from __future__ import annotations

import json
import sys

import pytest

from tests.faults.matrix import cells, prepared
from tests.installation import installation

KILLS = 64


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_whatever_is_killed_at_whichever_step_no_task_is_lost_and_nothing_is_done_twice() -> None:
    with installation() as here:
        matrix = prepared(here)
        for target, step in cells(matrix.parts)[:KILLS]:
            matrix.strike(target, step)
        matrix.finish()
        verdict = matrix.verdict()
    sys.stderr.write(json.dumps(verdict, indent=1) + "\n")
    assert verdict["kills"] >= 60
    assert int(str(verdict["at the step"])) >= 48
    nothing = (
        "lost",
        "doubled tasks",
        "doubled merges",
        "doubled pull requests",
        "doubled messages",
        "turns started twice",
    )
    assert {name: verdict[name] for name in (*nothing, "second agents on a branch", "processes left")} == dict.fromkeys(
        (*nothing, "second agents on a branch", "processes left"), 0
    )
    assert verdict["files on main"] == verdict["accepted"]
