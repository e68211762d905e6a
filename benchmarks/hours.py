"""P12: what a day of a thousand open pull requests costs on GitHub, polled only and with webhooks; in its own points, counted by its own rules.

The day is `tests/github/day.py`: the real looks, client and budget under a clock that is moved, and a GitHub of our own that answers, charges and
refuses. Nothing is timed, so a busy machine changes nothing.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from functools import partial
from multiprocessing import get_context

from benchmarks.measure import Asked, Goal, Series, percentile, run
from benchmarks.stage import bare
from ops.local import door
from tests.fakegithub.server import fake_github
from tests.fakegithub.world import ROBOT_TOKEN
from tests.repositories import Repository, open_folder

PULLS, HOURS = 1000, 24


def program(asked: Asked) -> list[Series]:
    """Both days."""
    pulls, hours = asked.size(PULLS, 100), asked.size(HOURS, 1)
    # Each has a database of its own, so they may live side by side.
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as beside:
        return list(beside.map(partial(_day, pulls=pulls, hours=hours), (False, True)))


def _day(with_webhooks: bool, *, pulls: int, hours: int) -> Series:
    os.environ |= {"ACME_TOKEN": ROBOT_TOKEN}
    with bare():
        return _lived(pulls=pulls, hours=hours, with_webhooks=with_webhooks)


def _lived(*, pulls: int, hours: int, with_webhooks: bool) -> Series:
    how = "with webhooks" if with_webhooks else "polled"
    goal = Goal(text="<= 0.3", at_most=0.3) if with_webhooks else Goal(text="<= 5", at_most=5)
    what = f"points per pull request and hour, {pulls:,} open ones for {hours} hours, {how}"
    series = Series(quantity="P12", what=what, unit="points", goal=goal)
    day = door.load("tests.github.day")
    begin: datetime = day.BEGIN
    with open_folder() as folder:
        origin = Repository.make(folder / "origin", {"calc.py": "1\n"})
        bare_one = folder / "acme" / "demo.git"
        bare_one.parent.mkdir(parents=True)
        origin.git("clone", "-q", "--bare", str(origin.path), str(bare_one))
        with fake_github(folder) as github:
            bill = day.lived(folder, github, pulls=pulls, hours=hours, with_webhooks=with_webhooks, begin=begin,
                             said=lambda words: print(how, words, file=sys.stderr, flush=True))  # fmt: skip
    series.add(bill.points_each)
    late = {"all": bill.all_late, **bill.late}
    series.note = "; ".join(
        [
            f"busiest hour {max(bill.points) / pulls:.2f}",
            f"{sum(bill.calls) / hours:,.0f} calls an hour, {max(bill.calls):,} in the busiest",
            f"{bill.writes:,} writes, {len(bill.starved)} starved, {bill.refused} calls refused, {bill.unseen} unseen",
            "seen after, p50 and p95: "
            + ", ".join(
                f"{kind} {percentile(found, 0.5):.0f} and {percentile(found, 0.95):.0f} s"
                for kind, found in late.items()
                if found
            ),
        ]
    )
    if bill.starved or bill.refused or bill.unseen:
        series.goal = Goal(text=goal.text, at_most=0)
    print(how, dict(bill.happened), f"{bill.points_of_writes} points for writes", file=sys.stderr, flush=True)
    return series


if __name__ == "__main__":
    run(program)
