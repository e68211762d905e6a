"""Rows to facts: everything a decision may know about a task, read in one transaction; of many tasks in as many queries as of one."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from django.db.models import BooleanField, ExpressionWrapper, F, Model, Q, QuerySet
from pydantic import TypeAdapter

from orchestrator.domain.issues import Standing
from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import (
    CheckFacts,
    CommentFacts,
    InterruptionFacts,
    IssueStanding,
    JobFacts,
    JobState,
    Memory,
    MessageFacts,
    Policy,
    Progress,
    PullFacts,
    RequestFacts,
    ReviewFacts,
    SessionFacts,
    Snapshot,
    TaskFacts,
    TurnEnd,
    TurnFacts,
)
from orchestrator.domain.status import Outcome
from orchestrator.models import (
    Check,
    Comment,
    Host,
    Interruption,
    Job,
    Message,
    Project,
    PullRequest,
    Reaction,
    Review,
    Session,
    Task,
    TrackedIssue,
    Turn,
)
from orchestrator.services import rules, spending, workflow_settings

PROGRESS = TypeAdapter(Progress)  # as it is kept in its task's row
RESUMES_WITH_WAITS = 8  # with waits that grow to five minutes that is some twenty minutes, and then a human is called

Row = TypeVar("Row", bound=Model)
Facts = TypeVar("Facts")


def take(task: Task, *, now: datetime) -> Snapshot:
    """The facts of a task as its rows say. The caller holds the task's lock."""
    return take_many([task], now=now)[task.pk]


def take_many(tasks: Sequence[Task], *, now: datetime) -> dict[int, Snapshot]:
    """The facts of each of these tasks, by its id. The caller holds their locks."""
    ids = [task.pk for task in tasks]
    rows = Session.objects.filter(task__in=ids)
    # Many sessions share few hosts and workflows: each of these is read once.
    rows = rows.prefetch_related("host", "workflow") if len(ids) > 1 else rows.select_related("host", "workflow")
    sessions = _newest(rows, "task_id", "epoch")
    turns = _newest(Turn.objects.filter(session__in=sessions.values()).defer("prompt"), "session_id", "n")
    pulls = _newest(PullRequest.objects.filter(task__in=ids).defer("body"), "task_id", "id")
    current = {task: session.pk for task, session in sessions.items()}
    on_pulls = _facts_of_pulls(pulls, current)
    messages, jobs, memory, asked = _messages(ids, current), _jobs(ids), _memory(ids), _interruptions(ids)
    issues = {row.task_id: row for row in TrackedIssue.objects.filter(task__in=ids)}
    spent = spending.of_tasks(tasks, now=now)
    held, secret = rules.rules_of(tasks), secrets.token_hex(8)
    found: dict[int, Snapshot] = {}
    for task in tasks:
        session = sessions.get(task.pk)
        turn = turns.get(session.pk) if session is not None else None
        found[task.pk] = Snapshot(
            now=now,
            nonce=f"{secret}.{task.pk}",
            task=_task(task, issues.get(task.pk)),
            policy=_policy(task.project, session),
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


def _newest(rows: QuerySet[Row], of: str, by: str) -> dict[int, Row]:
    """The last of each, by what it belongs to."""
    return {getattr(row, of): row for row in rows.order_by(of, f"-{by}").distinct(of)}


def _grouped(rows: Iterable[tuple[Any, ...]], read: Callable[..., Facts]) -> dict[int, list[Facts]]:
    """What was read of each row, by the row's first column."""
    found: dict[int, list[Facts]] = defaultdict(list)
    for of, *columns in rows:
        found[of].append(read(*columns))
    return found


def _policy(project: Project, session: Session | None) -> Policy:
    """The project's, with what the workflow says that the session began with."""
    policy = policy_of(project)
    if session is None or session.workflow is None:
        return policy
    workflow = workflow_settings.settings_of(session.workflow)
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


def _session(session: Session) -> SessionFacts:
    # An agent on this machine dies with it and nobody else can reach its workspace: it is never given up for a successor.
    remote = session.host.kind != Host.Kind.LOCAL
    return SessionFacts(
        id=session.pk,
        epoch=session.epoch,
        host=session.host.name,
        agent=session.agent,
        created_at=session.created_at,
        prepared=session.prepared_at is not None,
        ended=session.ended_at is not None,
        published_sha=session.published_sha or None,
        commits=session.commits,
        host_silent_since=session.host.seen_at if remote and session.host.silent_since is not None else None,
        end_reason=session.end_reason,
    )


def _turn(turn: Turn) -> TurnFacts:
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
    rows = Message.objects.filter(task__in=tasks).annotate(answering=answering).order_by("created_at")
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
    ) in rows.values_list(*_MESSAGE):
        found[task].append(
            MessageFacts(
                id=str(pk),
                session=session or 0,
                trigger=Trigger(trigger) if trigger else None,
                occasion=occasion,
                episode=episode,
                created_at=created_at,
                turn=_turn_of(turn, n, session, current.get(task)),
                confirmed=confirmed_at is not None,
                by_a_person=is_answer or key.startswith(Message.BY_A_PERSON),
                key=key,
            )
        )
    return found


