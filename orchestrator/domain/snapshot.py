"""Everything a decision may know about one task at one instant, as frozen values. `services.snapshots` fills it from rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import wraps
from typing import Any, TypeVar

from orchestrator.domain.budgets import BudgetFacts, Used
from orchestrator.domain.issues import Standing
from orchestrator.domain.rules import Rule, Trigger
from orchestrator.domain.status import Outcome

SNAPSHOT_VERSION = 1
Derived = TypeVar("Derived")


class JobState(StrEnum):
    """Where a job stands. `refused` (the outside said no) and `quarantined` (it failed or killed its worker too often) are final."""

    PROMISED = "promised"
    CLAIMED = "claimed"
    DONE = "done"
    REFUSED = "refused"
    QUARANTINED = "quarantined"
    DROPPED = "dropped"  # overtaken: its session was fenced or its task ended before it was carried out


class TurnEnd(StrEnum):
    """How a turn ended, as far as the host can tell."""

    FINISHED = "finished"  # the program ended by itself with exit code 0
    FAILED = "failed"  # ... with another one, or said that its turn failed, or did not say its end as it always does
    KILLED = "killed"  # something ended the program: a signal, its deadline, a lost guard
    STOPPED = "stopped"  # we stopped it
    UNSTARTABLE = "unstartable"


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueStanding:
    """What the issue of a task means for it, since when, and why."""

    identifier: str
    state: str
    standing: Standing
    since: datetime
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The last time that the task got further, and where it stood then; see `domain.progress`."""

    at: datetime
    what: str
    head: str = ""
    failed: int = 0  # checks
    threads: int = 0  # unresolved ones
    conflicted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnUse:
    """What one turn used."""

    began_at: datetime
    used: Used
    running: bool = False  # its program works; one that waits for a person's answer does not


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFacts:
    id: int
    number: int
    title: str
    body: str
    created_at: datetime
    branch: str
    attempt: int  # how often a person said retry
    outcome: Outcome | None = None
    ended_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    merge_requested: str = ""  # the head a person asked to merge
    unread_issue: str = ""  # an issue whose words are not known yet
    waiting_for: str = ""  # what the last placement said about a queued task
    paused: bool = False
    pause_reason: str = ""
    progress: Progress | None = None  # as the last decision left it
    issue: IssueStanding | None = None  # the issue that it was made of by itself

    @property
    def held_by_issue(self) -> bool:
        """Its issue is not to be worked on: nothing is begun for it, and what is under way is stopped and kept."""
        return self.issue is not None and self.issue.standing is not Standing.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """A question or permission that the agent waits for."""

    id: str
    kind: str
    question: str
    asked_at: datetime
    answered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFacts:
    n: int
    created_at: datetime
    started: bool
    end: TurnEnd | None
    last_progress_at: datetime
    published: bool  # what it left behind has been looked at, and pushed where there was something
    produced: bool  # ... and there was something: the branch's head moved
    resumes: int  # how many turns in a row, up to this one, were resumed after a death
    request: RequestFacts | None = None
    detail: str = ""
    last_words: str = ""
    ended_at: datetime | None = None
    heard: bool = True  # its program has said something
    done_at: datetime | None = None  # when the agent said that it is over; its program may be waiting for more


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    id: int
    epoch: int
    host: str
    agent: str
    created_at: datetime
    prepared: bool
    ended: bool
    published_sha: str | None  # the head we pushed last
    commits: int  # of the published branch over its base
    host_silent_since: datetime | None  # when the host was last seen, if it may be gone for good
    end_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFacts:
    id: str
    session: int
    trigger: Trigger | None
    occasion: str
    episode: int
    created_at: datetime
    turn: int | None  # the turn that carried it; None while it waits
    confirmed: bool
    by_a_person: bool = False  # words or an answer of a person: an agent at work may be told
    key: str = ""  # unique within the task: what is told once


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFacts:
    id: int
    name: str
    n: int
    status: str
    conclusion: str | None
    failing_log: str = ""
    url: str = ""
    fingerprint: str = ""  # by which the same failure is known again; empty: nothing is known of it
    headline: str = ""  # the failure in one line
    reds: int = 1  # how many runs of it at this head have failed, where this one did
    flaky: bool = False  # this failure is known to go away when it is run again
    green_once: bool = True  # it has been green in this project before


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFacts:
    """How a check went on the base branch, at one of its commits."""

    name: str
    sha: str
    n: int
    status: str
    conclusion: str | None
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentFacts:
    """One failure of a whole project that is not over: of its base branch, or of many pull requests. `released`: a person lets agents try."""

    number: int
    check: str
    fingerprint: str
    pulls: int
    on_base: bool
    released: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureFacts:
    """One failed check of an earlier head."""

    name: str
    fingerprint: str
    headline: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFacts:
    """A red head: what failed at it, and what the agent said when it had made it."""

    head_sha: str
    failures: tuple[FailureFacts, ...]
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewFacts:
    id: int
    author: str
    decision: str
    head_sha: str
    body: str
    trusted: bool
    bot: bool
    told: bool
    edits: int = 0  # how often its words were changed after they had been told, or had approved


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentFacts:
    id: int
    thread: str
    author: str
    body: str
    path: str
    line: int | None
    resolved: bool
    trusted: bool
    bot: bool
    ours: bool
    told: bool
    edits: int = 0  # how often its words were changed after they had been told
    told_in: int | None = None  # the turn that carried it: of this session, or 0 of an earlier one
    told_at: str = ""  # the branch's head when that turn began


