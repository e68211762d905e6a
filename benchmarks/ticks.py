"""P17: what a tick of the sweep costs with 10 due tasks among 10,000 that wait, against 10 among 100.

The waiting ones are tasks with a live session and an open pull request that asked to be looked at tomorrow. No service runs:
this process is the worker that sweeps.
"""

from __future__ import annotations

import time
from datetime import timedelta

from benchmarks.measure import Asked, Goal, Series, run
from benchmarks.stage import bare
from ops.local import door

DUE = 10
TOMORROW = timedelta(days=1)


def tick(ids: list[int]) -> float:
    """Milliseconds of one sweep of the control queue in which these tasks are due."""
    rows, sweeps, toolbox = door.load("benchmarks.rows"), door.load("workers.sweeps"), door.load("workers.toolbox")
    rows.due(ids)
    began = time.perf_counter()
    sweeps.sweep(queues=["control"], tools=toolbox.real())
    spent = (time.perf_counter() - began) * 1000
    assert rows.settled() == 0
    return spent


def program(asked: Asked) -> list[Series]:
    """The cost of a tick."""
    many = asked.size(10_000, 200)
    series = Series(quantity="P17", what=f"a tick with {DUE} due among {many:,} waiting", unit="ms", raw_what=f"{DUE} due among 100",
                    goal=Goal(text="<= 2x", ratio_at_most=2))  # fmt: skip
    with bare():
        rows = door.load("benchmarks.rows")
        few = rows.reviewable(100, wake_in=TOMORROW)
        rows.analyze()
        tick(few[:DUE])
        raw = [tick(few[:DUE]) for _ in range(asked.rounds())]
        rows.reviewable(many - 100, wake_in=TOMORROW)
        rows.analyze()
        tick(few[:DUE])
        for spent in raw:
            series.add_raw(spent)
            series.add(tick(few[:DUE]))
    return [series]


if __name__ == "__main__":
    run(program)
