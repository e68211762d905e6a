"""F15: GitHub asks for patience. Nobody calls before the time is over, writes go first, what waits drains, and people are told."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from django.utils import timezone

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Job, Membership, Project, PullRequest, Role, Task
from orchestrator.services import board, forges
from tests.github.lab import REVIEWER, GitHubLab, github_lab
from tests.lab import FIX, turns
from workers import looks
from workers.plugins.scms.github import budget

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.faults]

SECONDARY = "You have exceeded a secondary rate limit"
WAIT = 6  # seconds


def _client(lab: GitHubLab) -> Client:
    client = Client()
    me = lab.here.me.user
    assert isinstance(me, User)
    Membership.objects.get_or_create(project=lab.here.project, user=me, defaults={"role": Role.MAINTAINER})
    client.force_login(me)
    return client


def _page(client: Client, path: str) -> str:
    return client.get(path).content.decode()


def _waiting_for_review(lab: GitHubLab) -> Task:
    task = lab.here.submit(script=turns(FIX))
    _until(lab, task, lambda: task.status == TaskStatus.REVIEW_PENDING)
    return task


def _until(lab: GitHubLab, task: Task, true: Callable[[], bool]) -> None:
    def there() -> bool:
        PullRequest.objects.filter(task=task).update(poll_at=None)
        task.refresh_from_db()
        return true()

    lab.here.until(there, "it is so")


def test_f15_a_limit_is_told_kept_by_everybody_and_gone_when_it_is_over() -> None:
    with github_lab() as lab:
        here, github = lab.here, lab.github
        here.rule("approved-and-green", auto=True, action=["auto-merge"])
        client, waits, looked_at = _client(lab), _waiting_for_review(lab), _waiting_for_review(lab)
        assert "asks for patience" not in _page(client, "/")
        # The look sees the approval; the merge that follows from it hits the limit.
        github.fail("PUT .*/merge", 403, message=SECONDARY, headers={"retry-after": str(WAIT)})
        github.world.review(REVIEWER, lab.pull(waits).number, "APPROVED")
        _until(lab, waits, lambda: forges.wait_of(_row(lab), now=timezone.now()) is not None)
        struck, asked, queries = time.time(), len(github.asked), len(github.queries)
        words = f"asks for patience until {_row(lab).forge_waits_until:%H:%M:%S} UTC"
        for path in ("/", f"/projects/{here.project.key}/"):
            assert words in _page(client, path)
        shown = client.get("/api/v1/projects/").json()
        told = (shown if isinstance(shown, list) else shown["results"])[0]["forge_wait"]
        assert (words in told["words"], told["writes_go_on"]) == (True, False)
        assert client.get("/readyz").status_code == 200
        assert any(words in line for line in board.health(now=timezone.now()).troubles)
        # Whoever is rung for, looks and jobs alike, asks nothing before the time is over.
        while time.time() < struck + WAIT - 1.5:
            PullRequest.objects.update(poll_at=timezone.now())
            Job.objects.filter(state="promised").update(run_at=timezone.now())
            here.settle(1)
        assert github.asked[asked:] == []
        _let_the_time_pass(lab)
        here.until(lambda: bool(github.asked[asked:]), "GitHub is asked again")
        _until(lab, waits, lambda: any(one.startswith("PUT") for one in github.asked[asked:]))
        before = _asked_about_before_the_write(lab, calls=asked, queries=queries)
        assert f"p{lab.pull(waits).number}:" in before
        assert f"p{lab.pull(looked_at).number}:" not in before
        _until(lab, waits, lambda: waits.status == TaskStatus.MERGED)
        assert len([one for one in github.asked if one.endswith("/merge")]) == 2
        assert "asks for patience" not in _page(client, "/") + _page(client, f"/projects/{here.project.key}/")
        assert client.get(f"/api/v1/projects/{here.project.key}/").json()["forge_wait"] is None
        assert not Job.objects.filter(state="promised", run_at__lt=timezone.now() - timedelta(seconds=5)).exists()
        connections.close_all()


def test_f15_looks_stop_where_the_hours_limit_is_nearly_used_up_and_merges_do_not() -> None:
    with github_lab() as lab:
        here, github = lab.here, lab.github
        here.rule("approved-and-green", auto=True, action=["auto-merge"])
        client, task = _client(lab), _waiting_for_review(lab)
        lab.github.world.review(REVIEWER, lab.pull(task).number, "APPROVED")
        github.quota.left["graphql"] = budget.RESERVE + 1
        _until(lab, task, lambda: task.status == TaskStatus.MERGED)
        queries = len(github.queries)
        other = here.submit("another", script=turns(FIX))
        here.until(lambda: PullRequest.objects.filter(task=other).exists(), "its pull request is opened all the same")
        PullRequest.objects.update(poll_at=None)
        looks.observe_due_pull_requests(here.tools)
        assert "Looks at GitHub" in _page(client, "/")
        assert "Writes go first" in _page(client, "/")
        before = len(github.asked)
        PullRequest.objects.update(poll_at=None)
        looks.observe_due_pull_requests(here.tools)
        assert len(github.asked) == before
        assert len(github.queries) > queries  # the look-ups of those who open and merge
        connections.close_all()


def test_f15_a_limit_that_goes_on_is_told_anew() -> None:
    with github_lab() as lab:
        project, now = _row(lab), timezone.now()
        forges.limited(project=project, until=now + timedelta(minutes=1), writes_go_on=False)
        first = forges.waits(now=now)
        assert forges.waits(now=now + timedelta(minutes=2)) == ()
        forges.limited(project=project, until=now + timedelta(hours=1), writes_go_on=True)
        second = forges.waits(now=now + timedelta(minutes=2))
        assert (len(first), len(second), "Looks at" in second[0]) == (1, 1, True)
        forges.answers(project=_row(lab))
        assert forges.waits(now=now) == ()


def _row(lab: GitHubLab) -> Project:
    return Project.objects.get(pk=lab.here.project.pk)


def _let_the_time_pass(lab: GitHubLab) -> None:
    until = _row(lab).forge_waits_until
    assert until is not None
    lab.here.until(lambda: timezone.now() > until, "the time is over")


def _asked_about_before_the_write(lab: GitHubLab, *, calls: int, queries: int) -> str:
    """The queries that went out between so many calls and the first write after them."""
    asked = lab.github.asked[calls:]
    before = asked[: next(n for n, one in enumerate(asked) if one.startswith("PUT"))]
    return "".join(lab.github.queries[queries : queries + sum("graphql" in one for one in before)])
