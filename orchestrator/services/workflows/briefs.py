"""What a session is told first, where the project has a workflow: its template over the issue, and what holds here."""

from __future__ import annotations

import secrets

from django.db import transaction

from orchestrator.domain.issues import IssueFacts
from orchestrator.domain.prompts import workflow_prompt
from orchestrator.models import Message, Session, Task, TrackedIssue
from orchestrator.services import workflow_settings
from orchestrator.services.workflows import prompt
from orchestrator.services.workflows.tracking import facts_of


@transaction.atomic
def write(*, session_id: int, history: str) -> None:
    """Record the first words of a session, once. A session that has had no turn is told by the version that holds now. Raises
    `WorkflowRefused`: `template_render_error`."""
    session = (
        Session.objects.select_related("task__project", "workflow").select_for_update(of=("self",)).get(pk=session_id)
    )
    key = f"task:{session.pk}"
    if session.workflow is None or Message.objects.filter(task=session.task, key=key).exists():
        return
    newest = workflow_settings.current_version(session.task.project)
    if newest is not None and newest.pk != session.workflow.pk:
        session.workflow = newest
        session.save(update_fields=["workflow"])
    rendered = prompt.render(
        workflow_settings.settings_of(session.workflow).prompt,
        issue=prompt.variables(issue_of(session.task), nonce=secrets.token_hex(8)),
        attempt=attempt_of(session),
    )
    project = session.task.project
    text = workflow_prompt(
        rendered=rendered,
        rules=project.agent_rules,
        rules_file=project.agent_rules_file,
        branch=session.task.branch,
        base=project.default_branch,
        history=history,
    )
    Message.objects.create(task=session.task, session=session, key=key, occasion="task", text=text)


def attempt_of(session: Session) -> int | None:
    """None for the first session of a task, then how many there were before it."""
    earlier = Session.objects.filter(task=session.task, epoch__lt=session.epoch).count()
    return earlier or None


def issue_of(task: Task) -> IssueFacts:
    """The issue that the task was made of; one that was handed in otherwise is its own."""
    tracked = TrackedIssue.objects.filter(task=task).first()
    if tracked is not None:
        return facts_of(tracked)
    return IssueFacts(
        id=str(task.pk),
        identifier=task.issue or str(task),
        title=task.title,
        state="open",
        description=task.body,
        branch_name=task.branch,
        labels=tuple(task.labels),
        created_at=task.created_at,
        updated_at=task.updated_at,
    )
