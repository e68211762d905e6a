"""P12: what an hour of many open pull requests costs, in GitHub's own points. `benchmarks/hours.py` is the same for a whole day."""

from __future__ import annotations

from datetime import timedelta

import pytest

from benchmarks.measure import percentile
from tests.fakegithub.server import fake_github
from tests.github.conftest import bare_repository
from tests.github.day import BEGIN, Bill, lived
from tests.repositories import open_folder

pytestmark = pytest.mark.django_db


def _hour(*, with_webhooks: bool) -> Bill:
    """The busiest hour of two hundred pull requests."""
    with open_folder() as folder:
        bare_repository(folder, {"calc.py": "1\n"})
        with fake_github(folder) as github:
            begin = BEGIN + timedelta(hours=9)
            return lived(folder, github, pulls=200, hours=1, with_webhooks=with_webhooks, begin=begin)


def test_an_hour_of_work_is_seen_for_less_than_five_points_a_pull_request() -> None:
    bill = _hour(with_webhooks=False)
    assert bill.points_each <= 5
    assert (bill.starved, bill.refused, bill.unseen) == ([], 0, 0)
    assert bill.writes > 10
    assert percentile(bill.all_late, 0.5) <= 60


def test_with_webhooks_it_costs_a_tenth_and_is_seen_at_once() -> None:
    bill = _hour(with_webhooks=True)
    assert bill.points_each <= 1
    assert (bill.starved, bill.refused, bill.unseen) == ([], 0, 0)
    assert percentile(bill.late["red check"] + bill.late["review"], 0.95) <= 5
