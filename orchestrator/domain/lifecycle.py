"""The heart: what a task's facts mean and what follows from them. Pure, and safe to ask any number of times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from orchestrator.domain.actions import (
    Abandon,
    Action,
    AnswerThread,
    ClosePullRequest,
    DeleteBranch,
    EndSession,
    HangUp,
    Interrupt,
    Merge,
    OpenPullRequest,
    Prepare,
    Publish,
    ReadIssue,
    RunCheck,
    Say,
    SendToAgent,
    Settle,
    StartTurn,
    StopAgent,
    key_of,
)
from orchestrator.domain.answers import answers_in
from orchestrator.domain.continuing import (
    call_for_turns,
    continuation,
    continued_at,
    goes_on,
    resumed_at,
    turns_used_up,
)
from orchestrator.domain.issues import Standing
from orchestrator.domain.progress import progress_of
from orchestrator.domain.prompts import resume_words
from orchestrator.domain.reactions import LOST_RACE, Reacted, merges, react, with_something_to_say
from orchestrator.domain.reasons import Reason
from orchestrator.domain.rules import Priority, Trigger
from orchestrator.domain.snapshot import (
    JobFacts,
    JobState,
    Memory,
    Progress,
    PullFacts,
    SessionFacts,
    Snapshot,
    TurnEnd,
    TurnFacts,
    undelivered,
    unfinished_jobs,
)
from orchestrator.domain.standing import status_of
from orchestrator.domain.status import Outcome, TaskStatus
from orchestrator.domain.triggers import (
    asks,
    at_rest,
    blame_of,
    died,
    held_back,
    held_triggers,
    live_turn,
    stopped,
    task_budget_is_used_up,
)
from orchestrator.domain.waiting import call, called_at, waiting_job, words_of

_GIVEN_UP = frozenset({JobState.REFUSED, JobState.QUARANTINED, JobState.DROPPED})
_LEFT = frozenset({JobState.REFUSED, JobState.QUARANTINED})
_CALLS = ("job:", "waits:", "aside:")  # causes that no trigger holds: they are gone when nobody asks for them any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What follows from a snapshot. `memory` and `actions` are to be stored with `status` in one transaction."""

    status: TaskStatus
    reason: str
    evidence: tuple[str, ...] = ()
    outcome: Outcome | None = None
    memory: tuple[Memory, ...] = ()
    actions: tuple[Action, ...] = ()
    wake_at: datetime | None = None
    why: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()  # what the rules said; `why` has these as lines, and what goes on without a rule
    asked_by: Mapping[str, Trigger] = field(default_factory=dict)  # the key of an action -> whose rule asked for it
    progress: Progress | None = None  # the task's last; None: as it was


def decide(snapshot: Snapshot) -> Decision:
    """Status, memory, actions and the next time to look, from facts alone."""
    outcome = outcome_of(snapshot)
    if outcome is not None:
        return _wind_down(snapshot, outcome)
    held = held_triggers(snapshot)
    heeded = held if snapshot.task.cancel_requested_at is None else ()
    reacted = [react(one, snapshot) for one in with_something_to_say(heeded, snapshot)]
    actions = [*_progress(snapshot), *(action for one in reacted for action in one.actions)]
    blocked = _blocking_job(snapshot, actions)
    if blocked is not None:
        actions.append(_ask_about(blocked))
    actions.extend(_left_on_hosts(snapshot, actions))
    waits = waiting_job(snapshot, actions)
    actions.extend(call(waits, snapshot))
    actions.extend(_calls_gone(snapshot, actions))
    status, reason, evidence = status_of(snapshot, held, blocked, waits)
    return Decision(
        status=status,
        reason=reason,
        evidence=evidence,
        memory=tuple(one.memory for one in reacted),
        actions=tuple(actions),
        wake_at=_earliest(
            [
                *(one.look_again_at for one in heeded),
                *(one.wake_at for one in reacted),
                _host_deadline(snapshot),
                called_at(waits, snapshot),
                resumed_at(snapshot),
                continued_at(snapshot),
            ],
            after=snapshot.now,
        ),
        why=_why(reacted, actions),
        reasons=_reasons(reacted),
        asked_by=_asked_by(reacted),
        progress=progress_of(snapshot),
    )


