"""P13: kill -9 of the worker during a spawn, at ten points. Nothing may be lost, doubled or left behind.

At each point a fresh start of the service is armed with that point, a task is handed in, its worker dies there and is started again by the
service. Then: the task's agent was prompted once, the task ended as it should, and no process, live session, workspace or claimed job is left.
"""

from __future__ import annotations

import time

from benchmarks.measure import Asked, Goal, Series, run
from benchmarks.stage import Stage, client_of, stage, until
from ops.local import door

POINTS = (
    "after_place", "before_Prepare", "after_claim_workspace", "after_tree", "after_Prepare",
    "settled_Prepare", "before_StartTurn", "after_begin_turn", "after_run", "after_StartTurn",
)  # fmt: skip


def killed_at(made: Stage, point: str) -> tuple[float, int]:
    """Milliseconds from the request to the prompted agent with one death on the way, and how much was wrong afterwards."""
    rows = door.load("benchmarks.rows")
    armed = made.folder / f"armed-{point}"
    armed.touch()
    restart(made, AO_FAILPOINT=f"{point}:kill9:{armed}")
    with client_of(made.service) as client:
        made.client = client
        until(lambda: rows.warm_ready() == 1 and rows.open_tasks() == 0, "the machine is at rest")
        task, began = made.post(f"Killed at {point}")
        until(lambda: rows.prompted_at(task), f"the agent has its prompt in spite of {point}")
        spent = (rows.prompted_at(task) - began) * 1000
        until(lambda: rows.open_tasks() == 0, "the task is over")
    time.sleep(0.5)  # what should not be there has a moment to go
    wrong = rows.wrong(task) + int(armed.exists()) + len(made.service.marked())
    return spent, wrong


def restart(made: Stage, **environment: str) -> None:
    """A new start of the service with another environment."""
    door.load("benchmarks.rows").disconnect()
    made.service.stop()
    made.service.environment = environment
    made.service.start()


def program(asked: Asked) -> list[Series]:
    """Deaths on the way."""
    points = POINTS[: asked.size(len(POINTS), 1)]
    bad = Series(quantity="P13", what=f"kill -9 of a worker during a spawn, {len(points)} points: lost, doubled or orphaned", unit="bad",
                 goal=Goal(text="0 at every point", at_most=0))  # fmt: skip
    late = Series(quantity="P13", what="the same: task accepted -> agent has its prompt", unit="ms", goal=Goal(text=""))
    with stage() as made:
        for point in points:
            spent, wrong = killed_at(made, point)
            late.add(spent)
            bad.add(wrong)
    total = sum(one.value for one in bad.ours)
    bad.note = f"{total:.0f} bad at {len(points)} points"
    if total:
        bad.goal = Goal(text=bad.goal.text, at_most=-1)
    return [bad, late]


if __name__ == "__main__":
    run(program)
