"""P5: a second `ao start` of the same home, until the board is answered to somebody who is logged in.

Raw: a Python that sets Django up, which every start pays, and nothing else.
"""

from __future__ import annotations

import subprocess
import sys
import time

import httpx

from benchmarks.measure import Asked, Goal, Series, run
from benchmarks.stage import Stage, stage
from ops.local import door
from tests.installation import ROOT

SETUP = "from ops.local import door; door.load('aoweb.asgi')"


def started(made: Stage, cookie: str) -> float:
    """Milliseconds from the command to the board's page."""
    made.service.stop()
    began = time.perf_counter()
    made.service.start()
    httpx.get(made.service.url, headers={"Cookie": cookie}, timeout=30).raise_for_status()
    return (time.perf_counter() - began) * 1000


def set_up() -> float:
    """Milliseconds of a bare Django."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", SETUP], check=True, cwd=ROOT)
    return (time.perf_counter() - began) * 1000


def program(asked: Asked) -> list[Series]:
    """The second start."""
    many = asked.size(300, 5)
    goal = Goal(text="<= 3 s, independent of the number", at_most=3000)
    found = []
    with stage() as made:
        rows = door.load("benchmarks.rows")
        cookie = rows.cookie()
        for count in (0, many):
            rows.reviewable(count, head=made.repository.head)
            series = Series(
                quantity="P5",
                what=f"second start -> board, {count} sessions",
                unit="ms",
                raw_what="django.setup()",
                goal=goal,
            )
            rows.disconnect()
            for _ in range(asked.rounds()):
                series.add(started(made, cookie))
                series.add_raw(set_up())
            found.append(series)
    return found


if __name__ == "__main__":
    run(program)
