"""The word that people see for a task that has not ended, why it stands there, and on what evidence."""

from __future__ import annotations

from orchestrator.domain.continuing import turns_used_up
from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import (
    JobFacts,
    JobState,
    PullFacts,
    SessionFacts,
    Snapshot,
    TurnEnd,
    TurnFacts,
    undelivered,
    unfinished_jobs,
)
from orchestrator.domain.status import TaskStatus
from orchestrator.domain.triggers import (
    Held,
    Hold,
    asks,
    at_rest,
    blame_of,
    died,
    failures_of,
    held_back,
    live_turn,
    stopped,
)
from orchestrator.domain.verdicts import CI, ci_of, review_of
from orchestrator.domain.waiting import words_of

Word = tuple[TaskStatus, str, tuple[str, ...]]
Holding = dict[Trigger, Held]

_LEFT_UNDONE = frozenset(
    {Trigger.CI_FAILED, Trigger.CHANGES_REQUESTED, Trigger.BUGBOT_COMMENTS, Trigger.MERGE_CONFLICTS}
)
_NO_CHECKS = "no checks are known: not mergeable unless the project sets requiredChecks: []"
_NO_BUDGET = "its budget is used up: raise it, or resume the task for as much again"
_STOPPED = "the agent was stopped: send it a message, or cancel the task"


def status_of(
    snapshot: Snapshot, held: tuple[Held, ...], blocked: JobFacts | None, waits: JobFacts | None = None
) -> Word:
    """The first of these that has a word: a cancel, a job that was given up, the agent, the pull request. The reason is what a job waits
    for where one does."""
    status, reason, evidence = _word(snapshot, held, blocked)
    if waits is not None and blocked is None:
        return status, words_of(waits), evidence
    paused = _paused_or(snapshot, "")
    if paused and blocked is None and status is not TaskStatus.QUEUED and paused not in reason:
        return status, f"{reason}; {paused}", evidence
    return status, reason, evidence


def _word(snapshot: Snapshot, held: tuple[Held, ...], blocked: JobFacts | None) -> Word:
    holding = {one.trigger: one for one in held if one.hold is Hold.HELD}
    if snapshot.task.cancel_requested_at is not None:
        return TaskStatus.MERGING, "a merge is under way; then it is cancelled if that fails", ()
    if blocked is not None:
        return TaskStatus.FAILED, blocked.error or blocked.key, (blocked.code,) if blocked.code else ()
    issue = snapshot.task.issue
    if issue is not None and snapshot.task.held_by_issue and (snapshot.pull is None or snapshot.pull.state != "open"):
        return TaskStatus.QUEUED, f"its issue {issue.identifier} is not worked on: {issue.why}", ()
    session = snapshot.session
    if session is None or session.ended:
        return TaskStatus.QUEUED, snapshot.task.waiting_for or "waits for a host", ()
    if Trigger.BUDGET_EXCEEDED in holding and _waits_for_budget(snapshot, holding):
        return TaskStatus.NEEDS_INPUT, _NO_BUDGET, holding[Trigger.BUDGET_EXCEEDED].evidence
    return _agent_word(snapshot, session, holding) or _pull_word(snapshot, holding) or _resting_word(snapshot, session)


def _waits_for_budget(snapshot: Snapshot, holding: Holding) -> bool:
    """The agent would go on if it might; what waits for a review or a merge does not need it."""
    if live_turn(snapshot) is not None or not held_back(snapshot):
        return False
    waiting = bool(undelivered(snapshot))
    return waiting or stopped(snapshot) or bool(_LEFT_UNDONE & holding.keys())


def _agent_word(snapshot: Snapshot, session: SessionFacts, holding: Holding) -> Word | None:
    calls = (
        (Trigger.AGENT_EXITED, TaskStatus.FAILED, "the agent's program keeps dying"),
        (Trigger.AGENT_NEEDS_INPUT, TaskStatus.NEEDS_INPUT, "the agent asks"),
        (Trigger.AGENT_STUCK, TaskStatus.STUCK, "the agent shows no progress"),
    )
    for trigger, status, reason in calls:
        if trigger in holding and not _about_to_go_on(snapshot):
            return status, reason, holding[trigger].evidence
    turn = snapshot.turn
    if not session.prepared:
        return TaskStatus.STARTING, "the workspace is being made", ()
    if turn is None:
        return TaskStatus.STARTING, _paused_or(snapshot, "the agent is being started"), ()
    if turn.end is None or not turn.published:
        return _working_word(session, turn)
    if turns_used_up(snapshot):
        return (
            TaskStatus.NEEDS_INPUT,
            "it has had all turns that agent.max_turns allows: retry gives it as many more",
            (),
        )
    if _about_to_go_on(snapshot):
        return (
            (TaskStatus.QUEUED if snapshot.task.paused else TaskStatus.WORKING),
            _paused_or(snapshot, "the next turn is about to start"),
            (),
        )
    return None


