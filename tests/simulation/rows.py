"""The database, in memory: the rows that decisions are made of, with the same unique keys, and the snapshot that is taken from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from orchestrator.domain.actions import Action
from orchestrator.domain.rules import Rule, Trigger
from orchestrator.domain.snapshot import (
    InterruptionFacts,
    JobFacts,
    JobState,
    Memory,
    MessageFacts,
    Policy,
    PullFacts,
    RequestFacts,
    SessionFacts,
    Snapshot,
    TaskFacts,
    TurnEnd,
    TurnFacts,
)
from orchestrator.domain.status import Outcome, TaskStatus

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def seconds(moment: datetime) -> float:
    return (moment - EPOCH).total_seconds()


@dataclass(slots=True, kw_only=True)
class MessageRow:
    id: str
    key: str
    session: int | None
    trigger: Trigger | None
    occasion: str
    episode: int
    attempt: int
    created_at: float
    turn: tuple[int, int] | None = None  # session and number
    confirmed: bool = False

    @property
    def by_a_person(self) -> bool:
        return self.key.startswith(("person:", "answer:"))


@dataclass(slots=True, kw_only=True)
class JobRow:
    key: str
    action: Action
    session: int | None
    state: JobState = JobState.PROMISED
    run_at: float = 0.0
    attempts: int = 0
    claims: int = 0
    lease_until: float = 0.0
    code: str = ""
    settled_at: float | None = None


@dataclass(slots=True, kw_only=True)
class TurnRow:
    n: int
    created_at: float
    resumes: int
    progress_at: float
    started: bool = False
    end: TurnEnd | None = None
    published: bool = False
    produced: bool = False
    request: RequestFacts | None = None
    done_at: float | None = None

    def facts(self) -> TurnFacts:
        return TurnFacts(
            n=self.n,
            created_at=at(self.created_at),
            started=self.started,
            end=self.end,
            last_progress_at=at(self.progress_at),
            published=self.published,
            produced=self.produced,
            resumes=self.resumes,
            request=self.request,
            done_at=at(self.done_at) if self.done_at is not None else None,
        )


@dataclass(slots=True, kw_only=True)
class SessionRow:
    id: int
    epoch: int
    host: int
    created_at: float
    prepared: bool = False
    ended: bool = False
    restarted: bool = False  # ended by a person while its host may still run it
    published_sha: str = ""
    commits: int = 0
    turns: list[TurnRow] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class AskedRow:
    cause: str
    escalation: bool
    asked_at: float
    open: bool = True


@dataclass(slots=True, kw_only=True)
class TaskRow:
    id: int
    branch: str
    created_at: float
    attempt: int = 0
    outcome: Outcome | None = None
    ended_at: float | None = None
    cancel_requested_at: float | None = None
    merge_requested: str = ""
    waiting_for: str = ""
    paused: bool = False
    status: TaskStatus = TaskStatus.QUEUED
    reason: str = ""
    wake_at: float | None = 0.0
    sessions: list[SessionRow] = field(default_factory=list)
    messages: dict[str, MessageRow] = field(default_factory=dict)
    jobs: dict[str, JobRow] = field(default_factory=dict)
    memory: dict[Trigger, Memory] = field(default_factory=dict)
    asked: dict[str, AskedRow] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)
    intents: set[str] = field(default_factory=set)
    pull: PullFacts | None = None
    seen: tuple[object, ...] = ()  # the pull request as it looked when it was last observed

    def live_session(self) -> SessionRow | None:
        return self.sessions[-1] if self.sessions and not self.sessions[-1].ended else None

    def session(self, number: int) -> SessionRow:
        return next(one for one in self.sessions if one.id == number)


def snapshot_of(
    task: TaskRow, *, now: float, policy: Policy, rules: dict[Trigger, Rule], silent_since: float | None
) -> Snapshot:
    """The facts of a task as its rows say."""
    session = task.sessions[-1] if task.sessions else None
    turn = session.turns[-1] if session is not None and session.turns else None
    return Snapshot(
        now=at(now),
        task=_task(task),
        policy=policy,
        rules=rules,
        session=_session(session, silent_since) if session is not None else None,
        turn=turn.facts() if turn is not None else None,
        pull=task.pull,
        messages=tuple(_message(message, session) for message in task.messages.values()),
        jobs={job.key: _job(job) for job in task.jobs.values()},
        memory=dict(task.memory),
        interruptions=tuple(
            InterruptionFacts(cause=a.cause, open=a.open, escalation=a.escalation) for a in task.asked.values()
        ),
        nonce="n",
    )


def _task(task: TaskRow) -> TaskFacts:
    return TaskFacts(
        id=task.id,
        number=task.id,
        title="t",
        body="",
        created_at=at(task.created_at),
        branch=task.branch,
        attempt=task.attempt,
        outcome=task.outcome,
        ended_at=at(task.ended_at) if task.ended_at is not None else None,
        cancel_requested_at=at(task.cancel_requested_at) if task.cancel_requested_at is not None else None,
        merge_requested=task.merge_requested,
        waiting_for=task.waiting_for,
        paused=task.paused,
    )


def _session(session: SessionRow, silent_since: float | None) -> SessionFacts:
    return SessionFacts(
        id=session.id,
        epoch=session.epoch,
        host=f"h{session.host}",
        agent="command",
        created_at=at(session.created_at),
        prepared=session.prepared,
        ended=session.ended,
        published_sha=session.published_sha or None,
        commits=session.commits,
        host_silent_since=at(silent_since) if silent_since is not None else None,
    )


def _message(message: MessageRow, session: SessionRow | None) -> MessageFacts:
    turn = None
    if message.turn is not None:
        # Turns are counted within a session: what an earlier one was told came before this one's first.
        turn = message.turn[1] if session is not None and message.turn[0] == session.id else 0
    return MessageFacts(
        id=message.id,
        session=message.session or 0,
        trigger=message.trigger,
        occasion=message.occasion,
        episode=message.episode,
        created_at=at(message.created_at),
        turn=turn,
        confirmed=message.confirmed,
        by_a_person=message.by_a_person,
        key=message.key,
    )


def _job(job: JobRow) -> JobFacts:
    settled = at(job.settled_at) if job.settled_at is not None else None
    return JobFacts(key=job.key, state=job.state, code=job.code, attempts=job.claims, settled_at=settled)