def outcome_of(snapshot: Snapshot) -> Outcome | None:
    """How the task ended, if it has. A merge that happened wins over a cancel that was asked for; what ended stays ended."""
    task, pull = snapshot.task, snapshot.pull
    if task.outcome is not None:
        return task.outcome
    if pull is not None and pull.state == "merged":
        return Outcome.MERGED
    if task.cancel_requested_at is not None or _issue_is_over(snapshot):
        return None if _under_way(snapshot, "merge:") else Outcome.CANCELLED
    if pull is not None and pull.state == "closed":
        return Outcome.CLOSED
    return Outcome.DONE if _nothing_to_do(snapshot) else None


def _issue_is_over(snapshot: Snapshot) -> bool:
    """Nobody needs the work any more. A pull request is looked at once more first: its merge may be what closed the issue."""
    issue, pull = snapshot.task.issue, snapshot.pull
    if issue is None or issue.standing is not Standing.OVER:
        return False
    return pull is None or pull.state != "open" or pull.observed_at > issue.since


def _nothing_to_do(snapshot: Snapshot) -> bool:
    session, turn = snapshot.session, snapshot.turn
    if session is None or session.ended or turn is None or snapshot.pull is not None:
        return False
    if goes_on(snapshot):
        return False
    return turn.end is TurnEnd.FINISHED and at_rest(snapshot) and session.commits == 0 and not asks(turn)


def _under_way(snapshot: Snapshot, prefix: str) -> bool:
    """Such a job may have been carried out already: it is claimed, or was and is to be claimed again."""
    return any(
        job.state is JobState.CLAIMED or (job.state is JobState.PROMISED and job.attempts > 0)
        for job in unfinished_jobs(snapshot, prefix)
    )


# --- What moves a task forward ------------------------------------------------------------------------------------------------------------


def _progress(snapshot: Snapshot) -> Iterator[Action]:
    if snapshot.task.cancel_requested_at is not None:
        return
    session, pull = snapshot.session, snapshot.pull
    if snapshot.task.unread_issue:
        yield ReadIssue(reference=snapshot.task.unread_issue, attempt=snapshot.task.attempt)
    if session is not None and not session.ended:
        yield from _of_the_session(snapshot, session)
    if pull is not None and pull.state == "open":
        yield from _of_the_pull_request(snapshot, pull)


def _of_the_session(snapshot: Snapshot, session: SessionFacts) -> Iterator[Action]:
    deadline = _host_deadline(snapshot)
    if deadline is not None and snapshot.now >= deadline:
        reason = f"the host {session.host} has not been seen since {session.host_silent_since:%H:%M} UTC"
        yield Abandon(session=session.id, reason=reason)
    elif not session.prepared and snapshot.task.held_by_issue:
        return
    elif not session.prepared:
        yield Prepare(session=session.id, attempt=snapshot.task.attempt)
    else:
        yield from _turns(snapshot, session)
        if _to_be_reviewed(snapshot, session) and session.published_sha:
            yield OpenPullRequest(head_sha=session.published_sha, attempt=snapshot.task.attempt)


