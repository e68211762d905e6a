"""Issues as the source of tasks: what a tracker showed becomes tasks, each issue once, and decides about those that are under way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from pydantic import TypeAdapter

from orchestrator import doorbell
from orchestrator.domain.issues import IssueFacts, Standing, Wanted, standing_of, state_of, to_dispatch, why_not
from orchestrator.domain.prompts import one_line
from orchestrator.domain.workflow import Workflow
from orchestrator.models import Message, Project, ProjectWorkflow, PullRequest, Session, Task, TrackedIssue
from orchestrator.services import events, tasks, workflow_settings
from orchestrator.services.events import Actor

_FACTS = TypeAdapter(IssueFacts)
_WORDS = "The issue is to be worked on again. Go on with the task where you were."


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """A look at one tracker that is due, and ours alone to take. `open_ones` are the issues of tasks that have not ended."""

    project: Project
    workflow: Workflow
    open_ones: tuple[str, ...]

    @property
    def wanted(self) -> Wanted:
        return wanted_by(self.workflow)


def wanted_by(workflow: Workflow) -> Wanted:
    """Which issues a workflow works on."""
    return Wanted(
        required_labels=workflow.required_labels,
        active_states=workflow.active_states,
        terminal_states=workflow.terminal_states,
    )


def due(*, now: datetime) -> list[Poll]:
    """The looks that are due. Each is handed out once: whoever comes at the same moment finds the next one's time."""
    taken = []
    for row in ProjectWorkflow.objects.due(now).select_related("project", "current"):
        workflow = workflow_settings.settings_of(row.current) if row.current is not None else None
        if workflow is None or not workflow.polls:
            ProjectWorkflow.objects.filter(pk=row.pk).update(poll_at=None)
        elif ProjectWorkflow.objects.filter(pk=row.pk, poll_at=row.poll_at).update(poll_at=now + workflow.poll_every):
            mine = TrackedIssue.objects.filter(project=row.project, task__outcome="").order_by("pk")
            taken.append(
                Poll(project=row.project, workflow=workflow, open_ones=tuple(mine.values_list("issue", flat=True)))
            )
    return taken


@transaction.atomic
def seen(
    *,
    poll: Poll,
    candidates: Sequence[IssueFacts],
    refreshed: Sequence[IssueFacts],
    now: datetime,
    problem: str = "",
) -> list[int]:
    """What a look showed: first what it means for tasks that are under way, then the tasks that are new, in order. `problem`: nothing new is
    begun, and why. Answers the tasks on which there is something to decide."""
    row = ProjectWorkflow.objects.select_for_update(of=("self",)).get(project=poll.project)
    shown = {issue.id: issue for issue in (*candidates, *refreshed)}
    moved = [
        task_id
        for tracked in TrackedIssue.objects.select_for_update(of=("self",))
        .filter(project=poll.project, task__outcome="")
        .order_by("task_id")
        if (task_id := _reconcile(tracked, shown.get(tracked.issue), poll, now=now)) is not None
    ]
    begun = [] if problem else _begin(candidates, poll, now=now)
    row.polled_at, row.poll_error = now, problem
    row.save(update_fields=["polled_at", "poll_error"])
    return [*moved, *begun]


@transaction.atomic
def not_seen(*, project: Project, error: str, retry_at: datetime | None) -> None:
    """A look failed: what is under way goes on, and the project says why nothing new comes."""
    row = ProjectWorkflow.objects.filter(project=project)
    row.update(poll_error=error, **({"poll_at": retry_at} if retry_at is not None else {}))


@transaction.atomic
def refreshed(*, task_id: int, issue: IssueFacts | None, workflow: Workflow, now: datetime) -> str:
    """One issue, looked at right before its agent is set to work. Answers why it must not be; empty: nothing stands in the way."""
    tracked = TrackedIssue.objects.select_for_update(of=("self",)).select_related("project").get(task_id=task_id)
    poll = Poll(project=tracked.project, workflow=workflow, open_ones=(tracked.issue,))
    _reconcile(tracked, issue, poll, now=now)
    tracked.refresh_from_db()
    return "" if tracked.standing == Standing.ACTIVE else tracked.why


