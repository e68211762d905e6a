"""What observation costs: calls and points, counted and not timed."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.models import Project, PullRequest, Task
from orchestrator.ports import PullRequestSeen
from tests.web import scenes
from workers import looks, runner, toolbox
from workers.plugins.scms.github import queries

pytestmark = pytest.mark.django_db

START = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
TICK, SPAN = timedelta(seconds=5), timedelta(minutes=40)
# The service charges a query by its connections: reviews, threads and checks of each pull request, a hundred to a point.
# The base branch's checks are one more for the whole question. What comes of it is rounded to a whole number.
CONNECTIONS, OF_BASE = 3, 1


@dataclass(slots=True)
class Meter:
    """A forge on which now and then somebody pushes; it counts what it is asked."""

    now: datetime
    chance: random.Random
    calls: int = 0
    points: int = 0

    def observe(
        self,
        numbers: Sequence[int],
        *,
        told: Mapping[int, datetime | None] | None = None,
        for_a_write: bool = False,
        timeout: float = 30,
    ) -> list[PullRequestSeen]:
        for start in range(0, len(numbers), queries.AT_ONCE):
            self.calls += 1
            asked = len(numbers[start : start + queries.AT_ONCE])
            self.points += max(1, math.floor((asked * CONNECTIONS + OF_BASE) / 100 + 0.5))
        return [self._seen(number) for number in numbers]

    def _seen(self, number: int) -> PullRequestSeen:
        row = PullRequest.objects.select_related("task").get(number=number, project__key=f"p{number // 1000}")
        if self.chance.random() < 0.002:
            PullRequest.objects.filter(pk=row.pk).update(head_since=self.now)
        return scenes.seen(row, observed_at=self.now)


def test_a_hundred_pull_requests_cost_less_than_five_points_each_an_hour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(7)
    for key in range(1, 3):
        _open_pulls(scenes.project(f"p{key}", scm={"plugin": "github"}), 50, chance, first=key * 1000)
    meter = Meter(START, chance)
    tools = replace(toolbox.real(), scm=lambda _: meter)  # type: ignore[arg-type,return-value]  # it is only asked to observe
    monkeypatch.setattr(looks.timezone, "now", lambda: meter.now)
    monkeypatch.setattr(runner, "decide_on_many", lambda _: None)
    while meter.now < START + SPAN:
        looks.observe_due_pull_requests(tools)
        meter.now += TICK
    hours = SPAN / timedelta(hours=1)
    assert meter.points / 100 / hours <= 5
    # Each project is one question at a time, and not one for each of its pull requests.
    assert meter.calls / hours <= 2 * 3600 / looks.TOGETHER.total_seconds() / 2
    assert not PullRequest.objects.filter(observed_at__lt=meter.now - timedelta(minutes=16)).exists()


def _open_pulls(project: Project, count: int, chance: random.Random, *, first: int) -> None:
    scenes.host()
    tasks = [
        Task(project=project, number=n, title=f"t{n}", agent="command", branch=f"b/{n}")
        for n in range(first, first + count)
    ]
    Task.objects.bulk_create(tasks)
    PullRequest.objects.bulk_create(
        PullRequest(
            project=project,
            task=task,
            number=task.number,
            title=task.title,
            branch=task.branch,
            base_branch="main",
            head_sha=scenes.HEAD,
            base_sha=scenes.HEAD,
            mergeable=True,
            head_since=START - timedelta(hours=chance.choice((0, 1, 5, 48))),
            observed_at=START,
            poll_at=START + timedelta(seconds=chance.randrange(120)),
        )
        for task in tasks
    )