@dataclass(frozen=True, slots=True, kw_only=True)
class PullFacts:
    """The pull request as it was last observed; checks are those of the current head, the newest run of each name."""

    number: int
    url: str
    state: str  # open | merged | closed
    head_sha: str
    base_sha: str
    head_since: datetime  # when this head was first seen
    mergeable: bool | None
    conflict_files: tuple[str, ...]
    required_checks: tuple[str, ...] | None
    checks: tuple[CheckFacts, ...]
    reviews: tuple[ReviewFacts, ...]  # oldest first
    comments: tuple[CommentFacts, ...]
    observed_at: datetime
    merged_at: datetime | None = None
    base_branch: str = "the base branch"
    base: tuple[BaseFacts, ...] = ()  # of the checks that failed here: at the base as it is, and before, oldest first
    incidents: tuple[IncidentFacts, ...] = ()  # of the failures at this head, those that are not over
    attempts: tuple[AttemptFacts, ...] = ()  # the red heads that the agent was told of, and this one; oldest first


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    key: str
    state: JobState
    code: str = ""
    error: str = ""
    attempts: int = 0  # how often it was claimed: above 0 it may have been carried out, whatever its state says
    promised_at: datetime | None = None
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is remembered of a trigger. An episode lasts from its first hold to its clearing (or to a person's retry)."""

    trigger: Trigger
    episode: int
    held: bool  # in an episode; False: cleared
    since: datetime | None = None  # when the clock started; None while it is stopped
    deadline_at: datetime | None = None
    escalated: bool = False
    attempt: int = 0  # the task's attempt when the episode began


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptionFacts:
    cause: str
    open: bool  # neither resolved, nor has its cause been seen to be gone
    escalation: bool
    gone: bool = False  # its cause is gone, and it waits for a person nevertheless
    calls: bool = False  # it asks for a person now: nobody has taken it on or put it off


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the project has settled about checks, approvals, merging and hosts."""

    required_checks: tuple[str, ...] | None = None  # None: whatever the forge requires or reports
    own_checks: tuple[str, ...] = ()  # checks that the built-in forge runs
    approvals: int = 1
    answers_threads: bool = False  # the forge is another's, where reviewers wait for an answer in their threads
    auto_cleanup: bool = True
    cleanup_grace: timedelta = timedelta(minutes=5)
    reassign_after: timedelta | None = timedelta(minutes=15)
    resumes: int = 3
    longest_retry_wait: timedelta | None = (
        None  # a dead agent is resumed after a wait that grows up to this; None: at once
    )
    max_turns: int | None = None  # how many turns a session may have until a person says retry
    patience: timedelta = timedelta(minutes=10)  # how long a job may wait for the outside before a human is called
    settle_after: timedelta = timedelta(seconds=60)


class _WorkedOut:
    """What was derived from a snapshot, beside its fields: it is no fact, and is neither compared nor recorded."""

    __slots__ = ("derived",)
    derived: dict[object, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(_WorkedOut):
    now: datetime
    task: TaskFacts
    policy: Policy
    rules: Mapping[Trigger, Rule]
    session: SessionFacts | None = None  # the live one, else the last
    turn: TurnFacts | None = None  # the last of that session
    pull: PullFacts | None = None
    messages: tuple[MessageFacts, ...] = ()
    jobs: Mapping[str, JobFacts] = field(default_factory=dict)
    memory: Mapping[Trigger, Memory] = field(default_factory=dict)
    interruptions: tuple[InterruptionFacts, ...] = ()
    turns: tuple[TurnUse, ...] = ()  # those that began since the last progress
    budgets: tuple[BudgetFacts, ...] = ()
    budget_told: bool = False  # people know from another task that the project's budget is used up
    nonce: str = ""  # unguessable; fences words from outside
    version: int = SNAPSHOT_VERSION

    def __post_init__(self) -> None:
        object.__setattr__(self, "derived", {})


def once(derive: Callable[[Snapshot], Derived]) -> Callable[[Snapshot], Derived]:
    """What follows from a snapshot alone is worked out once for each: many ask for it, and nothing of a snapshot changes."""

    @wraps(derive)
    def known(snapshot: Snapshot) -> Derived:
        derived = snapshot.derived
        if derive in derived:
            found: Derived = derived[derive]
            return found
        found = derived[derive] = derive(snapshot)
        return found

    return known


@once
def _told(snapshot: Snapshot) -> Mapping[Trigger | None, Sequence[MessageFacts]]:
    found: dict[Trigger | None, list[MessageFacts]] = {}
    for message in snapshot.messages:
        found.setdefault(message.trigger, []).append(message)
    return found


def told_by(snapshot: Snapshot, trigger: Trigger) -> Sequence[MessageFacts]:
    """The messages that this trigger's rule has sent."""
    return _told(snapshot).get(trigger, ())


@once
def _unfinished(snapshot: Snapshot) -> Sequence[JobFacts]:
    done = JobState.DONE
    return [job for job in snapshot.jobs.values() if job.state is not done]


def unfinished_jobs(snapshot: Snapshot, prefix: str) -> Sequence[JobFacts]:
    """The jobs whose keys begin so and that were not carried out: promised, claimed or given up."""
    return [job for job in _unfinished(snapshot) if job.key.startswith(prefix)]


@once
def undelivered(snapshot: Snapshot) -> Sequence[MessageFacts]:
    """The messages that no turn carries yet."""
    return [message for message in snapshot.messages if message.turn is None]


@once
def standing_questions(snapshot: Snapshot) -> Mapping[str, Sequence[str]]:
    """The causes of the questions that stand, by the word before their colon."""
    found: dict[str, list[str]] = {}
    for asked in snapshot.interruptions:
        if asked.open:
            found.setdefault(asked.cause.partition(":")[0], []).append(asked.cause)
    return found
