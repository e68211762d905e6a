"""P12: what a day of a thousand open pull requests costs on GitHub, polled only and with webhooks; in its own points, counted by its own rules.

The day is `tests/github/day.py`: the real looks, client and budget under a clock that is moved, and a GitHub of our own that answers, charges and
refuses. Nothing is timed, so a busy machine changes nothing.
"""

from __future__ import annotations

import os
from datetime import datetime

from benchmarks.measure import Asked, Goal, Series, percentile, run
from benchmarks.stage import bare
from ops.local import door
from tests.fakegithub.server import fake_github
from tests.fakegithub.world import ROBOT_TOKEN
from tests.repositories import Repository, open_folder

PULLS, HOURS = 1000, 24


def program(asked: Asked) -> list[Series]:
    """Both days."""
    os.environ |= {"ACME_TOKEN": ROBOT_TOKEN}
    pulls, hours = asked.size(PULLS, 100), asked.size(HOURS, 1)
    with bare():
        polled = _day("polled", Goal(text="<= 5", at_most=5), pulls=pulls, hours=hours, with_webhooks=False)
        rung = _day("with webhooks", Goal(text="<= 0.3", at_most=0.3), pulls=pulls, hours=hours, with_webhooks=True)
    return [polled, rung]


def _day(how: str, goal: Goal, *, pulls: int, hours: int, with_webhooks: bool) -> Series:
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
            bill = day.lived(folder, github, pulls=pulls, hours=hours, with_webhooks=with_webhooks, begin=begin)
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
            ),
        ]
    )
    if bill.starved or bill.refused or bill.unseen:
        series.goal = Goal(text=goal.text, at_most=0)
    print(dict(bill.happened))
    return series


if __name__ == "__main__":
    run(program)
