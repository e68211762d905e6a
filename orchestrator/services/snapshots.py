"""Rows to facts: everything a decision may know about a task, read in one transaction; of many tasks in as many queries as of one."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from pydantic import TypeAdapter

from orchestrator.domain.issues import Standing
from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import (
    InterruptionFacts,
    IssueStanding,
    JobFacts,
    JobState,
    Memory,
    MessageFacts,
    Policy,
    Progress,
    RequestFacts,
    SessionFacts,
    Snapshot,
    TaskFacts,
    TurnEnd,
    TurnFacts,
)
from orchestrator.domain.status import Outcome
from orchestrator.models import (
    Host,
    Interruption,
    Job,
    Message,
    Project,
    PullRequest,
    Reaction,
    Session,
    Task,
    TrackedIssue,
    Turn,
    WorkflowVersion,
    rows,
)
from orchestrator.models.rows import among
from orchestrator.services import rules, spending, workflow_settings
from orchestrator.services.failures import PullRow
from orchestrator.services.pull_facts import facts_of_pulls, grouped, turn_of

PROGRESS = TypeAdapter(Progress)  # as it is kept in its task's row
RESUMES_WITH_WAITS = 8  # with waits that grow to five minutes that is some twenty minutes, and then a human is called

Row = TypeVar("Row", bound=NamedTuple)


class _SessionRow(NamedTuple):
    pk: int
    task_id: int
    epoch: int
    agent: str
    workflow_id: int | None
    prepared_at: datetime | None
    published_sha: str
    commits: int
    created_at: datetime
    ended_at: datetime | None
    end_reason: str
    host__name: str
    host__kind: str
    host__seen_at: datetime | None
    host__silent_since: datetime | None


class _TurnRow(NamedTuple):
    session_id: int
    n: int
    created_at: datetime
    started_at: datetime | None
    end: str
    progress_at: datetime
    published_at: datetime | None
    head_before: str
    head_after: str
    resumes: int
    detail: str
    ended_at: datetime | None
    journal_size: int
    last_words: str
    done_at: datetime | None
    request: dict[str, Any] | None


def take(task: Task, *, now: datetime) -> Snapshot:
    """The facts of a task as its rows say. The caller holds the task's lock."""
    return take_many([task], now=now)[task.pk]


def take_many(tasks: Sequence[Task], *, now: datetime) -> dict[int, Snapshot]:
    """The facts of each of these tasks, by its id. The caller holds their locks."""
    ids = [task.pk for task in tasks]
    sessions = _newest(Session.objects.filter(among("task", ids)), _SessionRow, "task_id", "epoch")
    current = {task: session.pk for task, session in sessions.items()}
    turns = _newest(Turn.objects.filter(among("session", current.values())), _TurnRow, "session_id", "n")
    pulls = _newest(PullRequest.objects.filter(among("task", ids)), PullRow, "task_id", "id")
    on_pulls = facts_of_pulls(pulls, current, now=now)
    messages, jobs, memory, asked = _messages(ids, current), _jobs(ids), _memory(ids), _interruptions(ids)
    issues = {row.task_id: row for row in TrackedIssue.objects.filter(among("task", ids))}
    spent = spending.of_tasks(tasks, now=now)
    held, secret = rules.rules_of(tasks), secrets.token_hex(8)
    policies = _policies(tasks, sessions)
    found: dict[int, Snapshot] = {}
    for task in tasks:
        session = sessions.get(task.pk)
        turn = turns.get(session.pk) if session is not None else None
        found[task.pk] = Snapshot(
            now=now,
            nonce=f"{secret}.{task.pk}",
            task=_task(task, issues.get(task.pk)),
            policy=policies[task.project_id, session.workflow_id if session is not None else None],
            rules=held[task.pk],
            session=_session(session) if session is not None else None,
            turn=_turn(turn) if turn is not None else None,
            pull=on_pulls.get(task.pk),
            messages=tuple(messages[task.pk]),
            jobs={job.key: job for job in jobs[task.pk]},
            memory={one.trigger: one for one in memory[task.pk]},
            interruptions=tuple(asked[task.pk]),
            turns=spent[task.pk].turns,
            budgets=spent[task.pk].budgets,
            budget_told=spent[task.pk].told,
        )
    return found


