"""What can be decided, as values. Each action names what it is about; its key says when it is new work and when it is the same again."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.rules import Priority, Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadIssue:
    """Ask the tracker for the words of the issue that the task was handed in with."""

    reference: str
    attempt: int

    @property
    def key(self) -> str:
        return f"issue:{self.attempt}:{self.reference}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Make the workspace of a session."""

    session: int
    attempt: int

    @property
    def key(self) -> str:
        return f"prepare:{self.session}:{self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendToAgent:
    """Record words for the agent; they are delivered with the next turn, or into the live one where the agent can take them."""

    session: int
    trigger: Trigger | None  # None: the task itself, or a person
    occasion: str
    episode: int
    text: str
    reviews: tuple[int, ...] = ()  # the reviews and comments that these words deliver, by row id
    comments: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        return f"send:{self.session}:{self.trigger or 'task'}:{self.episode}:{self.occasion}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTurn:
    """Run the agent over the messages that wait."""

    session: int
    turn: int
    attempt: int

    @property
    def key(self) -> str:
        return f"turn:{self.session}:{self.turn}:{self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """Put a person's message or answer into the conversation of the live turn, where its agent takes such."""

    session: int
    turn: int
    message: str

    @property
    def key(self) -> str:
        return f"say:{self.session}:{self.turn}:{self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp:
    """The agent said that its turn is over: close its input, so that its program ends."""

    session: int
    turn: int
    occasion: str  # when it said so: an agent may go on, and be done again

    @property
    def key(self) -> str:
        return f"hang-up:{self.session}:{self.turn}:{self.occasion}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Commit leftovers, carry the branch over to our mirror, check it and push it."""

    session: int
    turn: int
    attempt: int

    @property
    def key(self) -> str:
        return f"publish:{self.session}:{self.turn}:{self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPullRequest:
    """Open (or adopt) the pull request of the branch at `head_sha`."""

    head_sha: str
    attempt: int

    @property
    def key(self) -> str:
        return f"open-pr:{self.head_sha}:{self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCheck:
    """Run one check of the built-in forge on a clean tree at `head_sha`. `n` counts the runs of this check at this sha."""

    name: str
    head_sha: str
    n: int

    @property
    def key(self) -> str:
        return f"check:{self.head_sha}:{self.n}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBaseCheck:
    """Run one check of the built-in forge on the base branch, to know whether a failure is a change's own or the base's."""

    name: str
    base_sha: str
    n: int

    @property
    def key(self) -> str:
        return f"base-check:{self.base_sha}:{self.n}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunChecks:
    """Ask a forge that runs its checks itself to run these failed ones again, by row id. `occasion` holds which they were."""

    head_sha: str
    checks: tuple[int, ...]
    occasion: str

    @property
    def key(self) -> str:
        return f"rerun:{self.occasion}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Merge exactly `head_sha`. `occasion` holds the approvals and the attempt."""

    head_sha: str
    occasion: str

    @property
    def key(self) -> str:
        return f"merge:{self.head_sha}:{self.occasion}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAgent:
    """Stop the turn that is live."""

    session: int
    turn: int

    @property
    def key(self) -> str:
        return f"stop:{self.session}:{self.turn}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Let no further turn of the task begin until somebody resumes it. Once for each occasion: who resumed it meant it."""

    trigger: Trigger
    occasion: str
    reason: str

    @property
    def key(self) -> str:
        return f"pause:{self.trigger}:{self.occasion}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndSession:
    """Stop the agent, keep what is uncommitted, remove the workspace."""

    session: int

    @property
    def key(self) -> str:
        return f"end:{self.session}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandon:
    """Give up a session whose host is gone for longer than its runs may live, so that a successor may be placed."""

    session: int
    reason: str

    @property
    def key(self) -> str:
        return f"abandon:{self.session}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteBranch:
    """Delete the branch of a merged pull request while it is still at `head_sha`."""

    branch: str
    head_sha: str

    @property
    def key(self) -> str:
        return f"delete-branch:{self.head_sha}:{self.branch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosePullRequest:
    """Close the pull request of a cancelled task."""

    number: int

    @property
    def key(self) -> str:
        return f"close:{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerThread:
    """Say in a review thread what came of its newest comment, and settle it where there is a commit for it or the agent says so."""

    thread: str
    comment: int
    turn: int
    settles: bool
    edits: int = 0  # words that were changed and told again are answered again

    @property
    def key(self) -> str:
        return f"answer:{self.comment}.{self.edits}" if self.edits else f"answer:{self.comment}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupt:
    """Ask a human: recorded, shown until answered, and sent to people and to the channels of its priority. An escalation stays until
    acknowledged."""

    trigger: Trigger | None
    cause: str  # unique within the task: the same cause interrupts once
    priority: Priority
    escalation: bool
    question: str
    evidence: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"interrupt:{self.cause}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """The cause of a question has gone by itself, which closes it. An escalation is not pressed any more, and stays until acknowledged."""

    cause: str

    @property
    def key(self) -> str:
        return f"settle:{self.cause}"


Action = (
    ReadIssue
    | Prepare
    | SendToAgent
    | StartTurn
    | Say
    | HangUp
    | Publish
    | OpenPullRequest
    | RunCheck
    | RunBaseCheck
    | RerunChecks
    | Merge
    | StopAgent
    | Pause
    | EndSession
    | Abandon
    | DeleteBranch
    | ClosePullRequest
    | AnswerThread
    | Interrupt
    | Settle
)


# What a worker carries out as a job; the others are written down in the transaction that decided them.
CARRIED_OUT = (
    ReadIssue,
    Prepare,
    StartTurn,
    Say,
    HangUp,
    Publish,
    OpenPullRequest,
    RunCheck,
    RunBaseCheck,
    RerunChecks,
    Merge,
    StopAgent,
    EndSession,
    DeleteBranch,
    ClosePullRequest,
    AnswerThread,
)


def key_of(action: Action) -> str:
    """Verb, object and occasion: the same key is the same work and is done once. Keys are unique within a task."""
    return action.key
