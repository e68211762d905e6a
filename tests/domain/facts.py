"""Snapshots in few words, and a task that goes through decisions as the services would take it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from orchestrator.domain.actions import Abandon, Action, Interrupt, SendToAgent, Settle, key_of
from orchestrator.domain.lifecycle import Decision, decide
from orchestrator.domain.rules import DEFAULTS, Trigger
from orchestrator.domain.snapshot import (
    CheckFacts,
    CommentFacts,
    InterruptionFacts,
    JobFacts,
    JobState,
    MessageFacts,
    Policy,
    PullFacts,
    ReviewFacts,
    SessionFacts,
    Snapshot,
    TaskFacts,
    TurnEnd,
    TurnFacts,
)

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
HEAD = "a" * 40
BASE = "b" * 40

TASK = TaskFacts(id=1, number=1, title="t", body="", created_at=NOW, branch="ao/1-t", attempt=0)
SESSION = SessionFacts(
    id=5,
    epoch=1,
    host="h1",
    agent="command",
    created_at=NOW,
    prepared=True,
    ended=False,
    published_sha=HEAD,
    commits=1,
    host_silent_since=None,
)
LIVE_TURN = TurnFacts(
    n=1, created_at=NOW, started=True, end=None, last_progress_at=NOW, published=False, produced=False, resumes=0
)
DONE_TURN = replace(LIVE_TURN, end=TurnEnd.FINISHED, published=True, produced=True)
PULL = PullFacts(
    number=7,
    url="",
    state="open",
    head_sha=HEAD,
    base_sha=BASE,
    head_since=NOW - timedelta(hours=1),
    mergeable=True,
    conflict_files=(),
    required_checks=("test",),
    checks=(),
    reviews=(),
    comments=(),
    observed_at=NOW,
)


def check(
    conclusion: str | None = "success", *, number: int = 1, name: str = "test", n: int = 1, log: str = ""
) -> CheckFacts:
    status = "completed" if conclusion is not None else "queued"
    return CheckFacts(id=number, name=name, n=n, status=status, conclusion=conclusion, failing_log=log)


def review(decision: str = "approve", *, number: int = 1, author: str = "ann", head: str = HEAD, trusted: bool = True, told: bool = False,
           body: str = "words") -> ReviewFacts:  # fmt: skip
    return ReviewFacts(
        id=number, author=author, decision=decision, head_sha=head, body=body, trusted=trusted, bot=False, told=told
    )


def comment(*, number: int = 1, told: bool = False, resolved: bool = False, trusted: bool = True, bot: bool = False, ours: bool = False,
            body: str = "rename this") -> CommentFacts:  # fmt: skip
    return CommentFacts(
        id=number,
        thread=f"t{number}",
        author="ann",
        body=body,
        path="a.py",
        line=3,
        resolved=resolved,
        trusted=trusted,
        bot=bot,
        ours=ours,
        told=told,
    )


def message(trigger: Trigger | None, occasion: str, *, episode: int = 1, turn: int | None = 1) -> MessageFacts:
    return MessageFacts(
        id=f"{trigger}-{episode}-{occasion}",
        session=5,
        trigger=trigger,
        occasion=occasion,
        episode=episode,
        created_at=NOW,
        turn=turn,
        confirmed=True,
    )


def snapshot(**changes: object) -> Snapshot:
    """A task whose agent has ended its first turn and whose pull request waits; `changes` replace fields."""
    first = Snapshot(
        now=NOW,
        task=TASK,
        policy=Policy(),
        rules=DEFAULTS,
        session=SESSION,
        turn=DONE_TURN,
        pull=PULL,
        messages=(message(None, "task"),),
        nonce="secret",
    )
    return replace(first, **changes)  # type: ignore[arg-type]  # a test names the fields


def kinds(decision: Decision) -> list[str]:
    return [type(action).__name__ for action in decision.actions]


def keys(decision: Decision) -> set[str]:
    return {key_of(action) for action in decision.actions}


@dataclass(slots=True)
class Story:
    """A task that lives on: what is decided is recorded as the services record it, and counted only when it was new."""

    now: Snapshot
    sent: list[SendToAgent] = field(default_factory=list)
    asked: list[Interrupt] = field(default_factory=list)
    promised: list[Action] = field(default_factory=list)

    def see(self, **changes: object) -> Decision:
        """New facts come in, and the task is decided about until nothing new follows."""
        self.now = replace(self.now, **changes)  # type: ignore[arg-type]  # a test names the fields
        while True:
            decision = decide(self.now)
            if not self.record(decision):
                return decision

    def wait(self, **span: float) -> Decision:
        later = self.now.now + timedelta(**span)
        pull = replace(self.now.pull, observed_at=later) if self.now.pull is not None else None
        return self.see(now=later, pull=pull)

    def answer(self, *, produced: bool, **changes: object) -> Decision:
        """The agent takes what waits in one more turn and ends it."""
        n = self.now.turn.n + 1 if self.now.turn is not None else 1
        messages = tuple(replace(m, turn=n) if m.turn is None else m for m in self.now.messages)
        return self.see(messages=messages, turn=replace(DONE_TURN, n=n, produced=produced), **changes)

    def record(self, decision: Decision) -> int:
        self.now = replace(self.now, memory={**self.now.memory, **{m.trigger: m for m in decision.memory}})
        if decision.outcome is not None and self.now.task.outcome is None:
            self.now = replace(self.now, task=replace(self.now.task, outcome=decision.outcome, ended_at=self.now.now))
        return sum(self.record_one(action) for action in decision.actions)

    def record_one(self, action: Action) -> int:
        match action:
            case SendToAgent():
                return self.record_message(action)
            case Interrupt(cause=cause, escalation=escalation):
                if any(asked.cause == cause for asked in self.now.interruptions):
                    return 0
                asked = InterruptionFacts(cause=cause, open=True, escalation=escalation)
                self.now = replace(self.now, interruptions=(*self.now.interruptions, asked))
                self.asked.append(action)
                return 1
            case Settle(cause=cause):
                settled = tuple(replace(i, open=i.open and i.cause != cause) for i in self.now.interruptions)
                changed = sum(a.open != b.open for a, b in zip(settled, self.now.interruptions, strict=True))
                self.now = replace(self.now, interruptions=settled)
                return changed
            case Abandon():
                self.promised.append(action)
                if self.now.session is not None:
                    self.now = replace(self.now, session=replace(self.now.session, ended=True))
                return 1
            case _:
                key = key_of(action)
                if key in self.now.jobs:
                    return 0
                self.now = replace(self.now, jobs={**self.now.jobs, key: JobFacts(key=key, state=JobState.PROMISED)})
                self.promised.append(action)
                return 1

    def record_message(self, action: SendToAgent) -> int:
        known = {(m.trigger, m.episode, m.occasion) for m in self.now.messages}
        if (action.trigger, action.episode, action.occasion) in known:
            return 0
        self.sent.append(action)
        words = message(action.trigger, action.occasion, episode=action.episode, turn=None)
        pull = self.now.pull
        if pull is not None:
            pull = replace(
                pull,
                reviews=tuple(replace(r, told=r.told or r.id in action.reviews) for r in pull.reviews),
                comments=tuple(replace(c, told=c.told or c.id in action.comments) for c in pull.comments),
            )
        self.now = replace(self.now, messages=(*self.now.messages, words), pull=pull)
        return 1

    def settle(self, key: str, state: JobState, *, code: str = "") -> None:
        """A worker has settled a job."""
        job = replace(self.now.jobs[key], state=state, code=code, settled_at=self.now.now)
        self.now = replace(self.now, jobs={**self.now.jobs, key: job})
