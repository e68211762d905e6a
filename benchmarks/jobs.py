"""P14: jobs claimed a second by four workers, each a process that claims one job at a time as our runner does.

Raw: four processes that run the same statement by psycopg alone.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path

import psycopg

from benchmarks.measure import Asked, Goal, Series, interleaved, run
from benchmarks.stage import attach, bare
from ops.local import door, servers
from ops.local.home import Home

WORKERS = 4
QUEUE = "bench"


def ours(home: Path, barrier: Barrier, found: multiprocessing.SimpleQueue[int]) -> None:
    """One worker of ours: claims until nothing is due."""
    attach(home)
    runner = door.load("workers.runner")
    runner.claim([QUEUE + "-none"])  # connect
    barrier.wait()
    count = 0
    while runner.claim([QUEUE]) is not None:
        count += 1
    found.put(count)


def raw(home: Path, barrier: Barrier, found: multiprocessing.SimpleQueue[int]) -> None:
    """One bare worker."""
    statement = door.load("orchestrator.models.job")._CLAIM  # noqa: SLF001  # the very same words
    asked = {"queues": [QUEUE], "worker": "raw", "lease": timedelta(seconds=30).total_seconds(), "limit": 1}
    with psycopg.connect(servers.addresses(Home(path=home)).database_url, autocommit=True) as database:
        barrier.wait()
        count = 0
        while database.execute(statement, asked).fetchall():
            count += 1
    found.put(count)


def claimed_a_second(home: Path, worker: Callable[..., None], count: int) -> float:
    """Jobs a second, from the moment at which all workers are ready to the last claim."""
    door.load("benchmarks.rows").promise(count, queue=QUEUE)
    context = multiprocessing.get_context("spawn")
    barrier, found = context.Barrier(WORKERS + 1), context.SimpleQueue()
    workers = [context.Process(target=worker, args=(home, barrier, found)) for _ in range(WORKERS)]
    for one in workers:
        one.start()
    barrier.wait()
    began = time.perf_counter()
    counts = [found.get() for _ in workers]
    seconds = time.perf_counter() - began
    for one in workers:
        one.join()
    assert sum(counts) == count, f"{sum(counts)} claims of {count} jobs"
    return count / seconds


def program(asked: Asked) -> list[Series]:
    """Claims a second."""
    count = asked.size(3000, 100)
    series = Series(quantity="P14", what=f"jobs claimed a second, {WORKERS} workers, {count:,} due", unit="/s", raw_what="the same SQL by psycopg",
                    goal=Goal(text=">= 1,500 /s", at_least=1500))  # fmt: skip
    with bare() as home:
        interleaved(
            series,
            rounds=asked.rounds(),
            ours=lambda: claimed_a_second(home, ours, count),
            raw=lambda: claimed_a_second(home, raw, count),
        )
    return [series]


if __name__ == "__main__":
    run(program)