def _turns(snapshot: Snapshot, session: SessionFacts) -> Iterator[Action]:
    turn, attempt = snapshot.turn, snapshot.task.attempt
    waiting = bool(undelivered(snapshot))
    if turn is not None and turn.end is None:
        yield from _of_the_live_turn(snapshot, session, turn)
    elif turn is not None and not turn.published:
        yield Publish(session=session.id, turn=turn.n, attempt=attempt)
    elif snapshot.task.paused or snapshot.task.held_by_issue or held_back(snapshot):
        return
    elif turns_used_up(snapshot):
        yield call_for_turns(snapshot)
    elif waiting:
        yield StartTurn(session=session.id, turn=turn.n + 1 if turn is not None else 1, attempt=attempt)
    elif goes_on(snapshot):
        yield from continuation(snapshot)
    elif turn is not None and died(turn) and turn.resumes < snapshot.policy.resumes and not _waits_to_resume(snapshot):
        yield SendToAgent(
            session=session.id,
            trigger=Trigger.AGENT_EXITED,
            occasion=f"turn-{turn.n}",
            episode=0,
            text=resume_words(detail=turn.detail),
        )


def _waits_to_resume(snapshot: Snapshot) -> bool:
    at = resumed_at(snapshot)
    return at is not None and snapshot.now < at


def _of_the_live_turn(snapshot: Snapshot, session: SessionFacts, turn: TurnFacts) -> Iterator[Action]:
    """What a person says is said at once, unless the agent is done: then it is told with the next turn. The agent is done when it said so
    and has read everything that was said to it."""
    if snapshot.task.held_by_issue:
        if turn.started:
            yield StopAgent(session=session.id, turn=turn.n)
    elif not turn.started:
        yield StartTurn(session=session.id, turn=turn.n, attempt=snapshot.task.attempt)
    elif held_back(snapshot) and task_budget_is_used_up(snapshot):
        yield StopAgent(session=session.id, turn=turn.n)
    elif turn.done_at is None:
        for message in snapshot.messages:
            if message.turn is None and message.by_a_person:
                yield Say(session=session.id, turn=turn.n, message=message.id)
    elif all(message.confirmed for message in snapshot.messages if message.turn == turn.n):
        yield HangUp(session=session.id, turn=turn.n, occasion=turn.done_at.isoformat())


def _to_be_reviewed(snapshot: Snapshot, session: SessionFacts) -> bool:
    """The agent has ended its turn by itself and published commits that no pull request shows yet."""
    turn = snapshot.turn
    if snapshot.pull is not None or turn is None or not session.commits or not at_rest(snapshot):
        return False
    return not (died(turn) or asks(turn) or stopped(snapshot))


def _of_the_pull_request(snapshot: Snapshot, pull: PullFacts) -> Iterator[Action]:
    known = {check.name for check in pull.checks}
    for name in snapshot.policy.own_checks:
        if name not in known:
            # A retry asks anew for a check whose first run could not be begun.
            yield RunCheck(name=name, head_sha=pull.head_sha, n=snapshot.task.attempt + 1)
    if (found := blame_of(snapshot)) is not None:
        yield from found.asks
    if snapshot.policy.answers_threads:
        yield from _answers(snapshot, pull)
    if snapshot.task.merge_requested == pull.head_sha:
        # A person pressed merge on this head: it is merged if it still is green and approved, like any other.
        for held in held_triggers(snapshot):
            yield from merges(held, snapshot)


def _answers(snapshot: Snapshot, pull: PullFacts) -> Iterator[Action]:
    """What people said in a thread is answered once the agent has been told of it and its turn is over and published: that turn, or the one
    that went on where it died. A commit made since settles the thread, unless the agent says that it is open; without one it is settled where
    the agent says so, else by its people."""
    turn, session = snapshot.turn, snapshot.session
    if turn is None or session is None or not turn.published or not at_rest(snapshot) or died(turn) or asks(turn):
        return
    newest = {comment.thread: comment for comment in pull.comments}
    said = answers_in(turn.last_words)
    for thread, comment in newest.items():
        people = comment.trusted and not comment.bot and not comment.ours
        if people and not comment.resolved and comment.told_in is not None and 0 < comment.told_in <= turn.n:
            settled = said[thread].settled if thread in said else None
            made = session.published_sha not in {None, comment.told_at}
            yield AnswerThread(
                thread=thread,
                comment=comment.id,
                turn=turn.n,
                settles=made if settled is None else settled,
                edits=comment.edits,
            )


