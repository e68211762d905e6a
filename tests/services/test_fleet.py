"""Who is placed, who waits, and the sentence that says for what."""

from __future__ import annotations

import pytest
from django.utils import timezone

from orchestrator.models import Host, Message, Project, Session, Task, Turn
from orchestrator.services import fleet, projects, tasks
from orchestrator.services.events import Actor
from orchestrator.services.reconcile import reconcile
from tests.lab import together

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def host() -> Host:
    host = projects.local_host(name="local", capacity=3)
    Host.objects.update(seen_at=timezone.now())
    return host


def _project(key: str = "app") -> Project:
    project, _ = projects.register(
        key=key, name=key, remote=f"/nowhere/{key}", default_branch="main", agent="command", actor=_me()
    )
    Project.objects.filter(pk=project.pk).update(base_sha="b" * 40)
    return project


def _me() -> Actor:
    return Actor(name="ada", at=timezone.now())


def _task(project: Project, **more: object) -> Task:
    task, _ = tasks.submit(project=project, title="Fix it", actor=_me(), **more)  # type: ignore[arg-type]
    return task


def _dispatch() -> list[int]:
    return fleet.dispatch(now=timezone.now())


def _reason(task: Task) -> str:
    reconcile(task_id=task.pk, now=timezone.now())
    return Task.objects.get(pk=task.pk).reason


@pytest.mark.usefixtures("host")
def test_a_dependent_task_waits_for_what_it_depends_on_and_says_so() -> None:
    project = _project()
    first = _task(project)
    second = _task(project, depends_on=[first.pk])
    assert _dispatch() == [first.pk]
    assert _reason(second) == "waits for app#1"
    Task.objects.filter(pk=first.pk).update(outcome="merged", ended_at=timezone.now())
    assert _dispatch() == [second.pk]


@pytest.mark.usefixtures("host")
def test_a_dependency_that_was_cancelled_does_not_let_its_dependents_go() -> None:
    project = _project()
    first = _task(project)
    second = _task(project, depends_on=[first.pk])
    tasks.cancel(task=first, actor=_me())
    reconcile(task_id=first.pk, now=timezone.now())
    assert _dispatch() == []
    assert _reason(second) == "waits for app#1"


@pytest.mark.usefixtures("host")
def test_a_paused_project_places_nothing_and_says_so() -> None:
    project = _project()
    task = _task(project)
    Project.objects.update(paused=True)
    assert _dispatch() == []
    assert _reason(task) == "the project is paused"
    Project.objects.update(paused=False)
    assert _dispatch() == [task.pk]


@pytest.mark.usefixtures("host")
def test_a_project_without_its_repository_waits_with_what_is_wrong() -> None:
    project = _project()
    Project.objects.update(base_sha="", notice="/nowhere/app is not a repository")
    task = _task(project)
    assert _dispatch() == []
    assert _reason(task) == "/nowhere/app is not a repository"


def test_nothing_is_placed_on_a_host_that_is_silent_or_draining(host: Host) -> None:
    task = _task(_project())
    Host.objects.filter(pk=host.pk).update(silent_since=timezone.now())
    assert _dispatch() == []
    assert "local" in _reason(task)
    Host.objects.filter(pk=host.pk).update(silent_since=None, draining=True)
    assert _dispatch() == []
    assert "draining" in _reason(task)


@pytest.mark.usefixtures("host")
def test_limits_are_exact_however_many_dispatch_at_once() -> None:
    project = _project()
    for _ in range(12):
        _task(project)
    together(*[_dispatch for _ in range(8)])
    _dispatch()
    assert Session.objects.live().count() == 3
    assert Session.objects.values("task").distinct().count() == 3


@pytest.mark.usefixtures("host")
def test_of_two_projects_neither_waits_for_all_of_the_other() -> None:
    one, two = _project("one"), _project("two")
    crowd = [_task(one) for _ in range(5)]
    late = _task(two)
    placed = _dispatch()
    assert late.pk in placed
    assert len([task for task in crowd if task.pk in placed]) == 2


@pytest.mark.usefixtures("host")
def test_a_session_and_its_successor_are_told_of_the_file_with_rules_as_the_project_says_it_then() -> None:
    project = _project()
    Project.objects.update(agent_rules="Be kind.", agent_rules_file="docs/RULES.md")
    _task(project)
    _dispatch()
    first = Message.objects.get(session__epoch=1).text
    assert "Be kind.\n\nBefore you begin, read the file `docs/RULES.md` of this repository" in first
    Session.objects.update(ended_at=timezone.now(), end_reason="the host is gone")
    Project.objects.update(agent_rules_file="AGENTS.md")
    _dispatch()
    assert "read the file `AGENTS.md` of" in Message.objects.get(session__epoch=2).text


@pytest.mark.usefixtures("host")
def test_a_successor_is_told_what_a_turn_that_never_started_was_to_say() -> None:
    task = _task(_project())
    _dispatch()
    session = Session.objects.get()
    turn = Turn.objects.create(session=session, n=1, prompt="", progress_at=timezone.now())
    message = tasks.send(task=task, text="mind the gap", actor=_me())
    Message.objects.update(turn=turn)
    Session.objects.update(ended_at=timezone.now(), end_reason="the host is gone")
    _dispatch()
    successor = Session.objects.get(epoch=2)
    told = Message.objects.filter(session=successor, turn=None)
    assert message.pk in set(told.values_list("pk", flat=True))
    # Its own first words, once: those of the lost session are not said again.
    assert told.filter(occasion="task").count() == 1
