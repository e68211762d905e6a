"""Hosts and who works on them: placement, and the sessions that it makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Window
from django.db.models.functions import RowNumber

from orchestrator import doorbell
from orchestrator.domain.budgets import BudgetFacts, limits_of, used_up
from orchestrator.domain.issues import Standing
from orchestrator.domain.placement import HostRoom, ProjectRoom, Waiting, place
from orchestrator.domain.prompts import task_prompt
from orchestrator.domain.rules import Trigger, effective, pauses
from orchestrator.domain.snapshot import JobState
from orchestrator.models import Host, Job, Message, Project, Session, Task
from orchestrator.services import events, rules, spending, workflow_settings

_DISPATCHER = 0x616F_0001  # the advisory lock of the one dispatcher at a time
BATCH = 200  # gated tasks that are explained in one go
PER_PROJECT = 50  # tasks of one project that are placed in one go
LOST = "the host "  # how the reason of a session begins that was given up with its host
_FULFILLED = ("merged", "done")


def waiting_tasks() -> QuerySet[Task]:
    """Accepted, not ended and without a live session: what placement is for."""
    live = Session.objects.live().filter(task=OuterRef("pk"))
    return Task.objects.filter(~Exists(live), outcome="", cancel_requested_at__isnull=True)


@transaction.atomic
def dispatch(*, now: datetime) -> list[int]:
    """Place waiting tasks on hosts and answer the ids of those that were placed. One dispatcher at a time: limits are exact."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '5s'; SET LOCAL idle_in_transaction_session_timeout = '10s'")
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_DISPATCHER])
        if not cursor.fetchone()[0]:
            return []
    spent = _spent(now)
    for task in _gated(spent):
        _explain(task, _gate(task, spent), now=now)
    tasks = _candidates(spent)
    if not tasks:
        return []
    held_by = _used_up(tasks, now)
    waiting = [_waiting(task, held_by=held_by.get(task.pk, "")) for task in tasks]
    placed = place(waiting, _hosts(), _projects({task.project_id for task in tasks}))
    by_id = {task.pk: task for task in tasks}
    for placement in placed.placements:
        begin_session(task=by_id[placement.task], host_id=placement.host, now=now)
    for task_id, reason in placed.reasons.items():
        _explain(by_id[task_id], reason, now=now)
    if placed.placements and len(tasks) >= PER_PROJECT:
        doorbell.ring("place_tasks", queue_name="control")
    return [placement.task for placement in placed.placements]


def _spent(now: datetime) -> dict[int, str]:
    """The projects that may use no more, and why, where they have waiting tasks and their rule is to pause."""
    waiting = Project.objects.exclude(budget={}).filter(Exists(waiting_tasks().filter(project=OuterRef("pk"))))
    reasons = {project.pk: _reason(project, spending.of_project(project, now=now)) for project in waiting}
    return {project: reason for project, reason in reasons.items() if reason}


def _used_up(tasks: Sequence[Task], now: datetime) -> dict[int, str]:
    """Which of these tasks may use no more, and why: their own budgets too, with what people allowed them on top."""
    limited = {task.pk: task for task in tasks if task.project.budget}
    found = spending.budgets_of(list(limited.values()), now=now) if limited else {}
    return {pk: _reason(limited[pk].project, budgets) for pk, budgets in found.items()}


def _reason(project: Project, budgets: Sequence[BudgetFacts]) -> str:
    over = [budget for budget in budgets if used_up(budget)]
    if not over or not pauses(effective(Trigger.BUDGET_EXCEEDED, rules.overrides_for(project))):
        return ""
    return f"its budget is used up ({limits_of(over)}): raise it, or resume the task for as much again"


def _gates(spent: Collection[int]) -> Q:
    """What keeps a waiting task from being placed at all, whatever room there is."""
    needed = Task.depends_on.through.objects.filter(from_task=OuterRef("pk"))
    leaving = Job.objects.filter(
        task=OuterRef("pk"), verb="EndSession", state__in=[JobState.PROMISED, JobState.CLAIMED]
    )
    return (
        Q(paused=True)
        | Q(project__paused=True)
        | Q(project__base_sha="")
        | Q(issue_unread=True)
        | Q(tracked__isnull=False) & ~Q(tracked__standing=Standing.ACTIVE)
        | Q(project__in=spent, budget_waived={})
        | Exists(needed.exclude(to_task__outcome__in=_FULFILLED))
        # The agent of an earlier session may be alive until its end was carried out; one on a lost host was given up by its deadline.
        | Exists(leaving.exclude(session__host__silent_since__isnull=False, session__end_reason__startswith=LOST))
    )


def _candidates(spent: Collection[int]) -> list[Task]:
    """The first of each project, so that a long queue of one project does not hide the others'."""
    place_in_queue = Window(RowNumber(), partition_by="project", order_by=[F("priority").desc(), F("id").asc()])
    free = waiting_tasks().exclude(_gates(spent)).annotate(place_in_queue=place_in_queue)
    first = (
        free.filter(place_in_queue__lte=PER_PROJECT).select_related("project", "tracked").prefetch_related("sessions")
    )
    return list(first.order_by("-priority", "id"))


def _gated(spent: Collection[int]) -> list[Task]:
    """Those that wait for something else than room; who was told nothing yet comes first."""
    gated = waiting_tasks().filter(_gates(spent)).select_related("project", "tracked")
    told = gated.prefetch_related("depends_on__project", "sessions").order_by("waiting_for", "id")
    return list(told[:BATCH])