def _host_deadline(snapshot: Snapshot) -> datetime | None:
    """When a successor may start: the guard on the silent host has stopped the agent by then, whatever the clocks' drift."""
    session, span = snapshot.session, snapshot.policy.reassign_after
    if session is None or session.ended or session.host_silent_since is None or span is None:
        return None
    return session.host_silent_since + span * 1.01 + timedelta(seconds=10)


# --- What stops it ------------------------------------------------------------------------------------------------------------------------


def _blocking_job(snapshot: Snapshot, actions: Iterable[Action]) -> JobFacts | None:
    """A job that is asked for and was given up: the task cannot go on without it, and the same key is not tried again by itself."""
    for action in actions:
        job = snapshot.jobs.get(key_of(action))
        if job is not None and job.state in _GIVEN_UP and not _answered_by_facts(action, job, snapshot):
            return job
    return None


def _answered_by_facts(action: Action, job: JobFacts, snapshot: Snapshot) -> bool:
    """A merge that lost a race waits for the next look at the pull request. A branch that somebody moved is theirs."""
    if job.code not in LOST_RACE:
        return False
    if isinstance(action, Merge) and snapshot.pull is not None:
        return job.settled_at is not None and snapshot.pull.observed_at <= job.settled_at
    return isinstance(action, DeleteBranch)


def _ask_about(job: JobFacts) -> Interrupt:
    return Interrupt(
        trigger=None,
        cause=f"job:{job.key}",
        priority=Priority.URGENT,
        escalation=True,
        question=job.error or f"{job.key} cannot be carried out.",
        evidence=(job.code,) if job.code else (),
    )


def _left_on_hosts(snapshot: Snapshot, actions: Iterable[Action]) -> list[Action]:
    """A session that could not be taken down keeps its workspace on its host. The task goes on with a successor and needs it no more, so
    nothing else asks for it: people are told."""
    told = _causes(actions)
    asked = [_ask_about(job) for job in unfinished_jobs(snapshot, "end:") if job.state in _LEFT]
    return [one for one in asked if one.cause not in told]


def _calls_gone(snapshot: Snapshot, actions: Iterable[Action]) -> list[Action]:
    """Calls about jobs, or about a task on which nothing could be decided, whose reason is not there any more."""
    asked_now = _causes(actions)
    return [
        Settle(cause=asked.cause)
        for asked in snapshot.interruptions
        if asked.open and asked.cause.startswith(_CALLS) and asked.cause not in asked_now
    ]


def _causes(actions: Iterable[Action]) -> set[str]:
    return {action.cause for action in actions if isinstance(action, Interrupt)}


# --- How it ends --------------------------------------------------------------------------------------------------------------------------


def _wind_down(snapshot: Snapshot, outcome: Outcome) -> Decision:
    """Everything of the task is taken down; asking again adds nothing."""
    grace = _cleanup_at(snapshot, outcome)
    actions = list(_taken_down(snapshot, outcome, at_once=snapshot.now >= grace))
    closed = _closed(snapshot) if outcome is Outcome.CLOSED else []
    left = _blocking_job(snapshot, actions)
    if left is not None:
        actions.append(_ask_about(left))
    actions.extend(_left_on_hosts(snapshot, actions))
    waits = waiting_job(snapshot, actions)
    actions.extend(call(waits, snapshot))
    actions += [action for one in closed for action in one.actions]
    actions += _settled(snapshot, actions, but=Trigger.PR_CLOSED if outcome is Outcome.CLOSED else None)
    remembered = {
        memory.trigger: replace(memory, held=False, since=None, deadline_at=None) for memory in snapshot.memory.values()
    }
    remembered |= {one.memory.trigger: one.memory for one in closed}
    return Decision(
        status=TaskStatus(outcome.value),
        reason=f"{_ending(snapshot, outcome)}; {words_of(waits)}" if waits is not None else _ending(snapshot, outcome),
        outcome=outcome,
        memory=tuple(remembered.values()),
        actions=tuple(actions),
        wake_at=_earliest([grace, called_at(waits, snapshot), *(one.wake_at for one in closed)], after=snapshot.now),
        why=_why(closed, actions),
        reasons=_reasons(closed),
        asked_by=_asked_by(closed),
    )


