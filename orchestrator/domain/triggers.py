"""Which triggers hold on a snapshot, on which occasion, and when each has cleared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.domain import budgets, progress
from orchestrator.domain.blame import Blame, blame, marks
from orchestrator.domain.budgets import Span
from orchestrator.domain.rules import Trigger, pauses
from orchestrator.domain.snapshot import (
    CommentFacts,
    Memory,
    PullFacts,
    ReviewFacts,
    SessionFacts,
    Snapshot,
    TurnEnd,
    TurnFacts,
    once,
    told_by,
    undelivered,
)
from orchestrator.domain.verdicts import CI, CIVerdict, ReviewVerdict, ci_of, review_of

AGAIN = timedelta(minutes=1)  # what is waited for may have come although nobody rang
AGENT_TRIGGERS = (Trigger.AGENT_NEEDS_INPUT, Trigger.AGENT_STUCK, Trigger.AGENT_EXITED)


class Hold(StrEnum):
    """`open` is neither: the last answer to the trigger is not judged yet (a pending build, a push that awaits its review)."""

    HELD = "held"
    OPEN = "open"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One trigger on one snapshot. An occasion is all that makes it new work; "" means that it still holds with nothing new to say."""

    trigger: Trigger
    hold: Hold
    occasion: str = ""
    evidence: tuple[str, ...] = ()
    look_again_at: datetime | None = None


_CLEAR = {trigger: Held(trigger=trigger, hold=Hold.CLEAR) for trigger in Trigger}  # most are clear at any time


def digest(*parts: object) -> str:
    """A short, stable name for a set of facts."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()[:16]


@once
def held_triggers(snapshot: Snapshot) -> tuple[Held, ...]:
    """Every trigger of a task, judged on the same facts."""
    agent = (*_of_the_agent(snapshot), _budget_exceeded(snapshot))
    pull = snapshot.pull
    if pull is None:
        return agent
    ci, review = ci_of(snapshot), review_of(snapshot)
    answering = (
        _ci_failed(snapshot, pull, ci),
        _changes_requested(snapshot, pull, review),
        _bugbot_comments(snapshot, pull, review),
        _merge_conflicts(snapshot, pull),
    )
    idle = _agent_idle(snapshot, answering)
    return (*agent, *answering, idle, _approved_and_green(snapshot, pull, ci, review), _pr_closed(snapshot, pull))


def live_turn(snapshot: Snapshot) -> TurnFacts | None:
    """The turn that is running or being started; a session that has ended has none, whatever was last seen of it."""
    if snapshot.turn is None or snapshot.session is None or snapshot.session.ended:
        return None
    return snapshot.turn if snapshot.turn.end is None else None


@once
def at_rest(snapshot: Snapshot) -> bool:
    """Nobody is at work: no live turn, no message on its way, nothing unpublished."""
    if undelivered(snapshot):
        return False
    turn, session = snapshot.turn, snapshot.session
    return turn is None or session is None or session.ended or (turn.end is not None and turn.published)


def died(turn: TurnFacts) -> bool:
    """The program did not end its turn by itself, or ended it with an error and left nothing behind."""
    if turn.end in {TurnEnd.KILLED, TurnEnd.UNSTARTABLE}:
        return True
    return turn.end is TurnEnd.FAILED and turn.published and not turn.produced


def asks(turn: TurnFacts | None) -> bool:
    """The turn waits, or ended waiting, for a person's answer."""
    return turn is not None and turn.request is not None and not turn.request.answered


def stopped(snapshot: Snapshot) -> bool:
    """Somebody stopped the agent, and only a person's word (or a rule that restarts it) sets it to work again."""
    turn, session = snapshot.turn, snapshot.session
    return turn is not None and session is not None and not session.ended and turn.end is TurnEnd.STOPPED


def memory_of(snapshot: Snapshot, trigger: Trigger) -> Memory:
    """What is remembered of a trigger. A lost memory is found again from the messages of its last episode, so that counting goes on."""
    known = snapshot.memory.get(trigger)
    if known is not None:
        return known
    episode = max([m.episode for m in told_by(snapshot, trigger)], default=0)
    return Memory(trigger=trigger, episode=episode, held=episode > 0, attempt=snapshot.task.attempt)


def episode_of(snapshot: Snapshot, trigger: Trigger) -> int:
    """The number of the episode that a trigger is in when it holds now: a person's retry begins a new one."""
    before = memory_of(snapshot, trigger)
    return before.episode if before.held and before.attempt >= snapshot.task.attempt else before.episode + 1


# --- The agent ----------------------------------------------------------------------------------------------------------------------------