def _gate(task: Task, spent: Mapping[int, str]) -> str:
    open_ones = [one for one in task.depends_on.all() if one.outcome not in _FULFILLED]
    if task.project.paused or task.paused:
        return "the project is paused" if task.project.paused else task.pause_reason or "the task is paused"
    if open_ones:
        return f"waits for {', '.join(str(one) for one in open_ones[:3])}"
    if not task.project.base_sha:
        return task.project.notice or "the repository is being fetched"
    if hasattr(task, "tracked") and task.tracked.standing != Standing.ACTIVE:
        return f"its issue {task.tracked} is not worked on: {task.tracked.why}"
    if task.issue_unread:
        return f"the issue {task.issue} is being read"
    if task.project_id in spent and not task.budget_waived:
        return spent[task.project_id]
    return "its last session is being ended"


def _waiting(task: Task, *, held_by: str) -> Waiting:
    return Waiting(
        task=task.pk,
        project=task.project_id,
        priority=task.priority,
        agent=task.agent,
        held_by=held_by,
        labels=frozenset(label.removeprefix("host:") for label in task.labels if label.startswith("host:")),
        avoid=frozenset(session.host_id for session in task.sessions.all()),
        state=task.tracked.state if hasattr(task, "tracked") else "",
    )


def _hosts() -> list[HostRoom]:
    live = Counter(Session.objects.live().values_list("host_id", flat=True))
    return [
        HostRoom(
            id=row.pk,
            name=row.name,
            capacity=row.capacity,
            live=live[row.pk],
            labels=frozenset([row.name, *row.labels]),
            draining=row.draining,
            # Before its first look nobody knows what its sandboxes can do.
            reachable=row.seen_at is not None and row.silent_since is None,
        )
        for row in Host.objects.present()
    ]


def _projects(ids: set[int]) -> dict[int, ProjectRoom]:
    states: dict[int, list[str]] = {pk: [] for pk in ids}
    for pk, state in (
        Session.objects.live().filter(task__project__in=ids).values_list("task__project_id", "task__tracked__state")
    ):
        states[pk].append(state or "")
    return {row.pk: _room(row, states[row.pk]) for row in Project.objects.filter(pk__in=ids)}


def _room(project: Project, states: Sequence[str]) -> ProjectRoom:
    """The project's own limit, and those of its workflow."""
    version = workflow_settings.current_version(project)
    if version is None:
        return ProjectRoom(limit=project.max_sessions, live=len(states))
    workflow = workflow_settings.settings_of(version)
    return ProjectRoom(
        limit=min(project.max_sessions, workflow.max_concurrent_agents),
        live=len(states),
        by_state=workflow.max_by_state,
        live_states=tuple(states),
    )


def _explain(task: Task, reason: str, *, now: datetime) -> None:
    if task.waiting_for != reason:
        Task.objects.filter(pk=task.pk).update(waiting_for=reason)
        events.look_again(task_id=task.pk, at=now)


def begin_session(*, task: Task, host_id: int, now: datetime) -> Session:
    """A session with the next epoch, and the words that it is told first. The caller holds the dispatcher's lock."""
    earlier = max(task.sessions.all(), key=lambda session: session.epoch, default=None)
    epoch = earlier.epoch + 1 if earlier is not None else 1
    session = Session.objects.create(
        task=task,
        epoch=epoch,
        host_id=host_id,
        agent=task.agent,
        published_sha=earlier.published_sha if earlier is not None else "",
        commits=earlier.commits if earlier is not None else 0,
    )
    version = workflow_settings.current_version(task.project)
    Session.objects.filter(pk=session.pk).update(workflow=version)
    # Where a workflow has a template, it is rendered when the workspace is made: what is wrong with it is the session's, and nobody else's.
    if version is None or not workflow_settings.settings_of(version).prompt:
        _tell_task(task, session, history=history_of(task) if earlier is not None else "")
    # What nobody had been told yet is told to the successor; a turn that never started told nobody.
    untold = (
        Message.objects.filter(task=task).exclude(session=session).exclude(occasion="task", key__startswith="task:")
    )
    untold.filter(Q(turn__isnull=True) | Q(turn__started_at__isnull=True)).update(session=session, turn=None)
    if earlier is not None:
        # The first words of an earlier session are said anew in the successor's own.
        Message.objects.filter(task=task, key__startswith="task:", turn__isnull=True).exclude(session=session).delete()
    # No bell: the dispatcher takes the first step by itself, and the sweep does it where the dispatcher dies before.
    Task.objects.filter(pk=task.pk).update(waiting_for="", wake_at=now)
    events.record(kind="session.placed", text=f"placed on {session.host.name} (epoch {epoch})", task=task, at=now)
    return session


def _tell_task(task: Task, session: Session, *, history: str) -> None:
    project = task.project
    text = task_prompt(
        title=task.title,
        body=task.body,
        rules=project.agent_rules,
        rules_file=project.agent_rules_file,
        branch=task.branch,
        base=project.default_branch,
        history=history,
    )
    Message.objects.create(task=task, session=session, key=f"task:{session.pk}", occasion="task", text=text)


def history_of(task: Task) -> str:
    """What has happened so far, for a session that goes on where another one began."""
    lines: Sequence[str] = list(
        task.events.filter(kind__in=["turn.ended", "message.sent", "publish.done"]).values_list("text", flat=True)
    )
    return "\n".join(lines[-20:])
