"""From the text of a `WORKFLOW.md` to its settings: the front matter by the reader of our own file, the body as a template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.domain.workflow import Workflow, WorkflowFault, WorkflowRefused, workflow_of
from orchestrator.services.configuration.file import without_nulls
from orchestrator.services.configuration.problems import ConfigRefused
from orchestrator.services.configuration.yaml import parse
from orchestrator.services.workflows import prompt

_FENCE = "---"


def read(text: str, *, path: str = "WORKFLOW.md") -> Workflow:
    """The workflow that a file says. Raises `WorkflowRefused` with the class of what is wrong."""
    front, body = _parts(text)
    settings = _front_matter(front, path) if front is not None else {}
    workflow = workflow_of(settings, body)
    prompt.check(workflow.prompt)
    return workflow


def says_workflow(text: str) -> bool:
    """Whether a file called so is meant for us: a repository may have a page of that name about something else."""
    try:
        front, _ = _parts(text)
        settings = _front_matter(front, "WORKFLOW.md") if front is not None else {}
    except WorkflowRefused:
        return True  # it has a front matter, and something is wrong with it, which somebody should know
    return bool(settings.keys() & {"tracker", "polling", "workspace", "hooks", "agent", "codex"})


def _parts(text: str) -> tuple[str | None, str]:
    """The front matter, with its lines where they stand in the file, and the body. No front matter: all of it is the prompt."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    if lines[0].rstrip() != _FENCE:
        return None, "\n".join(lines)
    ends = [place for place, line in enumerate(lines) if place and line.rstrip() == _FENCE]
    if not ends:
        raise WorkflowRefused(
            WorkflowFault.PARSE, "the front matter has no end: write --- on a line of its own below it"
        )
    return "\n".join(["", *lines[1 : ends[0]]]), "\n".join(lines[ends[0] + 1 :])


def _front_matter(front: str, path: str) -> Mapping[str, Any]:
    try:
        value = without_nulls(parse(text=front, path=path).value)
    except ConfigRefused as refused:
        raise WorkflowRefused(WorkflowFault.PARSE, str(refused)) from refused
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise WorkflowRefused(
            WorkflowFault.NOT_A_MAP, f"{path}: the front matter is {type(value).__name__}: write keys and values"
        )
    return value