def facts_of(tracked: TrackedIssue) -> IssueFacts:
    """The issue as its tracker showed it last."""
    return _FACTS.validate_python(tracked.facts)


def _stored(issue: IssueFacts) -> dict[str, Any]:
    return dict(_FACTS.dump_python(issue, mode="json"))


def _reconcile(tracked: TrackedIssue, issue: IssueFacts | None, poll: Poll, *, now: datetime) -> int | None:
    """Keep what is known of an issue; the task's id where its standing has changed."""
    standing, why = _standing(issue, poll.wanted)
    if issue is not None:
        tracked.facts, tracked.state = _stored(issue), state_of(issue.state)[:100]
    changed = (standing, why) != (tracked.standing, tracked.why)
    tracked.seen_at = now
    if changed:
        # The task's row is locked before those of its messages and pull requests.
        Task.objects.filter(pk=tracked.task_id).update(wake_at=now)
        if standing is not tracked.standing:
            tracked.standing_at, tracked.changes = now, tracked.changes + 1
        tracked.standing, tracked.why = standing, why
    tracked.save()
    if not changed:
        return None
    _tell(tracked, now=now)
    return tracked.task_id


def _standing(issue: IssueFacts | None, wanted: Wanted) -> tuple[Standing, str]:
    if issue is None:
        return Standing.GONE, "its tracker does not show it any more"
    return standing_of(issue, wanted), why_not(issue, wanted)


def _tell(tracked: TrackedIssue, *, now: datetime) -> None:
    """History, a look at the pull request that may have closed the issue, and words for an agent that goes on."""
    told = f"the issue {tracked} is {tracked.standing}{f': {tracked.why}' if tracked.why else ''}"
    events.record(kind="issue.seen", text=told, task=tracked.task, at=now, data={"standing": tracked.standing})
    if tracked.standing == Standing.OVER:
        PullRequest.objects.filter(task=tracked.task_id, state="open").update(poll_at=now)
    session = Session.objects.live().filter(task=tracked.task_id, prepared_at__isnull=False).first()
    if tracked.standing == Standing.ACTIVE and session is not None and session.turns.exists():
        key = f"issue:active:{tracked.changes}"
        defaults = {"session": session, "occasion": key, "text": _WORDS}
        Message.objects.get_or_create(task=tracked.task, key=key, defaults=defaults)


def _begin(candidates: Iterable[IssueFacts], poll: Poll, *, now: datetime) -> list[int]:
    """A task for each issue that may be begun and has none."""
    known = set(TrackedIssue.objects.filter(project=poll.project).values_list("issue", flat=True))
    begun = []
    for issue in to_dispatch(candidates, poll.wanted, claimed=known):
        task, new = tasks.submit(
            project=poll.project,
            title=one_line(issue.title)[: tasks.TITLE_LENGTH] or f"Issue {issue.identifier}",
            body=issue.description[: tasks.TEXT_LENGTH],
            priority=_priority(issue),
            labels=[label[:60] for label in issue.labels if not label.startswith("host:")],
            idempotency_key=f"issue:{issue.id}",
            actor=Actor(name=f"the tracker of {poll.project}", at=now),
        )
        if new:
            Task.objects.filter(pk=task.pk).update(issue=issue.identifier[:200])
        _track(issue, task, now=now)
        begun.append(task.pk)
    if begun:
        doorbell.ring("place_tasks", queue_name="control")
    return begun


def _priority(issue: IssueFacts) -> int:
    """1 is the first, and a task's higher number goes first."""
    return 5 - issue.priority if issue.priority in {1, 2, 3, 4} else 0


def _track(issue: IssueFacts, task: Task, *, now: datetime) -> None:
    TrackedIssue.objects.create(
        project=task.project,
        task=task,
        issue=issue.id,
        facts=_stored(issue),
        state=state_of(issue.state)[:100],
        standing_at=now,
        seen_at=now,
    )


def as_shown(tracked: TrackedIssue) -> Mapping[str, Any]:
    """The fields of an issue, for programs."""
    return asdict(facts_of(tracked))
