"""Ask a tracker for the words of an issue."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils import timezone

from orchestrator.domain.actions import ReadIssue
from orchestrator.models import Task
from orchestrator.services import tasks
from workers.toolbox import Toolbox


def read_issue(action: ReadIssue, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """Refused code: `no-issue`."""
    project = Task.objects.select_related("project").get(pk=task_id).project
    found = tools.tracker(project).issue(action.reference)
    tasks.issue_read(task_id=task_id, found=found, now=timezone.now())
    return {"issue": found.url}