def _about_to_go_on(snapshot: Snapshot) -> bool:
    turn = snapshot.turn
    if turn is None or turn.end is None or not turn.published:
        return False
    return not at_rest(snapshot) or (died(turn) and turn.resumes < snapshot.policy.resumes)


def _paused_or(snapshot: Snapshot, words: str) -> str:
    if not snapshot.task.paused:
        return words
    return f"{snapshot.task.pause_reason or 'it is paused'}: it goes on when somebody resumes it"


def _working_word(session: SessionFacts, turn: TurnFacts) -> Word:
    if not turn.started and turn.end is None:
        return (TaskStatus.STARTING if turn.n == 1 else TaskStatus.WORKING), "the agent is being started", ()
    if session.host_silent_since is not None:
        since = f"{session.host_silent_since:%H:%M} UTC"
        return TaskStatus.WORKING, f"the host {session.host} is silent since {since}: held, not judged", ()
    return TaskStatus.WORKING, f"turn {turn.n} is under way" if turn.end is None else "its work is being published", ()


def _pull_word(snapshot: Snapshot, holding: Holding) -> Word | None:
    pull = snapshot.pull
    if pull is None or pull.state != "open":
        return None
    if any(_open(job) for job in unfinished_jobs(snapshot, f"merge:{pull.head_sha}:")):
        return TaskStatus.MERGING, f"{pull.head_sha[:10]} is being merged", ()
    if stopped(snapshot) and _LEFT_UNDONE & holding.keys():
        return TaskStatus.NEEDS_INPUT, _STOPPED, ()
    return _undone_word(snapshot, pull, holding) or _review_word(snapshot, holding)


def _undone_word(snapshot: Snapshot, pull: PullFacts, holding: Holding) -> Word | None:
    if pull.mergeable is False:
        return TaskStatus.CONFLICTED, "conflicts with its base", pull.conflict_files
    ci = ci_of(snapshot)
    found = blame_of(snapshot)
    if found is not None:
        return TaskStatus.CI_FAILED, found.waits or "checks failed", failures_of(snapshot)
    if Trigger.CHANGES_REQUESTED in holding:
        return TaskStatus.CHANGES_REQUESTED, "changes are requested", holding[Trigger.CHANGES_REQUESTED].evidence
    if ci.word is CI.PENDING:
        missing = f"not reported yet: {', '.join(ci.missing)}" if ci.missing else "checks are running"
        return TaskStatus.CI_PENDING, missing, ()
    return None


def _review_word(snapshot: Snapshot, holding: Holding) -> Word:
    if Trigger.APPROVED_AND_GREEN in holding:
        return TaskStatus.MERGEABLE, "approved and green", holding[Trigger.APPROVED_AND_GREEN].evidence
    if ci_of(snapshot).word is CI.UNKNOWN:
        return TaskStatus.REVIEW_PENDING, _NO_CHECKS, ()
    review = review_of(snapshot)
    if review.approved:
        return TaskStatus.CI_PENDING, "approved and green; whether it merges cleanly is not known yet", ()
    untrusted = (f"{review.untrusted} words by people without write access are ignored",) if review.untrusted else ()
    return TaskStatus.REVIEW_PENDING, "waits for a review", untrusted


def _open(job: JobFacts) -> bool:
    return job.state in {JobState.PROMISED, JobState.CLAIMED}


def _resting_word(snapshot: Snapshot, session: SessionFacts) -> Word:
    turn = snapshot.turn
    if stopped(snapshot):
        return TaskStatus.NEEDS_INPUT, _STOPPED, ()
    if turn is not None and not asks(turn) and not session.commits and turn.end is TurnEnd.FAILED:
        return (
            TaskStatus.NEEDS_INPUT,
            "the agent ended with an error and left no commit: send it a message, or cancel the task",
            (),
        )
    return TaskStatus.WORKING, "its pull request is being opened", ()
