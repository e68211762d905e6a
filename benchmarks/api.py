"""P3, P6: handing in a task, and listing them, over the API.

Raw for P3: a request that only says that the web is there, and a row committed. Raw for P6: the same columns by psycopg, as JSON.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import httpx
import psycopg

from benchmarks.measure import Asked, Goal, Series, interleaved, percentile, run
from benchmarks.stage import Stage, stage, until
from ops.local import door, servers
from ops.local.home import Home

POSTS = 40
GETS = 10
COLUMNS = "id, number, title, issue, status, attention, reason, priority, labels, agent, branch, created_at, updated_at, ended_at, version"


def timed(call: Callable[[], object]) -> float:
    """Milliseconds of a call."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def accepted(made: Stage, count: int) -> list[float]:
    """Milliseconds of so many requests, one after the other."""
    return [timed(lambda n=n: made.post(f"Accept {n}")) for n in range(count)]  # type: ignore[misc]  # bound at once


def committed(made: Stage, database: psycopg.Connection[tuple[object, ...]], count: int) -> list[float]:
    """Milliseconds of so many bare requests and bare rows."""

    def once() -> None:
        httpx_answer = made.client.get(f"{made.service.url}/healthz")
        httpx_answer.raise_for_status()
        with database.transaction():
            database.execute("INSERT INTO bench_accepted (title) VALUES ('a task')")

    return [timed(once) for _ in range(count)]


def listed(made: Stage, count: int) -> float:
    """The median of a few listings of that many tasks, each checked to be whole."""

    def once() -> httpx.Response:
        return made.client.get("/tasks/", params={"limit": count}).raise_for_status()

    assert len(once().json()["results"]) == count
    return percentile([timed(once) for _ in range(GETS)], 0.5)


def selected(database: psycopg.Connection[tuple[object, ...]], count: int) -> float:
    """The same rows, bare."""

    def once() -> str:
        found = database.execute(
            f"SELECT {COLUMNS} FROM orchestrator_task ORDER BY id DESC LIMIT %s", [count]
        ).fetchall()
        return json.dumps(found, default=str)

    return percentile([timed(once) for _ in range(GETS)], 0.5)


def program(asked: Asked) -> list[Series]:
    """Handing in and listing."""
    posts = asked.size(POSTS, 3)
    p3 = Series(quantity="P3", what=f"POST /tasks/ returns, p95 of {posts}", unit="ms", raw_what="GET /healthz + INSERT",
                goal=Goal(text="p95 <= 40 ms", at_most=40))  # fmt: skip
    lists = [
        Series(quantity="P6", what=f"GET /tasks/ with {count} tasks", unit="ms", raw_what="SELECT + json.dumps",
               goal=Goal(text=f"<= {most} ms", at_most=most))
        for count, most in ((30, 10), (100, 15), (300, 25))
    ]  # fmt: skip
    with (
        stage() as made,
        psycopg.connect(servers.addresses(Home(path=made.home)).database_url, autocommit=True) as database,
    ):
        rows = door.load("benchmarks.rows")
        rows.pause(paused=True)
        database.execute("CREATE TABLE bench_accepted (id bigserial PRIMARY KEY, title text)")
        accepted(made, 5)
        interleaved(
            p3,
            rounds=asked.rounds(),
            ours=lambda: percentile(accepted(made, posts), 0.95),
            raw=lambda: percentile(committed(made, database, posts), 0.95),
        )
        until(rows.explained, "every task was told why it waits")
        rows.forget_tasks()
        for series, count in zip(lists, (30, 100, 300), strict=True):
            rows.reviewable(
                count - len(made.client.get("/tasks/", params={"limit": 500}).json()["results"]),
                head=made.repository.head,
            )
            database.execute("ANALYZE")
            interleaved(
                series,
                rounds=asked.rounds(),
                ours=lambda n=count: listed(made, n),
                raw=lambda n=count: selected(database, n),  # type: ignore[misc]
            )
    return [p3, *lists]


if __name__ == "__main__":
    run(program)
