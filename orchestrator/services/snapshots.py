"""Rows to facts: everything a decision may know about one task, read in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from pydantic import TypeAdapter

from orchestrator.domain.actions import CARRIED_OUT, Action
from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import (
    CheckFacts,
    CommentFacts,
    InterruptionFacts,
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
from orchestrator.models import Host, Message, Project, PullRequest, Session, Task, Turn
from orchestrator.services import rules, spending

PROGRESS = TypeAdapter(Progress)  # as it is kept in its task's row


def take(task: Task, *, now: datetime) -> Snapshot:
    """The facts of a task as its rows say. The caller holds the task's lock."""
    session = task.sessions.select_related("host").order_by("-epoch").first()
    turn = session.turns.order_by("-n").first() if session is not None else None
    pull = task.pull_requests.order_by("-id").first()
    spent = spending.of_tasks([task], now=now)[task.pk]
    return Snapshot(
        now=now,
        nonce=secrets.token_hex(8),
        task=_task(task),
        policy=policy_of(task.project),
        rules=rules.effective_rules(task.project),
        session=_session(session) if session is not None else None,
        turn=_turn(turn) if turn is not None else None,
        pull=_pull(pull, session) if pull is not None else None,
        messages=_messages(task, session),
        jobs={job.key: job for job in _jobs(task)},
        memory=_memory(task),
        interruptions=_interruptions(task),
        turns=spent.turns,
        budgets=spent.budgets,
        budget_told=spent.told,
    )


def again(before: Snapshot, task: Task, done: Iterable[Action]) -> Snapshot:
    """The facts after these actions were written down in the same transaction, under the same lock: jobs change nothing but the jobs."""
    if not all(isinstance(action, CARRIED_OUT) for action in done):
        return take(task, now=before.now)
    return replace(before, task=_task(task), jobs={job.key: job for job in _jobs(task)}, memory=_memory(task))


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


def _task(task: Task) -> TaskFacts:
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


def _messages(task: Task, session: Session | None) -> tuple[MessageFacts, ...]:
    current = session.pk if session is not None else None
    rows = task.messages.select_related("turn").only(
        "task_id",
        "session_id",
        "key",
        "trigger",
        "occasion",
        "episode",
        "created_at",
        "confirmed_at",
        "answers",
        "turn__n",
    )
    return tuple(
        MessageFacts(
            id=str(row.pk),
            session=row.session_id or 0,
            trigger=Trigger(row.trigger) if row.trigger else None,
            occasion=row.occasion,
            episode=row.episode,
            created_at=row.created_at,
            turn=_turn_of(row, current),
            confirmed=row.confirmed_at is not None,
            by_a_person=row.by_a_person,
        )
        for row in rows
    )


def _turn_of(message: Message | None, current: int | None) -> int | None:
    """Turns are counted within a session: what an earlier one was told came before this one's first turn."""
    if message is None or message.turn is None:
        return None
    return message.turn.n if message.session_id == current else 0


def _jobs(task: Task) -> list[JobFacts]:
    prefix = f"{task.pk}:"
    rows = task.jobs.values_list("key", "state", "code", "error", "claims", "created_at", "settled_at")
    return [
        JobFacts(
            key=key.removeprefix(prefix),
            state=JobState(state),
            code=code,
            error=error,
            attempts=claims,
            promised_at=promised_at,
            settled_at=settled_at,
        )
        for key, state, code, error, claims, promised_at, settled_at in rows
    ]


def _memory(task: Task) -> dict[Trigger, Memory]:
    return {
        Trigger(row.trigger): Memory(
            trigger=Trigger(row.trigger),
            episode=row.episode,
            held=row.held,
            since=row.since,
            deadline_at=row.deadline_at,
            escalated=row.escalated,
            attempt=row.attempt,
        )
        for row in task.reactions.all()
    }


def _interruptions(task: Task) -> tuple[InterruptionFacts, ...]:
    return tuple(
        InterruptionFacts(cause=row.cause, open=row.open, escalation=row.escalation)
        for row in task.interruptions.order_by("id")
    )


def _pull(pull: PullRequest, session: Session | None) -> PullFacts:
    newest = {check.name: check for check in pull.checks.filter(head_sha=pull.head_sha).order_by("name", "n")}
    return PullFacts(
        number=pull.number,
        url=pull.url,
        state=pull.state,
        head_sha=pull.head_sha,
        base_sha=pull.base_sha,
        head_since=pull.head_since,
        mergeable=pull.mergeable,
        conflict_files=tuple(pull.conflict_files),
        required_checks=tuple(pull.required_checks) if pull.required_checks is not None else None,
        checks=tuple(
            CheckFacts(
                id=check.pk,
                name=check.name,
                n=check.n,
                status=check.status,
                conclusion=check.conclusion or None,
                failing_log=check.failing_log,
                url=check.url,
            )
            for check in newest.values()
        ),
        reviews=_reviews(pull),
        comments=_comments(pull, session.pk if session is not None else None),
        observed_at=pull.observed_at,
        merged_at=pull.merged_at,
    )


def _reviews(pull: PullRequest) -> tuple[ReviewFacts, ...]:
    return tuple(
        ReviewFacts(
            id=review.pk,
            author=review.author,
            decision=review.decision,
            head_sha=review.head_sha,
            body=review.body,
            trusted=review.trusted,
            bot=review.bot,
            told=review.message_id is not None,
            edits=review.edits,
        )
        for review in pull.reviews.order_by("submitted_at", "id")
    )


def _comments(pull: PullRequest, current: int | None) -> tuple[CommentFacts, ...]:
    return tuple(
        CommentFacts(
            id=comment.pk,
            thread=comment.thread,
            author=comment.author,
            body=comment.body,
            path=comment.path,
            line=comment.line,
            resolved=comment.resolved,
            trusted=comment.trusted,
            bot=comment.bot,
            ours=comment.ours,
            told=comment.message_id is not None,
            edits=comment.edits,
            told_in=_turn_of(comment.message, current),
        )
        for comment in pull.comments.select_related("message__turn").order_by("created_at", "id")
    )
