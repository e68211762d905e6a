"""P20: ten thousand tasks turn red at once: how many a second are decided, with their messages written and their jobs promised.

No service runs: this process is the worker that sweeps. Raw: the very rows that this made and changed, written by psycopg alone (executemany, which
pipelines), in transactions over as many tasks.
"""

from __future__ import annotations

import time
from datetime import timedelta

from benchmarks.measure import Asked, Goal, Series, run
from benchmarks.stage import bare
from ops.local import door, servers
from ops.local.home import Home

TOMORROW = timedelta(days=1)
ROUNDS = 3  # of ten thousand each


def decided_a_second(ids: list[int]) -> float:
    """Tasks a second, from the moment at which all are due to the last decision."""
    rows, sweeps = door.load("benchmarks.rows"), door.load("workers.sweeps")
    began = time.perf_counter()
    while sweeps.reconcile_due():
        pass
    spent = time.perf_counter() - began
    assert rows.settled() == 0
    return len(ids) / spent


def written_a_second(ids: list[int], url: str) -> float:
    """The same rows, bare."""
    red_rows, sweeps = door.load("benchmarks.red_rows"), door.load("workers.sweeps")
    batches = red_rows.written(ids, together=sweeps.TOGETHER)
    red_rows.as_before(ids)
    began = time.perf_counter()
    red_rows.write(batches, url)
    return len(ids) / (time.perf_counter() - began)


def program(asked: Asked) -> list[Series]:
    """Decisions a second, and what is written of them."""
    count = asked.size(10_000, 60)
    series = Series(quantity="P20", what=f"tasks decided a second, {count:,} red at once", unit="/s", raw_what="the same rows by psycopg",
                    goal=Goal(text=">= 0.5x the raw rate", ratio_at_least=0.5))  # fmt: skip
    with bare() as home:
        rows, red_rows = door.load("benchmarks.rows"), door.load("benchmarks.red_rows")
        url = servers.addresses(Home(path=home)).database_url
        ids = rows.reviewable(count, wake_in=TOMORROW)
        red_rows.turn_red(ids)
        rows.analyze()
        door.load("workers.sweeps").keep_what_is_loaded()  # as every worker does when it begins
        for _ in range(asked.rounds(ROUNDS)):
            series.add(decided_a_second(ids))
            series.note = ", ".join(f"{made:g} {name}" for name, made in red_rows.counted(ids).items()) + " a task"
            series.add_raw(written_a_second(ids, url))
            red_rows.as_before(ids)
        rows.disconnect()
    return [series]


if __name__ == "__main__":
    run(program)