def _newest(found: QuerySet[Any], shape: type[Row], of: str, by: str) -> dict[int, Row]:
    """The last of each, by what it belongs to."""
    return {getattr(row, of): row for row in rows.read(found.order_by(of, f"-{by}").distinct(of), shape)}


def _policies(tasks: Sequence[Task], sessions: Mapping[int, _SessionRow]) -> dict[tuple[int, int | None], Policy]:
    """The policy of each project, and of each with what a workflow says that a session began with: many tasks share few."""
    workflows = {session.workflow_id for session in sessions.values() if session.workflow_id is not None}
    versions = WorkflowVersion.objects.in_bulk(workflows) if workflows else {}
    found: dict[tuple[int, int | None], Policy] = {}
    for task in tasks:
        session = sessions.get(task.pk)
        workflow = session.workflow_id if session is not None else None
        if (task.project_id, workflow) not in found:
            version = versions[workflow] if workflow is not None else None
            found[task.project_id, workflow] = _policy(task.project, version)
    return found


def _policy(project: Project, version: WorkflowVersion | None) -> Policy:
    """The project's, with what the workflow says."""
    policy = policy_of(project)
    if version is None:
        return policy
    workflow = workflow_settings.settings_of(version)
    return replace(
        policy,
        resumes=RESUMES_WITH_WAITS,
        longest_retry_wait=workflow.longest_retry_wait,
        max_turns=workflow.max_turns,
    )


def policy_of(project: Project) -> Policy:
    """What the project has settled about checks, approvals, merging and hosts."""
    scm = project.scm
    own = tuple(sorted(project.own_checks))
    required = scm.get("requiredChecks")
    if required is None and own:
        required = own
    return Policy(
        required_checks=tuple(required) if required is not None else None,
        own_checks=own,
        approvals=int(scm.get("requiredApprovals", 1)),
        answers_threads=scm.get("plugin", "local") != "local",
        auto_cleanup=project.auto_cleanup,
        cleanup_grace=project.cleanup_grace,
        reassign_after=project.reassign_after,
    )


def _task(task: Task, tracked: TrackedIssue | None) -> TaskFacts:
    return TaskFacts(
        id=task.pk,
        number=task.number,
        title=task.title,
        body=task.body,
        created_at=task.created_at,
        branch=task.branch,
        attempt=task.attempt,
        outcome=Outcome(task.outcome) if task.outcome else None,
        ended_at=task.ended_at,
        cancel_requested_at=task.cancel_requested_at,
        merge_requested=task.merge_requested,
        unread_issue=task.issue if task.issue_unread else "",
        waiting_for=task.waiting_for,
        paused=task.paused or task.project.paused,
        pause_reason=task.pause_reason if task.paused else "the project is paused" if task.project.paused else "",
        progress=PROGRESS.validate_python(task.progress) if task.progress else None,
        issue=_issue(tracked) if tracked is not None else None,
    )


def _issue(tracked: TrackedIssue) -> IssueStanding:
    return IssueStanding(
        identifier=str(tracked),
        state=str(tracked.facts.get("state", tracked.state)),
        standing=Standing(tracked.standing),
        since=tracked.standing_at,
        why=tracked.why,
    )


def _session(session: _SessionRow) -> SessionFacts:
    # An agent on this machine dies with it and nobody else can reach its workspace: it is never given up for a successor.
    remote = session.host__kind != Host.Kind.LOCAL
    return SessionFacts(
        id=session.pk,
        epoch=session.epoch,
        host=session.host__name,
        agent=session.agent,
        created_at=session.created_at,
        prepared=session.prepared_at is not None,
        ended=session.ended_at is not None,
        published_sha=session.published_sha or None,
        commits=session.commits,
        host_silent_since=session.host__seen_at if remote and session.host__silent_since is not None else None,
        end_reason=session.end_reason,
    )


