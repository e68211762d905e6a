"""All-complete: once for each round of work, with a digest, whoever finds it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from orchestrator.models import Event, Notification, NotificationChannel, Project, Round, Session, Task, Turn
from orchestrator.services import projects, rounds, tasks
from orchestrator.services.events import Actor
from orchestrator.services.reconcile import reconcile
from tests.lab import together

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project() -> Project:
    NotificationChannel.objects.create(name="desk", plugin="desktop", priorities=["info"])
    NotificationChannel.objects.create(name="pager", plugin="desktop", priorities=["urgent"])
    return _project("app")


def _project(key: str) -> Project:
    made, _ = projects.register(key=key, name=key, remote=f"/nowhere/{key}", default_branch="main", agent="command", actor=_me())  # fmt: skip
    return made


def _me() -> Actor:
    return Actor(name="ada", at=timezone.now())


def _task(project: Project, title: str = "Fix it") -> Task:
    task, _ = tasks.submit(project=project, title=title, actor=_me())
    return task


def _end(task: Task, outcome: str = "merged") -> None:
    Task.objects.filter(pk=task.pk).update(outcome=outcome, ended_at=timezone.now())


def _sweep() -> int:
    return rounds.complete_due(now=timezone.now())


def _told() -> list[dict[str, str]]:
    return list(Notification.objects.filter(telling="alert").order_by("pk").values("title", "body", "priority"))


def test_when_the_last_task_has_ended_people_are_told_once_with_what_came_of_all(project: Project) -> None:
    one, two, three = _task(project, "First"), _task(project, "Second"), _task(project, "Third")
    session = Session.objects.create(
        task=one, epoch=1, host=projects.local_host(name="local", capacity=1), agent="command"
    )
    ended = timezone.now()
    Turn.objects.create(session=session, n=1, prompt="", started_at=ended - timedelta(minutes=62), progress_at=ended, ended_at=ended,
                        end="finished", cost_usd=Decimal("1.2"), input_tokens=11_000, output_tokens=1000)  # fmt: skip
    _end(one)
    _end(two)
    assert _sweep() == 0
    _end(three, "cancelled")
    assert (_sweep(), _sweep()) == (1, 0)
    (told,) = _told()
    assert told["title"] == "app: all 3 tasks have ended: 2 merged, 1 cancelled"
    assert told["body"] == "1.20 USD, 12,000 tokens, 1h2m of agents' time"
    assert told["priority"] == "info"
    assert Event.objects.filter(kind="project.complete").count() == 1
    assert [task["outcome"] for task in Round.objects.get().digest["tasks"]] == ["merged", "merged", "cancelled"]


def test_the_sweeps_of_three_workers_tell_it_exactly_once_without_any_bell(project: Project) -> None:
    for n in range(5):
        _end(_task(project, f"Round {n}"))
        together(*[_sweep] * 3)
        assert len(_told()) == n + 1
        assert Round.objects.filter(completed_at__isnull=False).count() == n + 1


def test_a_task_that_is_handed_in_at_that_moment_belongs_to_one_round(project: Project) -> None:
    for n in range(5):
        _end(_task(project, f"Round {n}"))
        together(_sweep, _sweep, lambda: _task(project, "late"))
        _sweep()
        assert Round.objects.open().count() == 1
        _end(Task.objects.filter(title="late").latest("pk"))
        _sweep()
        told = [int(job["title"].count("ended")) for job in _told()]
        assert len(told) == Round.objects.count()
        assert not Round.objects.open().exists()
        assert sum(sum(one.digest["counts"].values()) for one in Round.objects.all()) == Task.objects.count()


def test_a_round_that_begins_later_is_told_of_its_own_tasks_alone(project: Project) -> None:
    _end(_task(project))
    _sweep()
    _end(_task(project), "done")
    _sweep()
    assert [told["title"] for told in _told()] == [
        "app: the only task has ended: 1 merged",
        "app: the only task has ended: 1 done",
    ]


def test_another_projects_open_task_keeps_nobody_waiting(project: Project) -> None:
    _task(_project("other"))
    _end(_task(project))
    assert _sweep() == 1


def test_the_rule_says_who_is_told_with_which_words_and_whether_each_task_is_named(project: Project) -> None:
    project.rules.create(trigger="all-complete", priority="urgent", message="Go home.", include_summary=True)
    task = _task(project, "Fix the door")
    _end(task)
    _sweep()
    (told,) = _told()
    words, _, line = told["body"].split("\n")
    assert (words, told["priority"]) == ("Go home.", "urgent")
    assert line.startswith("app#1 merged: Fix the door http")
    assert line.endswith(f"/tasks/{task.pk}/")


def test_a_rule_without_notify_tells_nobody_and_history_keeps_it(project: Project) -> None:
    project.rules.create(trigger="all-complete", action=["escalate"])
    other = _project("other")
    other.rules.create(trigger="all-complete", action=["pause"])
    _end(_task(other))
    _sweep()
    assert _told() == []
    assert Round.objects.get().completed_at is not None
    _end(_task(project))
    _sweep()
    assert [told["priority"] for told in _told()] == ["urgent"]


def test_a_cancelled_task_ends_its_round(project: Project) -> None:
    task = _task(project)
    tasks.cancel(task=task, actor=_me())
    reconcile(task_id=task.pk, now=timezone.now())
    assert _sweep() == 1