def _turn_of(turn: int | None, n: int | None, session: int | None, current: int | None) -> int | None:
    """Turns are counted within a session: what an earlier one was told came before this one's first turn."""
    if turn is None:
        return None
    return n if session == current else 0


def _jobs(tasks: Sequence[int]) -> dict[int, list[JobFacts]]:
    rows = Job.objects.filter(task__in=tasks).order_by("id")
    found: dict[int, list[JobFacts]] = defaultdict(list)
    for task, key, state, code, error, claims, promised_at, settled_at in rows.values_list(
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
    rows = Reaction.objects.filter(task__in=tasks)
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

    return _grouped(rows.values_list(*columns), read)


def _interruptions(tasks: Sequence[int]) -> dict[int, list[InterruptionFacts]]:
    rows = Interruption.objects.filter(task__in=tasks).order_by("id")

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
    return _grouped(rows.values_list("task_id", *columns), read)


def _facts_of_pulls(pulls: dict[int, PullRequest], current: dict[int, int]) -> dict[int, PullFacts]:
    """The pull request of each task, with the newest run of each check at its head."""
    ids = [pull.pk for pull in pulls.values()]
    checks, reviews = _checks(ids), _reviews(ids)
    comments = _comments({pull.pk: current.get(task) for task, pull in pulls.items()})
    return {
        task: PullFacts(
            number=pull.number,
            url=pull.url,
            state=pull.state,
            head_sha=pull.head_sha,
            base_sha=pull.base_sha,
            head_since=pull.head_since,
            mergeable=pull.mergeable,
            conflict_files=tuple(pull.conflict_files),
            required_checks=tuple(pull.required_checks) if pull.required_checks is not None else None,
            checks=tuple({check.name: check for check in checks[pull.pk]}.values()),
            reviews=tuple(reviews[pull.pk]),
            comments=tuple(comments[pull.pk]),
            observed_at=pull.observed_at,
            merged_at=pull.merged_at,
        )
        for task, pull in pulls.items()
    }


def _checks(pulls: Sequence[int]) -> dict[int, list[CheckFacts]]:
    rows = Check.objects.filter(pull_request__in=pulls, head_sha=F("pull_request__head_sha")).order_by("name", "n")

    def read(pk: int, name: str, n: int, status: str, conclusion: str, failing_log: str, url: str) -> CheckFacts:
        return CheckFacts(
            id=pk, name=name, n=n, status=status, conclusion=conclusion or None, failing_log=failing_log, url=url
        )

    columns = ("pull_request_id", "id", "name", "n", "status", "conclusion", "failing_log", "url")
    return _grouped(rows.values_list(*columns), read)


def _reviews(pulls: Sequence[int]) -> dict[int, list[ReviewFacts]]:
    rows = Review.objects.filter(pull_request__in=pulls).order_by("submitted_at", "id")

    def read(
        pk: int,
        author: str,
        decision: str,
        head_sha: str,
        body: str,
        trusted: bool,
        bot: bool,
        message: Any,
        edits: int,
    ) -> ReviewFacts:
        return ReviewFacts(
            id=pk,
            author=author,
            decision=decision,
            head_sha=head_sha,
            body=body,
            trusted=trusted,
            bot=bot,
            told=message is not None,
            edits=edits,
        )

    columns = (
        "pull_request_id",
        "id",
        "author",
        "decision",
        "head_sha",
        "body",
        "trusted",
        "bot",
        "message_id",
        "edits",
    )
    return _grouped(rows.values_list(*columns), read)


def _comments(pulls: dict[int, int | None]) -> dict[int, list[CommentFacts]]:
    """The comments of pull requests, each with the session that works on it now."""
    rows = Comment.objects.filter(pull_request__in=pulls).select_related("message__turn").order_by("created_at", "id")
    found: dict[int, list[CommentFacts]] = defaultdict(list)
    for row in rows:
        told = row.message
        found[row.pull_request_id].append(
            CommentFacts(
                id=row.pk,
                thread=row.thread,
                author=row.author,
                body=row.body,
                path=row.path,
                line=row.line,
                resolved=row.resolved,
                trusted=row.trusted,
                bot=row.bot,
                ours=row.ours,
                told=row.message_id is not None,
                edits=row.edits,
                told_in=None
                if told is None or told.turn is None
                else _turn_of(told.turn_id, told.turn.n, told.session_id, pulls[row.pull_request_id]),
                told_at=told.turn.head_before if told is not None and told.turn is not None else "",
            )
        )
    return found