def _turn(turn: _TurnRow) -> TurnFacts:
    asked = turn.request
    return TurnFacts(
        n=turn.n,
        created_at=turn.created_at,
        started=turn.started_at is not None,
        end=TurnEnd(turn.end) if turn.end else None,
        last_progress_at=turn.progress_at,
        published=turn.published_at is not None,
        produced=bool(turn.head_after) and turn.head_after != turn.head_before,
        resumes=turn.resumes,
        detail=turn.detail,
        ended_at=turn.ended_at,
        heard=turn.journal_size > 0,
        last_words=turn.last_words,
        done_at=turn.done_at,
        request=None
        if not asked
        else RequestFacts(
            id=asked["id"],
            kind=asked["kind"],
            question=asked["question"],
            asked_at=datetime.fromisoformat(asked["asked_at"]),
            answered="answer" in asked,
        ),
    )


_MESSAGE = (
    "task_id",
    "id",
    "session_id",
    "trigger",
    "occasion",
    "episode",
    "created_at",
    "turn_id",
    "turn__n",
    "confirmed_at",
    "answering",
    "key",
)


def _messages(tasks: Sequence[int], current: dict[int, int]) -> dict[int, list[MessageFacts]]:
    answering = ExpressionWrapper(Q(answers__isnull=False), output_field=BooleanField())
    told = Message.objects.filter(among("task", tasks)).annotate(answering=answering).order_by("created_at")
    found: dict[int, list[MessageFacts]] = defaultdict(list)
    for (
        task,
        pk,
        session,
        trigger,
        occasion,
        episode,
        created_at,
        turn,
        n,
        confirmed_at,
        is_answer,
        key,
    ) in told.values_list(*_MESSAGE):
        found[task].append(
            MessageFacts(
                id=str(pk),
                session=session or 0,
                trigger=Trigger(trigger) if trigger else None,
                occasion=occasion,
                episode=episode,
                created_at=created_at,
                turn=turn_of(turn, n, session, current.get(task)),
                confirmed=confirmed_at is not None,
                by_a_person=is_answer or key.startswith(Message.BY_A_PERSON),
                key=key,
            )
        )
    return found


def _jobs(tasks: Sequence[int]) -> dict[int, list[JobFacts]]:
    promised = Job.objects.filter(among("task", tasks)).order_by("id")
    found: dict[int, list[JobFacts]] = defaultdict(list)
    for task, key, state, code, error, claims, promised_at, settled_at in promised.values_list(
        "task_id", "key", "state", "code", "error", "claims", "created_at", "settled_at"
    ):
        found[task].append(
            JobFacts(
                key=key.removeprefix(f"{task}:"),
                state=JobState(state),
                code=code,
                error=error,
                attempts=claims,
                promised_at=promised_at,
                settled_at=settled_at,
            )
        )
    return found


def _memory(tasks: Sequence[int]) -> dict[int, list[Memory]]:
    remembered = Reaction.objects.filter(among("task", tasks))
    columns = ("task_id", "trigger", "episode", "held", "since", "deadline_at", "escalated", "attempt")

    def read(
        trigger: str, episode: int, held: bool, since: Any, deadline_at: Any, escalated: bool, attempt: int
    ) -> Memory:
        return Memory(
            trigger=Trigger(trigger),
            episode=episode,
            held=held,
            since=since,
            deadline_at=deadline_at,
            escalated=escalated,
            attempt=attempt,
        )

    return grouped(remembered.values_list(*columns), read)


def _interruptions(tasks: Sequence[int]) -> dict[int, list[InterruptionFacts]]:
    asked = Interruption.objects.filter(among("task", tasks)).order_by("id")

    def read(
        cause: str, escalation: bool, resolved_at: Any, acknowledged_at: Any, cleared_at: Any, snoozed_until: Any
    ) -> InterruptionFacts:
        return InterruptionFacts(
            cause=cause,
            open=resolved_at is None and cleared_at is None,
            escalation=escalation,
            gone=resolved_at is None and cleared_at is not None,
            calls=resolved_at is None and acknowledged_at is None and snoozed_until is None,
        )

    columns = ("cause", "escalation", "resolved_at", "acknowledged_at", "cleared_at", "snoozed_until")
    return grouped(asked.values_list("task_id", *columns), read)