def _of_the_agent(snapshot: Snapshot) -> tuple[Held, ...]:
    """A session that has ended has no agent: what it asked or did is settled, and its successor starts anew."""
    turn, session = snapshot.turn, snapshot.session
    if turn is None or session is None or session.ended:
        return tuple(_CLEAR[trigger] for trigger in AGENT_TRIGGERS)
    return (
        _agent_needs_input(session, turn),
        _agent_stuck(snapshot, session, turn),
        _agent_exited(snapshot, session, turn),
    )


def _occasion(session: SessionFacts, turn: TurnFacts) -> str:
    """A turn's name within its task: a successor's turns are counted from 1 again."""
    return f"turn-{session.epoch}.{turn.n}"


def _agent_needs_input(session: SessionFacts, turn: TurnFacts) -> Held:
    if turn.request is None or turn.request.answered:
        return _CLEAR[Trigger.AGENT_NEEDS_INPUT]
    return Held(
        trigger=Trigger.AGENT_NEEDS_INPUT,
        hold=Hold.HELD,
        occasion=f"{_occasion(session, turn)}.{digest(turn.request.id)}",
        evidence=(turn.request.question,),
    )


def _agent_stuck(snapshot: Snapshot, session: SessionFacts, turn: TurnFacts) -> Held:
    if turn.end is not None or not turn.started or asks(turn):
        return Held(trigger=Trigger.AGENT_STUCK, hold=Hold.OPEN if _stalls(snapshot) else Hold.CLEAR)
    if session.host_silent_since is not None:
        return Held(trigger=Trigger.AGENT_STUCK, hold=Hold.OPEN)  # we cannot see it: no verdict
    threshold = snapshot.rules[Trigger.AGENT_STUCK].threshold
    stuck_at = turn.last_progress_at + threshold
    if snapshot.now < stuck_at:
        return _gets_nowhere(snapshot, threshold, silent_at=stuck_at)
    return Held(
        trigger=Trigger.AGENT_STUCK,
        hold=Hold.HELD,
        occasion=f"{_occasion(session, turn)}.{int(turn.last_progress_at.timestamp())}",
        evidence=(f"no progress since {turn.last_progress_at:%H:%M:%S} UTC",),
    )


def _stalls(snapshot: Snapshot) -> bool:
    last = progress.progress_of(snapshot)
    return progress.stalled(progress.stall_of(snapshot, last), snapshot.rules[Trigger.AGENT_STUCK].threshold)


def _gets_nowhere(snapshot: Snapshot, threshold: timedelta, *, silent_at: datetime) -> Held:
    """An agent that is busy may get nowhere: several turns that took as long as a silence may without any progress of the task."""
    last = progress.progress_of(snapshot)
    stall = progress.stall_of(snapshot, last)
    if not progress.stalled(stall, threshold):
        stalls_at = progress.stalls_at(stall, threshold, now=snapshot.now) or silent_at
        return Held(trigger=Trigger.AGENT_STUCK, hold=Hold.CLEAR, look_again_at=min(silent_at, stalls_at))
    return Held(
        trigger=Trigger.AGENT_STUCK,
        hold=Hold.HELD,
        occasion=f"nowhere.{int(last.at.timestamp())}",
        evidence=(progress.evidence_of(stall, last),),
        look_again_at=silent_at,
    )


def _agent_exited(snapshot: Snapshot, session: SessionFacts, turn: TurnFacts) -> Held:
    if turn.end is None:
        return Held(trigger=Trigger.AGENT_EXITED, hold=Hold.OPEN if turn.resumes else Hold.CLEAR)
    if not died(turn):
        return _CLEAR[Trigger.AGENT_EXITED]
    if turn.resumes < snapshot.policy.resumes:
        return Held(trigger=Trigger.AGENT_EXITED, hold=Hold.OPEN)  # it is resumed first; see lifecycle
    return Held(
        trigger=Trigger.AGENT_EXITED,
        hold=Hold.HELD,
        occasion=_occasion(session, turn),
        evidence=(turn.detail, f"resumed {turn.resumes} times"),
    )


def _agent_idle(snapshot: Snapshot, answering: Iterable[Held]) -> Held:
    turn, session = snapshot.turn, snapshot.session
    if turn is None or session is None or turn.end is None or not at_rest(snapshot):
        return Held(trigger=Trigger.AGENT_IDLE, hold=Hold.OPEN)
    if died(turn) or stopped(snapshot) or asks(turn):
        return Held(trigger=Trigger.AGENT_IDLE, hold=Hold.OPEN)
    if turn.produced:
        return _CLEAR[Trigger.AGENT_IDLE]
    left = [held.trigger for held in answering if held.hold is Hold.HELD and _told(snapshot, held, turn)]
    if not left:
        return _CLEAR[Trigger.AGENT_IDLE]
    return Held(
        trigger=Trigger.AGENT_IDLE,
        hold=Hold.HELD,
        occasion=_occasion(session, turn),
        evidence=tuple(f"{trigger} is not answered" for trigger in left),
    )


