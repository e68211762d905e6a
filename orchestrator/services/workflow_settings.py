"""What the workflow of a project says, for those who decide and place: the settings as they were read when the version was taken."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from orchestrator.domain.workflow import Workflow
from orchestrator.models import Project, ProjectWorkflow, WorkflowVersion

_WORKFLOW = TypeAdapter(Workflow)


def stored(workflow: Workflow) -> dict[str, Any]:
    """The settings as a version keeps them; references to secrets stay unread."""
    return dict(_WORKFLOW.dump_python(workflow, mode="json"))


def settings_of(version: WorkflowVersion) -> Workflow:
    """What a version says."""
    return _WORKFLOW.validate_python(version.settings)


def current_version(project: Project) -> WorkflowVersion | None:
    """The version that new sessions begin with."""
    row = ProjectWorkflow.objects.filter(project=project).select_related("current").first()
    return row.current if row is not None else None
