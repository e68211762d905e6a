"""What the page of a task shows, gathered from its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import F
from django.utils import timezone

from aoweb.dashboard import usage
from aoweb.dashboard.cards import verdict
from aoweb.dashboard.reasons import Origin, Origins, Told, told
from aoweb.dashboard.usage import Bar
from aoweb.permissions import Verb
from orchestrator.domain import progress
from orchestrator.domain.snapshot import Progress, Snapshot
from orchestrator.domain.status import TaskStatus
from orchestrator.models import (
    Check,
    Comment,
    Diff,
    Event,
    Interruption,
    Message,
    PullRequest,
    Review,
    Session,
    Task,
    Turn,
)
from orchestrator.services import snapshots, why
from orchestrator.services.why import Standing

NEWEST_EVENTS = 200
NEWEST_DECISIONS = 20
NEWEST_WORDS = 200
LOG_SHOWN = 20_000
LOCAL_FORGE = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One piece of the conversation."""

    who: str
    kind: str  # person, system or agent
    text: str
    at: datetime
    state: str = ""
    origin: Origin | None = None  # of what a rule sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the agent waits for."""

    id: str
    text: str
    options: Sequence[str]
    asked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What people are asked, and why."""

    row: Interruption
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLine:
    """A check at the head, with what it wrote if it failed."""

    check: Check
    verdict: str
    log: str
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """A review thread."""

    id: str
    path: str
    line: int | None
    resolved: bool
    comments: Sequence[Comment]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the agent's turns used."""

    turns: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    """Everything on the page; large parts (the diff, transcripts) are fetched when somebody looks."""

    task: Task
    can: frozenset[Verb]
    question: Question | None
    interruptions: Sequence[Asked]
    standing: Standing
    pull: PullRequest | None
    session: Session | None
    turns: Sequence[Turn]
    words: Sequence[Words]
    checks: Sequence[CheckLine]
    reviews: Sequence[Review]
    threads: Sequence[Thread]
    events: Sequence[Event]
    decisions: Sequence[Told]
    usage: Usage
    budgets: Sequence[Bar]
    progress: Progress | None
    stall: str  # what was used up since then, where that is anything
    diff: Diff | None

    @property
    def local(self) -> bool:
        """Whether it is reviewed here."""
        return str(self.task.project.scm.get("plugin", LOCAL_FORGE)) == LOCAL_FORGE

    @property
    def reviewable(self) -> bool:
        return self.pull is not None and self.pull.state == "open" and self.local and Verb.REVIEW in self.can

    @property
    def reviewed_elsewhere(self) -> bool:
        """Whether people review it on its forge: there they are known by their own accounts."""
        return self.pull is not None and self.task.status == TaskStatus.REVIEW_PENDING and not self.local

    @property
    def mergeable(self) -> bool:
        return self.task.status == TaskStatus.MERGEABLE and self.pull is not None and Verb.MERGE in self.can

    @property
    def drivable(self) -> bool:
        return self.task.open and self.task.cancel_requested_at is None and Verb.DRIVE in self.can

    @property
    def held(self) -> bool:
        """Whether somebody has to let it go on."""
        return self.task.paused or (bool(self.budgets) and any(bar.full for bar in self.budgets))

    @property
    def may_drive(self) -> bool:
        return Verb.DRIVE in self.can

    @property
    def may_review(self) -> bool:
        return Verb.REVIEW in self.can

    @property
    def open_threads(self) -> int:
        return sum(not thread.resolved for thread in self.threads)