def _told(snapshot: Snapshot, held: Held, turn: TurnFacts) -> bool:
    """Whether the agent was told of this occasion at all: what it does not know it cannot leave undone."""
    of_trigger = [m for m in told_by(snapshot, held.trigger) if _carried_by(m.turn, turn)]
    return any(not held.occasion or m.occasion == held.occasion for m in of_trigger)


def _carried_by(carrier: int | None, turn: TurnFacts) -> bool:
    return carrier is not None and carrier <= turn.n


# --- What it costs ------------------------------------------------------------------------------------------------------------------------


def held_back(snapshot: Snapshot) -> bool:
    """A budget is used up and the rule says pause: no further turn begins until there is more, a new day, or a person's word."""
    return pauses(snapshot.rules[Trigger.BUDGET_EXCEEDED]) and any(map(budgets.used_up, snapshot.budgets))


def task_budget_is_used_up(snapshot: Snapshot) -> bool:
    """What the task itself may use is used up: its agent is stopped in the middle of a turn, not only before the next."""
    return any(budget.span is Span.TASK and budgets.used_up(budget) for budget in snapshot.budgets)


def _budget_exceeded(snapshot: Snapshot) -> Held:
    over = [budget for budget in snapshot.budgets if budgets.used_up(budget)]
    times = [budgets.runs_out_at(budget, now=snapshot.now) for budget in snapshot.budgets if budget not in over]
    look_again_at = min((at for at in [*times, *(budget.renews_at for budget in over)] if at is not None), default=None)
    if not over:
        return Held(trigger=Trigger.BUDGET_EXCEEDED, hold=Hold.CLEAR, look_again_at=look_again_at)
    # One task of a project asks for all of them; those that wait for a host say why they do.
    asks_here = task_budget_is_used_up(snapshot) or not (
        snapshot.budget_told or snapshot.session is None or snapshot.session.ended
    )
    return Held(
        trigger=Trigger.BUDGET_EXCEEDED,
        hold=Hold.HELD,
        occasion=budgets.occasion_of(over) if asks_here else "",
        evidence=budgets.evidence_of(over),
        look_again_at=look_again_at,
    )


# --- The pull request ---------------------------------------------------------------------------------------------------------------------


@once
def blame_of(snapshot: Snapshot) -> Blame | None:
    """Whose the failures at the head of an open pull request are; None while it is not red."""
    pull = snapshot.pull
    if pull is None or pull.state != "open":
        return None
    ci = ci_of(snapshot)
    if ci.word is not CI.RED:
        return None
    occasion = f"{pull.head_sha[:16]}.{digest(*sorted(check.id for check in ci.failed))}"
    return blame(snapshot, pull, ci.failed, occasion=occasion)


@once
def failures_of(snapshot: Snapshot) -> tuple[str, ...]:
    """The failures at the head of an open pull request, a line each; none while it is not red."""
    found = blame_of(snapshot)
    failed = ci_of(snapshot).failed if found is not None else ()
    return tuple([f"{check.name}: {check.conclusion}{marks(check, found)}" for check in failed if found is not None])


def _ci_failed(snapshot: Snapshot, pull: PullFacts, ci: CIVerdict) -> Held:
    if pull.state != "open" or ci.word is CI.GREEN:
        return _CLEAR[Trigger.CI_FAILED]
    if ci.word is not CI.RED:
        # A pending build is still the agent's answer to the red one, so it does not clear the memory.
        return Held(trigger=Trigger.CI_FAILED, hold=Hold.OPEN, look_again_at=ci.settles_at)
    found = blame_of(snapshot)
    if found is None or found.waits:
        # Nobody is told, no try is counted, and what was remembered stays.
        return Held(
            trigger=Trigger.CI_FAILED,
            hold=Hold.OPEN,
            look_again_at=(found.look_again_at if found else None) or snapshot.now + AGAIN,
        )
    return Held(
        trigger=Trigger.CI_FAILED,
        hold=Hold.HELD,
        occasion=found.occasion,
        evidence=failures_of(snapshot),
    )


