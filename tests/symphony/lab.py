"""Workflows in a lab: files as teams have them, and a GitHub whose issues become tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.utils import timezone

from orchestrator.models import Project, ProjectWorkflow, Task, TrackedIssue
from orchestrator.services.events import Actor
from orchestrator.services.workflows import versions
from tests.github.lab import GitHubLab, github_lab
from workers import issue_polls

PROMPT = "Work on {{ issue.identifier }}: {{ issue.title }}{% if attempt %} (attempt {{ attempt }}){% endif %}"


def workflow(front: str = "", prompt: str = PROMPT) -> str:
    """A file with these lines as its front matter."""
    return f"---\n{front.strip()}\n---\n\n{prompt}\n"


def apply(project: Project, front: str = "", prompt: str = PROMPT) -> None:
    """Somebody applies a workflow."""
    versions.apply(project=project, text=workflow(front, prompt), env={}, actor=Actor(name="ada", at=timezone.now()))


def script(does: str) -> dict[str, object]:
    """The project's agent: a shell script that repeats what it is told and then does this."""
    return {"agent_config": {"command": ["/bin/sh", "-c", f"cat; echo\n{does}"]}}


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


def task_of(number: int) -> Task:
    """The task that was made of an issue."""
    return TrackedIssue.objects.select_related("task__project").get(issue=str(number)).task