def gather(task: Task, *, can: frozenset[Verb]) -> TaskPage:
    """Read it all, in a constant number of queries."""
    sessions = list(task.sessions.select_related("host").order_by("epoch"))
    turns = list(Turn.objects.filter(session__in=sessions).select_related("session").defer("prompt").order_by("id"))
    pull = task.pull_requests.order_by("-id").first()
    origins = Origins(task)
    asked = (
        task.interruptions.unresolved()
        .select_related("task__project", "task__requested_by", "acknowledged_by")
        .order_by(F("acknowledged_at").asc(nulls_first=True), "-escalation", "id")
    )
    snapshot = snapshots.take(task, now=timezone.now())
    return TaskPage(
        task=task,
        can=can,
        question=_question(turns),
        interruptions=[Asked(row=one, origin=origins.of(one)) for one in asked],
        standing=why.standing(task=task, now=timezone.now()),
        pull=pull,
        session=sessions[-1] if sessions else None,
        turns=turns,
        words=_conversation(task, turns, origins),
        checks=_checks(pull),
        reviews=list(pull.reviews.order_by("-id")) if pull else [],
        threads=_threads(pull),
        events=list(task.events.order_by("-id")[:NEWEST_EVENTS]),
        decisions=[told(row) for row in task.decisions.defer("facts").order_by("-id")[:NEWEST_DECISIONS]],
        usage=_usage(turns),
        budgets=usage.bars(snapshot.budgets),
        progress=snapshot.task.progress,
        stall=_stall(snapshot),
        diff=Diff.objects.filter(task=task).defer("text").first(),
    )


def _stall(snapshot: Snapshot) -> str:
    """What was used up without getting anywhere, while that goes on."""
    if snapshot.task.progress is None or snapshot.task.outcome is not None:
        return ""
    stall = progress.stall_of(snapshot, snapshot.task.progress)
    return progress.used_of(stall) if stall.turns else ""


def _question(turns: Sequence[Turn]) -> Question | None:
    request = turns[-1].request if turns else None
    if not request or "answer" in request:
        return None
    asked_at = str(request.get("asked_at") or "")
    return Question(
        id=str(request["id"]),
        text=str(request["question"]),
        options=[str(option) for option in request.get("options") or []],
        asked_at=datetime.fromisoformat(asked_at) if asked_at else None,
    )


def _conversation(task: Task, turns: Sequence[Turn], origins: Origins) -> list[Words]:
    said = [
        _message(one, origins.of(one))
        for one in task.messages.select_related("author").order_by("-created_at")[:NEWEST_WORDS]
    ]
    heard = [
        Words(
            who=turn.session.agent,
            kind="agent",
            text=turn.last_words,
            at=turn.ended_at or turn.progress_at,
            state=f"turn {turn.n}",
        )
        for turn in turns
        if turn.last_words
    ]
    return sorted([*said, *heard], key=lambda words: words.at)


def _message(message: Message, origin: Origin) -> Words:
    if message.confirmed_at:
        state = "read"
    elif message.delivered_at:
        state = "delivered"
    else:
        state = "waits for the agent's next turn"
    if message.author is not None:
        return Words(
            who=message.author.get_username(), kind="person", text=message.text, at=message.created_at, state=state
        )
    return Words(
        who=message.trigger or "task",
        kind="system",
        text=message.text,
        at=message.created_at,
        state=state,
        origin=origin,
    )


def _checks(pull: PullRequest | None) -> list[CheckLine]:
    if pull is None:
        return []
    newest = {check.name: check for check in pull.checks.filter(head_sha=pull.head_sha).order_by("n")}
    lines = [
        CheckLine(
            check=check,
            verdict=verdict(check),
            log=check.failing_log[-LOG_SHOWN:],
            cut=len(check.failing_log) > LOG_SHOWN,
        )
        for check in newest.values()
    ]
    return sorted(lines, key=lambda line: (line.verdict == "passed", line.check.name))


def _threads(pull: PullRequest | None) -> list[Thread]:
    if pull is None:
        return []
    found: dict[str, list[Comment]] = {}
    for comment in pull.comments.order_by("id"):
        found.setdefault(comment.thread, []).append(comment)
    threads = [
        Thread(
            id=name,
            path=comments[0].path,
            line=comments[0].line,
            resolved=all(comment.resolved for comment in comments),
            comments=comments,
        )
        for name, comments in found.items()
    ]
    return sorted(threads, key=lambda thread: thread.resolved)


def _usage(turns: Sequence[Turn]) -> Usage:
    return Usage(
        turns=len(turns),
        input_tokens=sum(turn.input_tokens for turn in turns),
        output_tokens=sum(turn.output_tokens for turn in turns),
        cost_usd=sum((turn.cost_usd for turn in turns), Decimal(0)),
    )