def _changes_requested(snapshot: Snapshot, pull: PullFacts, review: ReviewVerdict) -> Held:
    if pull.state != "open" or not review.wants_changes:
        return _CLEAR[Trigger.CHANGES_REQUESTED]
    evidence = tuple(f"{r.author} requested changes" for r in review.objections)
    evidence += tuple(f"{c.author} on {c.path or 'the pull request'}" for c in review.open_comments)
    return _words(snapshot, Trigger.CHANGES_REQUESTED, review.objections, review.open_comments, evidence)


def _bugbot_comments(snapshot: Snapshot, pull: PullFacts, review: ReviewVerdict) -> Held:
    if pull.state != "open" or not review.bot_comments:
        return _CLEAR[Trigger.BUGBOT_COMMENTS]
    evidence = tuple(f"{c.author} on {c.path or 'the pull request'}" for c in review.bot_comments)
    return _words(snapshot, Trigger.BUGBOT_COMMENTS, (), review.bot_comments, evidence)


def _words(
    snapshot: Snapshot,
    trigger: Trigger,
    reviews: Iterable[ReviewFacts],
    comments: Iterable[CommentFacts],
    evidence: tuple[str, ...],
) -> Held:
    """Open words of reviewers. What was not told yet is new; after a retry, all of it is."""
    points = [(r.told, "r", r.id, r.edits) for r in reviews] + [(c.told, "c", c.id, c.edits) for c in comments]
    # Words that were changed since they were told are new ones.
    untold = [(kind, row, edits) if edits else (kind, row) for told, kind, row, edits in points if not told]
    if untold:
        return Held(trigger=trigger, hold=Hold.HELD, occasion=digest(*untold), evidence=evidence)
    episode = episode_of(snapshot, trigger)
    if not any(m.episode == episode for m in told_by(snapshot, trigger)):
        again = digest(*([kind, row] for _, kind, row, _edits in points))
        return Held(trigger=trigger, hold=Hold.HELD, occasion=f"again.{again}", evidence=evidence)
    hold = Hold.OPEN if _answered(snapshot, trigger) else Hold.HELD
    return Held(trigger=trigger, hold=hold, evidence=evidence)


def _answered(snapshot: Snapshot, trigger: Trigger) -> bool:
    """The agent has pushed since it was told: the next word is the reviewer's, and the clock stays stopped until that word comes."""
    if any(m.turn is None for m in told_by(snapshot, trigger)):
        return False
    before = snapshot.memory.get(trigger)
    if before is not None and before.held and before.since is None and before.attempt >= snapshot.task.attempt:
        return True
    told = [m.turn for m in told_by(snapshot, trigger) if m.turn is not None]
    turn = snapshot.turn
    if not told or turn is None or turn.n < max(told):
        return False
    return turn.end is not None and turn.published and turn.produced


def _merge_conflicts(snapshot: Snapshot, pull: PullFacts) -> Held:
    if pull.state != "open" or pull.mergeable is True:
        return _CLEAR[Trigger.MERGE_CONFLICTS]
    occasion = f"{pull.head_sha[:16]}.{pull.base_sha[:16]}"
    known = any(m.occasion == occasion for m in told_by(snapshot, Trigger.MERGE_CONFLICTS))
    if pull.mergeable is None or (live_turn(snapshot) is not None and not known):
        return Held(trigger=Trigger.MERGE_CONFLICTS, hold=Hold.OPEN)  # what the agent is doing may resolve or change it
    return Held(trigger=Trigger.MERGE_CONFLICTS, hold=Hold.HELD, occasion=occasion, evidence=pull.conflict_files)


def _approved_and_green(snapshot: Snapshot, pull: PullFacts, ci: CIVerdict, review: ReviewVerdict) -> Held:
    ready = (
        pull.state == "open"
        and ci.word is CI.GREEN
        and review.approved
        and pull.mergeable is True
        and at_rest(snapshot)
    )
    if not ready:
        return _CLEAR[Trigger.APPROVED_AND_GREEN]
    approvals = sorted(approval.id for approval in review.approvals)
    return Held(
        trigger=Trigger.APPROVED_AND_GREEN,
        hold=Hold.HELD,
        occasion=f"{pull.head_sha[:16]}.{digest(*approvals)}.{snapshot.task.attempt}",
        evidence=(f"head {pull.head_sha[:10]}", *(f"approved by {r.author}" for r in review.approvals)),
    )


def _pr_closed(snapshot: Snapshot, pull: PullFacts) -> Held:
    if pull.state != "closed" or snapshot.task.cancel_requested_at is not None:
        return _CLEAR[Trigger.PR_CLOSED]
    return Held(
        trigger=Trigger.PR_CLOSED,
        hold=Hold.HELD,
        occasion=f"{pull.number}",
        evidence=(f"!{pull.number} was closed unmerged",),
    )
