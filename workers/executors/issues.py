"""Ask a tracker for the words of an issue."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils import timezone

from orchestrator.domain.actions import ReadIssue
from orchestrator.models import Session, Task, TrackedIssue
from orchestrator.ports import Unavailable
from orchestrator.services import tasks, workflow_settings
from orchestrator.services.workflows import tracking
from workers.issue_facts import facts_of, states_of_blockers
from workers.toolbox import Toolbox


def must_be_active(session: Session, tools: Toolbox) -> None:
    """Look at the issue once more before an agent is set to work on it: nothing is begun for one that was closed meanwhile. Raises
    `Unavailable` with the reason; the task is decided on anew."""
    tracked = TrackedIssue.objects.filter(task=session.task_id).first()
    # A machine that joined has no login at the tracker; the tracker is polled in any case.
    if tracked is None or session.workflow is None or tools.joined:
        return
    workflow = workflow_settings.settings_of(session.workflow)
    tracker = tools.tracker(session.task.project)
    found = tracker.refresh([tracked.issue])
    states = states_of_blockers(found, shown=found, refresh=tracker.refresh)
    facts = [facts_of(issue, states, chosen_by_label=any(workflow.required_labels)) for issue in found]
    why = tracking.refreshed(
        task_id=session.task_id, issue=facts[0] if facts else None, workflow=workflow, now=timezone.now()
    )
    if why:
        raise Unavailable(f"the issue {tracked} is not to be worked on: {why}")


def read_issue(action: ReadIssue, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """Refused code: `no-issue`."""
    project = Task.objects.select_related("project").get(pk=task_id).project
    found = tools.tracker(project).issue(action.reference)
    tasks.issue_read(task_id=task_id, found=found, now=timezone.now())
    return {"issue": found.url}
