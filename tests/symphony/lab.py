"""Workflows in a lab: files as teams have them, and a GitHub whose issues become tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from orchestrator.domain.issues import IssueFacts
from orchestrator.models import Project, ProjectWorkflow, Task, TrackedIssue
from orchestrator.services import workflow_settings
from orchestrator.services.events import Actor
from orchestrator.services.workflows import tracking, versions
from orchestrator.services.workflows.tracking import Poll
from tests.github.lab import REVIEWER, GitHubLab, github_lab
from workers import issue_polls

PROMPT = "Work on {{ issue.identifier }}: {{ issue.title }}{% if attempt %} (attempt {{ attempt }}){% endif %}"
AT = datetime(2030, 1, 1, tzinfo=UTC)


def workflow(front: str = "", prompt: str = PROMPT) -> str:
    """A file with these lines as its front matter."""
    return f"---\n{front.strip()}\n---\n\n{prompt}\n"


def apply(project: Project, front: str = "", prompt: str = PROMPT) -> None:
    """Somebody applies a workflow."""
    versions.apply(project=project, text=workflow(front, prompt), env={}, actor=Actor(name="ada", at=timezone.now()))


def script(does: str) -> dict[str, object]:
    """The project's agent: a shell script that repeats what it is told and then does this."""
    return {"agent_config": {"command": ["/bin/sh", "-c", f"cat; echo\n{does}"]}}


def issue(number: int = 7, **more: Any) -> IssueFacts:
    """An issue as a tracker shows it."""
    usual = {"id": str(number), "identifier": f"#{number}", "title": f"Fix {number}", "state": "open", "created_at": AT}
    return IssueFacts(**{**usual, **more})


def github_project(front: str = "") -> Project:
    """A project on GitHub with a workflow, in the database alone."""
    made = Project.objects.create(
        key="app",
        name="app",
        remote="https://github.com/acme/app.git",
        default_branch="main",
        session_prefix="app",
        agent="command",
        scm={"plugin": "github"},
        base_sha="b" * 40,
    )
    apply(made, f"tracker: {{kind: github}}\n{front}")
    return made


def seen(project: Project, *issues: IssueFacts, refreshed: tuple[IssueFacts, ...] = (), problem: str = "") -> list[int]:
    """What a look at the tracker comes to."""
    version = workflow_settings.current_version(project)
    assert version is not None
    look = Poll(project=project, workflow=workflow_settings.settings_of(version), open_ones=())
    return tracking.seen(poll=look, candidates=issues, refreshed=refreshed, now=timezone.now(), problem=problem)


@contextmanager
def tracked_lab(does: str, front: str = "", prompt: str = PROMPT) -> Iterator[GitHubLab]:
    """A project on GitHub whose open issues become tasks."""
    with github_lab(**script(does)) as lab:
        apply(lab.here.project, f"tracker: {{kind: github}}\n{front}", prompt)
        yield lab


def poll(lab: GitHubLab) -> int:
    """Ask the tracker now."""
    ProjectWorkflow.objects.update(poll_at=timezone.now())
    return issue_polls.poll_due(lab.here.tools)


def begun(lab: GitHubLab, title: str = "Fix it", **more: Any) -> Task:
    """An issue of somebody who may write, and the task that it became."""
    opened = lab.github.world.open_issue(REVIEWER, title, **more)
    poll(lab)
    return task_of(opened.number)


def close(lab: GitHubLab, task: Task) -> None:
    """Somebody closes the issue of a task, and the tracker is asked."""
    lab.github.world.issues[int(task.tracked.issue)].state = "closed"
    poll(lab)


def task_of(number: int) -> Task:
    """The task that was made of an issue."""
    return TrackedIssue.objects.select_related("task__project").get(issue=str(number)).task