def _taken_down(snapshot: Snapshot, outcome: Outcome, *, at_once: bool) -> Iterator[Action]:
    session, pull = snapshot.session, snapshot.pull
    if session is not None and not session.ended and at_once:
        yield EndSession(session=session.id)
    if outcome is Outcome.MERGED and pull is not None and snapshot.policy.auto_cleanup:
        yield DeleteBranch(branch=snapshot.task.branch, head_sha=pull.head_sha)
    if outcome is Outcome.CANCELLED and pull is not None and pull.state == "open":
        yield ClosePullRequest(number=pull.number)


def _settled(snapshot: Snapshot, actions: Iterable[Action], *, but: Trigger | None) -> list[Action]:
    """What the end has answered: everything but what is asked because of it."""
    asked_now = _causes(actions)
    gone = [asked for asked in snapshot.interruptions if asked.open and asked.cause not in asked_now]
    return [Settle(cause=asked.cause) for asked in gone if but is None or not asked.cause.startswith(f"{but}:")]


def _closed(snapshot: Snapshot) -> list[Reacted]:
    return [react(held, snapshot) for held in held_triggers(snapshot) if held.trigger is Trigger.PR_CLOSED]


def _cleanup_at(snapshot: Snapshot, outcome: Outcome) -> datetime:
    """At once, but for an agent that is still at work when its change was merged: that one has the project's grace."""
    since = snapshot.task.ended_at or snapshot.now
    busy = outcome is Outcome.MERGED and live_turn(snapshot) is not None
    return since + snapshot.policy.cleanup_grace if busy else since


def _ending(snapshot: Snapshot, outcome: Outcome) -> str:
    match outcome:
        case Outcome.MERGED:
            return f"!{snapshot.pull.number} was merged" if snapshot.pull is not None else "merged"
        case Outcome.DONE:
            return f"no change was needed: {_last_words(snapshot)}"
        case Outcome.CLOSED:
            return "the pull request was closed without a merge"
        case Outcome.CANCELLED if snapshot.task.cancel_requested_at is None and snapshot.task.issue is not None:
            return f"the issue {snapshot.task.issue.identifier} is {snapshot.task.issue.state}"
        case Outcome.CANCELLED:
            return "cancelled"


def _last_words(snapshot: Snapshot) -> str:
    words = snapshot.turn.last_words.strip() if snapshot.turn is not None else ""
    return words.splitlines()[-1][:200] if words else "the agent ended its turn without a commit"


def _why(reacted: list[Reacted], actions: list[Action]) -> tuple[str, ...]:
    """What the rules say, then what goes on without a rule."""
    by_rule = {key_of(action) for one in reacted for action in one.actions}
    plain = [key for action in actions if not isinstance(action, Settle) and (key := key_of(action)) not in by_rule]
    return (*map(str, _reasons(reacted)), *(f"-> {key}" for key in plain))


def _reasons(reacted: list[Reacted]) -> tuple[Reason, ...]:
    return tuple(one.why for one in reacted if one.why is not None)


def _asked_by(reacted: list[Reacted]) -> dict[str, Trigger]:
    return {key_of(action): one.memory.trigger for one in reacted for action in one.actions}


def _earliest(times: Iterable[datetime | None], *, after: datetime) -> datetime | None:
    return min((time for time in times if time is not None and time > after), default=None)
