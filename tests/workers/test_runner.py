"""What becomes of a job, whatever its executor does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from django.utils import timezone

from orchestrator.domain.actions import ReadIssue
from orchestrator.models import Job, Project, Task
from orchestrator.ports import Issue, Refused, Unavailable
from orchestrator.services import projects, promises, tasks
from orchestrator.services.events import Actor
from workers import runner, toolbox
from workers.toolbox import Toolbox

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True, slots=True)
class Raising:
    """A tracker that always fails in this way."""

    error: Exception

    def issue(self, reference: str, *, timeout: float = 20) -> Issue:
        raise self.error


def tools(error: Exception) -> Toolbox:
    def tracker(_: Project) -> Raising:
        return Raising(error)

    return replace(toolbox.real(), tracker=tracker)


@pytest.fixture
def task() -> Task:
    projects.local_host(name="local", capacity=5)
    actor = Actor(name="ada", at=timezone.now())
    project, _ = projects.register(
        key="app", name="App", remote="/nowhere", default_branch="main", agent="command", actor=actor
    )
    return tasks.submit(project=project, title="Fix it", actor=actor)[0]


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (Refused("no such issue", code="no-issue"), "refused", "no-issue"),
        (Unavailable("away"), "promised", ""),
        (ZeroDivisionError("boom"), "promised", ""),
    ],
)
def test_whatever_an_executor_raises_becomes_a_fact_of_its_job(
    task: Task, error: Exception, state: str, code: str
) -> None:
    promises.promise([ReadIssue(reference="#1", attempt=0)], task=task, now=timezone.now())
    runner.run_due(queues=["effects"], tools=tools(error))
    job = Job.objects.get(verb="ReadIssue")
    assert (job.state, job.code, str(error) in job.error) == (state, code, True)


def test_the_wait_that_the_outside_asks_for_is_kept(task: Task) -> None:
    promises.promise([ReadIssue(reference="#1", attempt=0)], task=task, now=timezone.now())
    runner.run_due(queues=["effects"], tools=tools(Unavailable("slow down", retry_after=timedelta(hours=1))))
    assert Job.objects.get(verb="ReadIssue").run_at > timezone.now() + timedelta(minutes=59)
