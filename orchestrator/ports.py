"""The seams of the system on one page: what the outside can be asked, in values, and the two ways in which it can fail.

Every call carries a deadline, given as `timeout` and never longer than a job may live (60 s). A port raises `Unavailable` when trying
again later may help and `Refused` when it will not; nothing else crosses a port. Protocols are implemented by shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol


class PortError(Exception):
    """What a port raises; `str(error)` is a sentence for people."""


class Unavailable(PortError):
    """Not now: trying the same again later may work. `retry_after` is what the outside asked for, if it did. `under_way`: it is at it, and
    however long that takes, nobody is called."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None, under_way: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.under_way = under_way


class LimitReached(Unavailable):
    """Not now, for nobody: the forge allows no more until then. `writes_go_on`: only looking has to wait."""

    def __init__(self, message: str, *, retry_after: timedelta, writes_go_on: bool = False) -> None:
        super().__init__(message, retry_after=retry_after)
        self.wait = retry_after
        self.writes_go_on = writes_go_on


class Refused(PortError):
    """No: trying the same again will not work. `code` is one stable word for rules and tests, such as `head-moved`."""

    def __init__(self, message: str, *, code: str, evidence: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.evidence: Mapping[str, object] = evidence or {}


# --- Host: a machine on which sessions run -------------------------------------------------------------------------------------------


class Sandbox(StrEnum):
    """How far a run is kept from the machine. `none` is no boundary between sessions where the service is not root."""

    NONE = "none"
    BUBBLEWRAP = "bubblewrap"
    CONTAINER = "container"


class RunEnd(StrEnum):
    """Why a run is over."""

    EXITED = "exited"  # by itself: see exit_code, or signal when something outside killed its program
    STOPPED = "stopped"  # we asked for it
    DEADLINE = "deadline"  # its absolute deadline passed without renewal
    LOST = "lost"  # its guard is gone without an exit record (killed, power cut)
    UNSTARTABLE = "unstartable"  # the program could not be executed; `detail` says why


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What a host says of itself. `boottime` is seconds on CLOCK_BOOTTIME; `sandboxes` are those that were tried and work."""

    boot_id: str
    boottime: float
    hostkit: str
    root: bool
    home: str
    git: str
    sandboxes: frozenset[Sandbox]
    free_bytes: int
    programs: Mapping[str, str] = field(default_factory=dict)  # name -> path, of the names that were asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A supervised run to be started: detached, under its own guard, known by `id` for ever.

    `fence` names what `epoch` counts for (a task's sessions); a host refuses an epoch lower than the highest it has seen for a fence and
    one that was ended. `workspace` names the directory tree and the account the run works in. `files` are written below the run's
    HOME first (relative path -> content). Paths in `argv` and `env` may use the placeholders {home}, {work}, {run} and {tmp}.
    """

    id: str
    fence: str
    epoch: int
    workspace: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    keep_stdin_open: bool = False
    files: Mapping[str, bytes] = field(default_factory=dict)
    cwd: str = "{work}"
    sandbox: Sandbox = Sandbox.NONE
    readonly: tuple[str, ...] = ()  # extra host paths the sandbox may read (mirrors' objects, the agent's program)
    network: bool = True
    output_cap: int = 16 * 1024 * 1024  # bytes kept of the output; what is over is counted as dropped
    deadline: float | None = None  # CLOCK_BOOTTIME seconds of that host; None: no deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """What a host knows about one run. `size` counts the bytes in its journal, `dropped` those over the cap."""

    id: str
    fence: str
    epoch: int
    live: bool
    end: RunEnd | None
    exit_code: int | None
    signal: int | None
    size: int
    dropped: int
    started_at: datetime | None
    ended_at: datetime | None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Bytes of a run's journal from `offset` on; consecutive chunks leave no gap."""

    run: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at a host saw: every run that the cursors asked about or that is live, and new journal bytes."""

    boot_id: str
    boottime: float
    free_bytes: int
    runs: tuple[RunState, ...]
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A short program on a host, waited for. With a `workspace` it runs there as that workspace's account, inside `sandbox`; without one
    as the host's own account. Placeholders as in `Run`."""

    argv: tuple[str, ...]
    workspace: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    cwd: str = "{work}"
    sandbox: Sandbox = Sandbox.NONE
    readonly: tuple[str, ...] = ()
    output_cap: int = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """How a command ended. `truncated` is true when its output passed the cap."""

    code: int
    stdout: bytes
    stderr: bytes
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The directories of one workspace on its host, all owned by the workspace's account."""

    workspace: str
    root: str
    home: str
    work: str
    tmp: str
    account: str


class Host(Protocol):
    """The transport to one machine: the only thing that differs between here and SSH."""

    def facts(self, *, programs: Sequence[str] = (), timeout: float = 10) -> HostFacts: ...

    def open_workspace(self, workspace: str, *, timeout: float = 10) -> Room:
        """Make (or find) the room of a workspace: its directories and its account."""
        ...

    def remove_workspace(self, workspace: str, *, timeout: float = 30) -> None:
        """Kill what still runs in it, move it to the trash, free its account. Removing what is not there is fine."""
        ...

    def start(self, run: Run, *, timeout: float = 10) -> RunState:
        """Start a run or, when its id is known, answer its state. Refused codes: `epoch-too-low`, `ended`, `no-sandbox`, `no-workspace`."""
        ...

    def look(self, *, cursors: Mapping[str, int], wait: float, timeout: float) -> Look:
        """Answer as soon as a run in `cursors` has bytes past its offset or has ended, or another run is live; at the latest after `wait`
        seconds. A run with the cursor -1 is asked about without its bytes; one whose end is known to the caller must not be in cursors."""
        ...

    def send(self, run: str, *, message: str, data: bytes, timeout: float = 10) -> None:
        """Write `data` to the run's stdin once per `message` id; sending the same id again does nothing."""
        ...

    def close_input(self, run: str, *, timeout: float = 10) -> None:
        """Say no more: the run's stdin is closed once every message that was sent is in it. Closing it again does nothing, nor does
        closing that of a run that has ended."""
        ...

    def renew(self, deadlines: Mapping[str, float], *, timeout: float = 10) -> None:
        """Move the absolute deadlines of fences (fence -> CLOCK_BOOTTIME seconds)."""
        ...

    def stop(self, run: str, *, timeout: float = 20) -> RunState:
        """Interrupt, terminate, kill: at the end of the call nothing of the run is alive."""
        ...

    def end(self, fence: str, *, epoch: int, timeout: float = 30) -> None:
        """Stop every run of the fence with this epoch or a lower one and leave a tombstone, so that a late start of these is refused. A
        higher epoch, a successor's, may start."""
        ...

    def command(self, command: Command, *, timeout: float = 50) -> Completed: ...

    def read(self, path: str, *, workspace: str, cap: int, timeout: float = 30) -> bytes:
        """The bytes of a file below the workspace's room, never through a symlink. Refused codes: `no-file`, `too-large`."""
        ...

    def write(self, path: str, data: bytes, *, workspace: str, timeout: float = 30) -> None:
        """Replace a file below the workspace's room, owned by its account, never through a symlink."""
        ...


# --- Workspace: the isolated working tree of a session ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceSpec:
    """Where a workspace is and what it is made from: `mirror` is the bare mirror as that host sees it, `base_sha` a commit in it."""

    workspace: str
    mirror: str
    base_branch: str
    base_sha: str
    branch: str | None  # None: prepared ahead of need, on no branch yet
    sandbox: Sandbox
    symlinks: Mapping[str, str] = field(default_factory=dict)  # name in the workspace -> absolute path on the host


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a workspace stands against its base: the facts by which success is judged."""

    head_sha: str
    base_sha: str
    commits: int  # of the branch that the base does not have
    dirty: bool  # uncommitted changes, untracked files included
    conflicted: bool  # an unfinished merge or rebase


class Workspaces(Protocol):
    """How a working tree is made, read and taken down on a host. Everything runs as the workspace's account, inside its sandbox."""

    def prepare(self, spec: WorkspaceSpec, host: Host, *, timeout: float = 50) -> str:
        """Make the tree at `base_sha` on `branch` (or adopt the one that is there) and answer its path. With a prepared tree this is a
        branch switch only."""
        ...

    def standing(self, spec: WorkspaceSpec, host: Host, *, timeout: float = 30) -> Standing: ...

    def set_base(self, spec: WorkspaceSpec, host: Host, *, timeout: float = 30) -> None:
        """Put the current base commit at refs/remotes/origin/BASE, so that an agent can rebase on it."""
        ...

    def commit_leftovers(self, spec: WorkspaceSpec, host: Host, *, message: str, timeout: float = 50) -> Standing:
        """Commit everything that is uncommitted, as the workspace's account."""
        ...

    def bundle(self, spec: WorkspaceSpec, host: Host, *, cap: int, timeout: float = 50) -> bytes:
        """The branch's commits that the base does not have, as a git bundle. Refused codes: `nothing`, `too-large`."""
        ...

    def save(self, spec: WorkspaceSpec, host: Host, *, message: str, cap: int, timeout: float = 50) -> bytes | None:
        """Whatever would be lost by removing the tree, as a bundle with one ref `refs/ao/saved`; None when there is nothing."""
        ...

    def remove(self, spec: WorkspaceSpec, host: Host, *, timeout: float = 30) -> None: ...


# --- Agent: one coding agent, pure --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What an agent is told for one turn."""

    task: int
    session: int
    turn: int
    prompt: str
    native_id: str | None = None  # the agent's own conversation id, when it has one and it is to be resumed
    earlier: str = (
        ""  # what this session was told in its earlier turns, for an agent that has no conversation to resume
    )
    config: Mapping[str, object] = field(default_factory=dict)  # agentConfig of the project
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start the program for one turn; placeholders as in `Run`."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    stdin: bytes
    files: Mapping[str, bytes]
    keep_stdin_open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The agent's conversation has begun; `native_id` is what resumes it."""

    native_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """The agent does something: a tool and a line of summary."""

    tool: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Words of the agent for people."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsInput:
    """The agent waits for a permission or an answer. `id` is unique within the turn; `context` is what the agent itself needs to have
    back with the answer, as JSON can hold it."""

    id: str
    kind: str  # permission | question
    question: str
    options: tuple[str, ...] = ()
    context: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was used since the last such event: tokens, and money in USD where the agent tells. With `so_far` the figures are those of the
    whole run up to now, for agents that tell sums: they take the place of what was counted request by request. `request` names the one
    that the figures are of, for agents that tell them with every piece of its answer: it is counted once."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    so_far: bool = False
    request: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """The agent echoed a message's id: it is in the conversation."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnDone:
    """The agent says that its turn is over, and whether it came to its end; git judges what it achieved. Where the program's stdin was kept
    open, it is closed then, which ends the program. Whatever the agent does or confirms afterwards begins its turn anew."""

    ok: bool
    why: str = ""


AgentEvent = Started | Activity | Said | NeedsInput | Usage | Confirmed | TurnDone


NO_CONVERSATION = 44


class Agent(Protocol):
    """How one coding agent is started, spoken to and read. Pure: it touches no host."""

    @property
    def name(self) -> str: ...

    @property
    def program(self) -> str | None:
        """The program that must be on the host, or None where the project names it."""
        ...

    @property
    def install_hint(self) -> str:
        """The command that installs it, for the error that names it missing."""
        ...

    @property
    def tells_its_end(self) -> bool:
        """Whether the program says at the end of every turn that it is over (`TurnDone`): one that ends without that word was cut off,
        whatever its exit code."""
        ...

    def check(self, config: Mapping[str, object]) -> None:
        """Raise `Refused(code="bad-agent-config")` naming key, value and accepted form."""
        ...

    def plan(self, brief: Brief) -> Launch: ...

    def read(self, line: bytes) -> Sequence[AgentEvent]:
        """The events in one complete line of output; a line it does not know has none."""
        ...

    def recall(self, native_id: str) -> tuple[str, ...] | None:
        """The command that prints, where the agent ran, the names `[message ID]` of all messages that its conversation holds on disk, and
        ends with the exit code `NO_CONVERSATION` where there is none; None when it keeps none that can be asked. A program that died may have
        read words that it forgot with its death."""
        ...

    def say(self, *, message: str, text: str) -> bytes | None:
        """The bytes that put a message into a live conversation, or None when this agent takes messages only between turns. The agent
        confirms the message by its id (`Confirmed`) when it has read it; one that it has not is told again with the next turn."""
        ...

    def answer(self, *, asked: NeedsInput, answer: str) -> bytes | None:
        """The bytes that answer a request of a live turn, or None when the answer is told in the next turn."""
        ...


# --- SCM: the forge where changes are reviewed and merged ---------------------------------------------------------------------------------


class PullState(StrEnum):
    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSeen:
    """One check run at one sha. `conclusion` is None while it runs; `failing_log` is the part that says why it failed, already capped, and
    `fingerprint` what the same failure has in every run."""

    id: str
    name: str
    head_sha: str
    status: str  # queued | in_progress | completed
    conclusion: str | None  # success | failure | cancelled | skipped | neutral | timed_out
    url: str = ""
    failing_log: str = ""
    fingerprint: str = ""
    headline: str = ""
    started_at: datetime | None = None
    completed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentSeen:
    """One review comment of a thread; `trusted`: its author may direct the agent (write access, asked of the forge)."""

    id: str
    thread: str
    author: str
    body: str
    path: str
    line: int | None
    created_at: datetime
    resolved: bool
    trusted: bool
    bot: bool = False
    ours: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewSeen:
    """One review. Decisions: approve, request_changes, comment, dismissed."""

    id: str
    author: str
    decision: str
    head_sha: str
    body: str
    submitted_at: datetime
    trusted: bool
    bot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequestSeen:
    """A pull request as the forge showed it at one instant. `mergeable` is None while the forge does not know yet."""

    number: int
    url: str
    state: PullState
    branch: str
    base_branch: str
    head_sha: str
    base_sha: str
    mergeable: bool | None
    conflict_files: tuple[str, ...]
    merged_sha: str | None
    required_checks: tuple[str, ...] | None  # None: the forge does not say
    checks: tuple[CheckSeen, ...]
    reviews: tuple[ReviewSeen, ...]
    comments: tuple[CommentSeen, ...]
    observed_at: datetime
    base_checks: tuple[CheckSeen, ...] = ()  # at `base_sha`, where the forge runs them itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A pull request to be opened. `marker` is hidden in the body and finds our own again."""

    branch: str
    base_branch: str
    head_sha: str
    title: str
    body: str
    marker: str


class SCM(Protocol):
    """The forge of one project. It holds the credentials; nobody else does."""

    def observe(
        self,
        numbers: Sequence[int],
        *,
        told: Mapping[int, datetime | None] | None = None,
        for_a_write: bool = False,
        timeout: float = 30,
    ) -> Sequence[PullRequestSeen]:
        """What the forge says of them by now. `told`: when webhooks last told something of each, where these can be relied on;
        None: nobody tells anything. A look that belongs to a write may use what the forge's limits keep for writes."""
        ...

    def open_pull_request(self, proposal: Proposal, *, timeout: float = 30) -> PullRequestSeen:
        """Adopt the pull request of that branch if there is one, in any state, else create it."""
        ...

    def merge(self, number: int, *, head_sha: str, method: str, message: str, timeout: float = 45) -> str:
        """Merge exactly `head_sha` and answer the merge commit; also where it is merged already. Refused codes: `head-moved`, `conflict`,
        `not-allowed`, `base-dirty`, `dequeued` where the forge's merge queue gave it up."""
        ...

    def withdraw(self, number: int, *, head_sha: str, timeout: float = 30) -> None:
        """This head is not to be merged any more: take it from the forge's merge queue, if we put it there."""
        ...

    def rerun(self, number: int, *, head_sha: str, checks: Sequence[str], timeout: float = 30) -> None:
        """Run these failed checks of the head again, by their ids there, where it has not been done since. Refused codes: `not-allowed`,
        `cannot-rerun`."""
        ...

    def close(self, number: int, *, timeout: float = 30) -> None: ...

    def delete_branch(self, branch: str, *, expected_sha: str, timeout: float = 30) -> None:
        """Delete the branch while it still is at `expected_sha`; a missing branch is fine. Refused code: `branch-moved`."""
        ...

    def comment(self, number: int, *, marker: str, body: str, timeout: float = 30) -> None:
        """A comment of ours below the pull request, once per marker."""
        ...

    def answer(
        self, number: int, *, thread: str, comment: str, marker: str, body: str, settle: bool, timeout: float = 30
    ) -> None:
        """A reply of ours in a review thread, which begins with `comment`, once per marker; `settle` resolves the thread. A thread that is gone
        is fine."""
        ...


# --- Tracker and notifier -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """An issue as its tracker shows it."""

    id: str
    title: str
    body: str
    state: str
    labels: tuple[str, ...]
    url: str
    author: str
    trusted: bool
    identifier: str = ""  # as people call it in its project
    priority: int | None = None  # 1 is the most urgent, 4 the least
    assignee: str = ""
    blocked_by: tuple[str, ...] = ()  # ids of issues that have to be over first
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Tracker(Protocol):
    """Where tasks come from. It never writes."""

    def issue(self, reference: str, *, timeout: float = 30) -> Issue: ...

    def candidates(self, *, labels: Sequence[str], timeout: float = 45) -> Sequence[Issue]:
        """Every open issue that has all of these labels, those that nobody may work on included, in the tracker's order."""
        ...

    def refresh(self, ids: Sequence[str], *, timeout: float = 45) -> Sequence[Issue]:
        """The issues of these ids as they are now; those that cannot be seen (any more) are left out. No ids: no question is asked."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeLink:
    """Something to press: what it does, and the address that does it after one more click."""

    label: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Words for people, with a stable `id` by which a channel can tell a repetition."""

    id: str
    priority: str  # urgent | action | warning | info
    title: str
    body: str
    url: str
    links: tuple[NoticeLink, ...] = ()  # what can be pressed
    event: str = "alert"  # asked | climbed | reminded | back | alert | digest
    about: tuple[int, ...] = ()  # the escalations that it is about, by id


class Notifier(Protocol):
    """One channel to people. At least once, with the notice's stable id."""

    def notify(self, notice: Notice, *, timeout: float = 15) -> None: ...
