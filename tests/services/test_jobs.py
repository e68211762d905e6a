"""Promises: claimed once, fenced when late, put aside when they poison, dropped when their session has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from orchestrator.domain.actions import Action, Merge, Prepare, Publish, StartTurn, StopAgent
from orchestrator.models import Claim, Host, Job, Project, Session, Task
from orchestrator.services import jobs, projects, promises, tasks
from orchestrator.services.events import Actor
from orchestrator.services.reconcile import reconcile
from tests.lab import together
from workers import runner, toolbox
from workers.toolbox import Toolbox

pytestmark = pytest.mark.django_db(transaction=True)

LEASE = timedelta(seconds=30)
QUEUES = ["control", "effects", "host.local"]


@pytest.fixture
def task() -> Task:
    """A task with a live session, and nothing promised yet."""
    host = projects.local_host(name="local", capacity=5)
    actor = Actor(name="ada", at=timezone.now())
    project, _ = projects.register(
        key="app", name="App", remote="/nowhere", default_branch="main", agent="command", actor=actor
    )
    made, _ = tasks.submit(project=project, title="Fix it", actor=actor)
    Session.objects.create(task=made, epoch=1, host=host, agent="command")
    return made


def _promise(task: Task, *numbers: int) -> None:
    session = task.sessions.get().pk
    promises.promise([Publish(session=session, turn=n, attempt=0) for n in numbers], task=task, now=timezone.now())


def _claim(worker: str = "w", limit: int = 1) -> list[Claim]:
    with transaction.atomic():
        return Job.objects.claim(queues=QUEUES, worker=worker, lease=LEASE, limit=limit)


def test_the_same_promise_again_is_silent(task: Task) -> None:
    _promise(task, 1)
    _promise(task, 1, 1)
    assert Job.objects.count() == 1


def test_a_job_is_claimed_by_one_worker_however_many_ask(task: Task) -> None:
    _promise(task, 1)
    won: list[Claim] = []
    together(*[lambda: won.extend(_claim()) for _ in range(8)])
    assert len(won) == 1


def test_of_one_session_one_job_is_claimed_at_a_time_under_eight_threads(task: Task) -> None:
    _promise(task, *range(1, 17))
    most: list[int] = []
    done: list[int] = []

    def work() -> None:
        for _ in range(30):
            try:
                claims = _claim()
            except IntegrityError:
                continue  # another took one of the same session at this moment
            for claim in claims:
                most.append(Job.objects.filter(state="claimed").count())
                assert jobs.settle_done(claim=claim, result={}, now=timezone.now())
                done.append(claim.job)

    together(*[work for _ in range(8)])
    while claims := _claim():
        jobs.settle_done(claim=claims[0], result={}, now=timezone.now())
        done.append(claims[0].job)
    assert max(most) == 1
    assert len(done) == len(set(done)) == 16


def test_a_lease_that_lapsed_is_claimed_by_a_successor_and_the_zombies_word_is_ignored(task: Task) -> None:
    _promise(task, 1)
    (zombie,) = _claim("first")
    assert _claim("second") == []
    Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    (successor,) = _claim("second")
    assert successor.claims == zombie.claims + 1
    assert jobs.settle_done(claim=zombie, result={"by": "zombie"}, now=timezone.now()) is False
    assert jobs.settle_failed(claim=zombie, error="late", now=timezone.now()) is False
    assert jobs.settle_unavailable(claim=zombie, error="late", run_at=None, now=timezone.now()) is False
    jobs.renew(claims=[zombie], until=timezone.now() + timedelta(hours=1))
    assert jobs.settle_done(claim=successor, result={"by": "successor"}, now=timezone.now()) is True
    assert Job.objects.get().result == {"by": "successor"}


def test_a_poison_job_is_put_aside_after_three_failures_and_a_human_is_asked_once(task: Task) -> None:
    session = task.sessions.get()
    promises.promise([Prepare(session=session.pk, attempt=0)], task=task, now=timezone.now())
    for _ in range(3):
        Job.objects.update(run_at=timezone.now())
        runner.run_due(queues=QUEUES, tools=_tools(_Poison()))
    job = Job.objects.get()
    assert (job.state, job.failures) == ("quarantined", 3)
    assert "ZeroDivisionError" in job.error
    for _ in range(3):
        reconcile(task_id=task.pk, now=timezone.now())
    task.refresh_from_db()
    assert (task.status, task.interruptions.count()) == ("failed", 1)


class _Poison:
    def __call__(self, row: Host) -> object:
        raise ZeroDivisionError(row.name)


def _tools(host: object) -> Toolbox:
    return replace(toolbox.real(), host=host)  # type: ignore[arg-type]


def test_a_job_over_which_workers_keep_dying_is_put_aside(task: Task) -> None:
    _promise(task, 1)
    for _ in range(runner.DEATHS):
        _claim()
        Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    runner.run_due(queues=QUEUES, tools=_tools(_Poison()))
    assert Job.objects.get(verb="Publish").code == "quarantined"


def test_the_jobs_of_an_ended_session_are_dropped(task: Task) -> None:
    session = task.sessions.get()
    late: list[Action] = [
        Prepare(session=session.pk, attempt=0),
        StartTurn(session=session.pk, turn=1, attempt=0),
        StopAgent(session=session.pk, turn=1),
    ]
    promises.promise(late, task=task, now=timezone.now())
    Session.objects.update(ended_at=timezone.now(), end_reason="fenced")
    runner.run_due(queues=QUEUES, tools=_tools(_Poison()))
    assert set(Job.objects.values_list("state", flat=True)) == {"dropped"}


def test_what_is_unavailable_waits_longer_each_time_and_is_never_given_up(task: Task) -> None:
    _promise(task, 1)
    waits: list[float] = []
    for _ in range(12):
        Job.objects.update(run_at=timezone.now())
        (claim,) = _claim()
        now = timezone.now()
        jobs.settle_unavailable(claim=claim, error="away", run_at=None, now=now)
        waits.append((Job.objects.get().run_at - now).total_seconds())
    assert Job.objects.get().state == "promised"
    assert waits[0] < 2
    assert 200 < waits[-1] <= 400


def test_the_wait_that_the_outside_asks_for_is_kept(task: Task) -> None:
    _promise(task, 1)
    (claim,) = _claim()
    then = timezone.now() + timedelta(hours=2)
    jobs.settle_unavailable(claim=claim, error="rate limit", run_at=then, now=timezone.now())
    assert Job.objects.get().run_at == then
    assert _claim() == []


def test_two_workers_that_decide_at_the_same_moment_promise_once(task: Task) -> None:
    def decide() -> None:
        reconcile(task_id=task.pk, now=timezone.now())

    together(*[decide for _ in range(8)])
    assert Job.objects.filter(verb="Prepare").count() == 1


def test_jobs_go_to_the_queue_of_their_hands(task: Task) -> None:
    session = task.sessions.get().pk
    wanted: Mapping[str, str] = {"Merge": "effects", "StartTurn": "host.local"}
    actions: list[Action] = [Merge(head_sha="a" * 40, occasion="x"), StartTurn(session=session, turn=1, attempt=0)]
    promises.promise(actions, task=task, now=timezone.now())
    assert dict(Job.objects.values_list("verb", "queue")) == wanted
    assert Project.objects.count() == 1
