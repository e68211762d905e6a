"""How a rule answers its trigger: send while there are tries and time left, then call a human once, then be quiet until it clears."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator.domain.actions import (
    Action,
    Interrupt,
    Merge,
    Pause,
    SendToAgent,
    Settle,
    StopAgent,
    key_of,
)
from orchestrator.domain.blame import can_be_rerun, reruns
from orchestrator.domain.breaker import OPENS_AT, attempts_of, same_failure, side_by_side
from orchestrator.domain.durations import format_duration
from orchestrator.domain.prompts import allowed_words, one_line, resume_words, words_for
from orchestrator.domain.reasons import Reason, seen_in, unjudged
from orchestrator.domain.rules import Priority, Reply, Rule, Trigger
from orchestrator.domain.snapshot import (
    JobState,
    Memory,
    PullFacts,
    Snapshot,
    standing_questions,
    told_by,
    unfinished_jobs,
)
from orchestrator.domain.triggers import (
    Held,
    Hold,
    at_rest,
    blame_of,
    episode_of,
    live_turn,
    memory_of,
    stopped,
)
from orchestrator.domain.verdicts import (
    review_of,
)

_BY_MESSAGE = frozenset({Reply.SEND_TO_AGENT, Reply.RESTART_AGENT})
_BY_REVIEWERS = frozenset({Trigger.CHANGES_REQUESTED, Trigger.BUGBOT_COMMENTS})
_LEFT_UNDONE = (Trigger.CI_FAILED, Trigger.CHANGES_REQUESTED, Trigger.BUGBOT_COMMENTS, Trigger.MERGE_CONFLICTS)

# Refusals of a merge that new facts answer: the head moved, the base did, an approval was taken back. Decided again a few times.
LOST_RACE = frozenset({"head-moved", "conflict", "overtaken"})
RACES = 3

_QUESTIONS = {
    Trigger.APPROVED_AND_GREEN: "Approved and green: merge it?",
    Trigger.AGENT_NEEDS_INPUT: "The agent asks.",
    Trigger.AGENT_STUCK: "The agent shows no progress.",
    Trigger.AGENT_EXITED: "The agent's program keeps dying.",
    Trigger.PR_CLOSED: "The pull request was closed without a merge.",
    Trigger.BUDGET_EXCEEDED: "The budget is used up: raise it, or resume the task for as much again.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reacted:
    """The answer to one trigger: what is remembered, what is done, when to look again, and why, in a line."""

    memory: Memory
    actions: tuple[Action, ...] = ()
    wake_at: datetime | None = None
    why: Reason | None = None


def react(held: Held, snapshot: Snapshot) -> Reacted:
    """Answer one trigger. Deciding again on the same facts adds nothing: what was sent and asked is read from the snapshot."""
    before = memory_of(snapshot, held.trigger)
    rule = snapshot.rules[held.trigger]
    match held.hold:
        case Hold.CLEAR:
            after = _forgotten(before)
            why = Reason(seen="it does not hold any more", rule=rule, then="cleared") if before.held else None
            actions = (*_gone(held, snapshot, before), *_allowed_again(held, before, snapshot))
            return Reacted(memory=after, actions=actions, wake_at=held.look_again_at, why=why)
        case Hold.OPEN:
            why = Reason(seen=unjudged(held.trigger), rule=rule, then="nothing yet") if before.held else None
            return Reacted(memory=_paused(held, before), wake_at=held.look_again_at, why=why)
        case Hold.HELD:
            memory = _begun(held, rule, snapshot)
            answer, gone = _answer(held, memory, rule, snapshot), _gone(held, snapshot, memory)
            if not gone and held.look_again_at is None:
                return answer
            times = [at for at in (answer.wake_at, held.look_again_at) if at is not None]
            return replace(answer, actions=(*answer.actions, *gone), wake_at=min(times, default=None))


def with_something_to_say(held: Iterable[Held], snapshot: Snapshot) -> list[Held]:
    """Without those that do not hold and of which nothing is left of a time when they did: reacting to them would change nothing."""
    asked = standing_questions(snapshot)
    return [one for one in held if one.hold is not Hold.CLEAR or one.trigger in asked or _is_left(one, snapshot)]


def _is_left(held: Held, snapshot: Snapshot) -> bool:
    known = snapshot.memory.get(held.trigger)
    if known is None:
        return bool(told_by(snapshot, held.trigger))
    return _forgotten(known) is not known


def _gone(held: Held, snapshot: Snapshot, memory: Memory) -> tuple[Action, ...]:
    """Settle what no longer stands: questions of other occasions, the call of another episode."""
    asked = standing_questions(snapshot).get(held.trigger)
    if not asked or (held.hold is Hold.HELD and not held.occasion):
        return ()
    standing = {f"{held.trigger}:{held.occasion}", _call_of(memory)} if held.hold is Hold.HELD else set()
    return tuple(Settle(cause=cause) for cause in asked if cause not in standing)


def _forgotten(before: Memory) -> Memory:
    """The episode is over. Most triggers are clear at any time, and stay as they are."""
    if not (before.held or before.since or before.deadline_at or before.escalated):
        return before
    return replace(before, held=False, since=None, deadline_at=None, escalated=False)


def _call_of(memory: Memory) -> str:
    """The cause of the call for a human in an episode."""
    return f"{memory.trigger}:escalation-{memory.episode}"


def _allowed_again(held: Held, before: Memory, snapshot: Snapshot) -> Iterator[Action]:
    """The agent that was stopped because its budget was used up is told to go on, now that there is more."""
    session, turn = snapshot.session, snapshot.turn
    if held.trigger is not Trigger.BUDGET_EXCEEDED or not before.held or session is None or turn is None:
        return
    if stopped(snapshot):
        yield SendToAgent(
            session=session.id,
            trigger=held.trigger,
            occasion=f"turn-{session.epoch}.{turn.n}",
            episode=before.episode,
            text=allowed_words(),
        )


def _paused(held: Held, before: Memory) -> Memory:
    """An open verdict keeps the episode. A review that was answered stops the clock; a pending build does not."""
    if held.trigger in _BY_REVIEWERS and before.held:
        return replace(before, since=None, deadline_at=None)
    return before


def _begun(held: Held, rule: Rule, snapshot: Snapshot) -> Memory:
    """The memory with its episode and its clock running; a person's retry begins a new episode."""
    before, episode = memory_of(snapshot, held.trigger), episode_of(snapshot, held.trigger)
    if episode != before.episode:
        before = Memory(trigger=held.trigger, episode=episode, held=True, attempt=snapshot.task.attempt)
    since = before.since or snapshot.now
    span = rule.escalate_after if isinstance(rule.escalate_after, timedelta) else None
    deadline_at = since + span if span is not None else None
    if (before.held, before.since, before.deadline_at) == (True, since, deadline_at):
        return before
    return replace(before, held=True, since=since, deadline_at=deadline_at)


def _answer(held: Held, memory: Memory, rule: Rule, snapshot: Snapshot) -> Reacted:
    if memory.escalated:
        quiet = "a human was called: nothing more until it clears or somebody says retry"
        return Reacted(memory=memory, why=_line(held, rule, quiet))
    tries, allowed = tries_made(snapshot, memory), _tries_allowed(rule)
    answered = _was_answered(held, memory, rule, snapshot)
    exhausted = not answered and allowed is not None and tries >= allowed
    overdue = memory.deadline_at is not None and snapshot.now >= memory.deadline_at
    repeated = None if answered else _repeated(held, memory, snapshot)
    if repeated is not None:
        return _escalate(held, memory, rule, repeated, snapshot)
    if (exhausted or overdue) and _called_for_otherwise(held, snapshot):
        otherwise = "nothing: the rule of what is left undone calls a human, once"
        return Reacted(memory=memory, why=_line(held, rule, otherwise))
    if exhausted or overdue:
        used_up = f"{tries} {'try' if tries == 1 else 'tries'} used up"
        return _escalate(held, memory, rule, used_up if exhausted else f"not resolved within {_span(rule)}", snapshot)
    if answered:
        why = f"nothing new: answered on this occasion ({tries} so far){_until(memory)}"
        return Reacted(memory=memory, wake_at=memory.deadline_at, why=_line(held, rule, why))
    if not rule.auto:
        return _offered(held, memory, rule)
    return _perform(held, memory, rule, snapshot)


def tries_made(snapshot: Snapshot, memory: Memory) -> int:
    """Effects performed for this cause, counted from their rows: messages of this episode, and further runs of failed checks."""
    sent = sum(m.episode == memory.episode for m in told_by(snapshot, memory.trigger))
    return sent + _reruns(snapshot, memory)


def _reruns(snapshot: Snapshot, memory: Memory) -> int:
    rule, pull = snapshot.rules[memory.trigger], snapshot.pull
    if Reply.RERUN_CI not in rule.action or pull is None:
        return 0
    # What was rerun before a person said retry was that attempt's.
    spent = (_tries_allowed(rule) or 0) * snapshot.task.attempt
    return max(max((check.n for check in pull.checks), default=1) - 1 - spent, 0)


def _tries_allowed(rule: Rule) -> int | None:
    limits = [limit for limit in (rule.retries, rule.escalate_after) if isinstance(limit, int)]
    if not limits and {Reply.RESTART_AGENT, Reply.RERUN_CI} & set(rule.action):
        return 3  # what is set going again by itself ends somewhere, even where the file does not say so
    return min(limits) if limits else None


def _was_answered(held: Held, memory: Memory, rule: Rule, snapshot: Snapshot) -> bool:
    if not held.occasion:
        return True
    if rule.auto and _BY_MESSAGE & set(rule.action):
        mine = [m for m in told_by(snapshot, held.trigger) if m.episode == memory.episode]
        return any(m.occasion == held.occasion for m in mine)
    return any(i.cause == f"{held.trigger}:{held.occasion}" for i in snapshot.interruptions)


def _called_for_otherwise(held: Held, snapshot: Snapshot) -> bool:
    """An idle agent leaves something undone. Where that has called a human, or will at its own deadline, one call is enough."""
    if held.trigger is not Trigger.AGENT_IDLE:
        return False
    undone = [snapshot.memory[trigger] for trigger in _LEFT_UNDONE if trigger in snapshot.memory]
    return any(memory.held and (memory.escalated or memory.deadline_at is not None) for memory in undone)


def _span(rule: Rule) -> str:
    return format_duration(rule.escalate_after) if isinstance(rule.escalate_after, timedelta) else "its time"


def _repeated(held: Held, memory: Memory, snapshot: Snapshot) -> str | None:
    """The breaker: words for a failure that three attempts in a row have left as it was, even where there are tries left."""
    found = blame_of(snapshot) if held.trigger is Trigger.CI_FAILED else None
    if found is None:
        return None
    same = same_failure(attempts_of(snapshot, memory.episode), found.own)
    return f"{same.name} failed in the same way {OPENS_AT} times in a row" if same is not None else None


def _attempts(held: Held, memory: Memory, snapshot: Snapshot) -> tuple[str, ...]:
    attempts = attempts_of(snapshot, memory.episode) if held.trigger is Trigger.CI_FAILED else ()
    return side_by_side(attempts) if len(attempts) > 1 else ()


def _escalate(held: Held, memory: Memory, rule: Rule, cause: str, snapshot: Snapshot) -> Reacted:
    ask = Interrupt(
        trigger=held.trigger,
        cause=_call_of(memory),
        priority=Priority.URGENT if rule.priority is Priority.URGENT else Priority.ACTION,
        escalation=True,
        question=f"{held.trigger}: {cause}. What now?",
        evidence=(*held.evidence, *_attempts(held, memory, snapshot)),
    )
    why = f"{cause}: a human is called"
    return Reacted(memory=replace(memory, escalated=True), actions=(ask,), why=_line(held, rule, why))


def _offered(held: Held, memory: Memory, rule: Rule) -> Reacted:
    """`auto: false`: a human presses the button that the card shows. A notify rule notifies either way."""
    asks = (_ask(held, rule),) if Reply.NOTIFY in rule.action else ()
    why = f"a human decides (auto is off){', and is asked' if asks else ''}"
    return Reacted(memory=memory, actions=asks, wake_at=memory.deadline_at, why=_line(held, rule, why))


def _perform(held: Held, memory: Memory, rule: Rule, snapshot: Snapshot) -> Reacted:
    actions = tuple(action for reply in rule.action for action in _carry_out(reply, held, memory, rule, snapshot))
    words = ", ".join(rule.action)
    allowed = _tries_allowed(rule)
    of = f" (try {tries_made(snapshot, memory) + 1} of {allowed})" if allowed is not None else ""
    why = f"{words}{of}" if actions else f"nothing yet: {words} waits until the agent is at rest"
    return Reacted(memory=memory, actions=actions, wake_at=memory.deadline_at, why=_line(held, rule, why))


def _line(held: Held, rule: Rule, then: str) -> Reason:
    return Reason(seen=seen_in(held.evidence, held.trigger), rule=rule, then=then)


def _until(memory: Memory) -> str:
    """When a human is called if nothing changes."""
    return f"; a human is called at {memory.deadline_at:%H:%M} UTC" if memory.deadline_at is not None else ""


def _carry_out(reply: Reply, held: Held, memory: Memory, rule: Rule, snapshot: Snapshot) -> Iterator[Action]:
    match reply:
        case Reply.SEND_TO_AGENT:
            yield from _send(held, memory, rule, snapshot)
        case Reply.NOTIFY:
            yield _ask(held, rule)
        case Reply.ESCALATE:
            yield replace(_ask(held, rule), escalation=True)
        case Reply.AUTO_MERGE:
            yield from merges(held, snapshot)
        case Reply.STOP_AGENT:
            yield from _stop(snapshot)
        case Reply.PAUSE:
            yield from _pause(held)
        case Reply.RESTART_AGENT:
            yield from _stop(snapshot)
            yield from _go_on(held, memory, snapshot)
        case Reply.RERUN_CI:
            yield from _rerun(held, rule, snapshot)


def _send(held: Held, memory: Memory, rule: Rule, snapshot: Snapshot) -> Iterator[Action]:
    """Only an agent at rest is told: what it does meanwhile may make the words untrue. One that was stopped stays stopped."""
    session = snapshot.session
    if session is None or session.ended or stopped(snapshot) or not at_rest(snapshot):
        return
    reviews, comments = _told_by(held, snapshot)
    yield SendToAgent(
        session=session.id,
        trigger=held.trigger,
        occasion=held.occasion,
        episode=memory.episode,
        text=words_for(held, rule, snapshot),
        reviews=reviews,
        comments=comments,
    )


def _told_by(held: Held, snapshot: Snapshot) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The reviews and the comments that the words for this trigger deliver."""
    if snapshot.pull is None or held.trigger not in _BY_REVIEWERS:
        return (), ()
    review = review_of(snapshot)
    if held.trigger is Trigger.BUGBOT_COMMENTS:
        return (), tuple(c.id for c in review.bot_comments if not c.told)
    return tuple(r.id for r in review.untold_reviews), tuple(c.id for c in review.untold_comments)


def _stop(snapshot: Snapshot) -> Iterator[Action]:
    turn = live_turn(snapshot)
    if turn is not None and snapshot.session is not None:
        yield StopAgent(session=snapshot.session.id, turn=turn.n)


def _pause(held: Held) -> Iterator[Action]:
    """A budget holds a task back for as long as it is used up and no longer; see `triggers.held_back`. Whatever else pauses a task does so
    until somebody resumes it, and lets the turn that is live come to its end."""
    if held.trigger is not Trigger.BUDGET_EXCEEDED:
        reason = "; ".join([f"the rule {held.trigger} paused it", *(one_line(line) for line in held.evidence[:1])])
        yield Pause(trigger=held.trigger, occasion=held.occasion, reason=reason)


def _go_on(held: Held, memory: Memory, snapshot: Snapshot) -> Iterator[Action]:
    """The words that begin the next turn as soon as the stopped one has ended."""
    session = snapshot.session
    if session is not None and not session.ended:
        yield SendToAgent(
            session=session.id,
            trigger=held.trigger,
            occasion=held.occasion,
            episode=memory.episode,
            text=resume_words(detail="; ".join(held.evidence)),
        )


def _rerun(held: Held, rule: Rule, snapshot: Snapshot) -> Iterator[Action]:
    """Run the failed checks again. Where the forge does not do that, a person is asked to."""
    pull, found = snapshot.pull, blame_of(snapshot)
    again = reruns(found.own, snapshot, pull, occasion=held.occasion) if pull is not None and found is not None else []
    if not again or not all(can_be_rerun(action, snapshot) for action in again):
        yield _ask(held, rule)
        return
    yield from again


def _ask(held: Held, rule: Rule) -> Interrupt:
    return Interrupt(
        trigger=held.trigger,
        cause=f"{held.trigger}:{held.occasion}",
        priority=rule.priority,
        escalation=False,
        question=rule.message or _QUESTIONS.get(held.trigger, f"{held.trigger} holds."),
        evidence=held.evidence,
    )


def merges(held: Held, snapshot: Snapshot) -> Iterator[Merge]:
    """The merge of exactly the head that is approved and green. While one of this head is on its way, no other is begun."""
    pull = snapshot.pull
    if held.trigger is not Trigger.APPROVED_AND_GREEN or held.hold is not Hold.HELD or pull is None:
        return
    lost = min(_races_lost(snapshot, pull), RACES)
    merge = Merge(head_sha=pull.head_sha, occasion=f"{held.occasion}.{lost}" if lost else held.occasion)
    begun = unfinished_jobs(snapshot, f"merge:{pull.head_sha}:")
    on_their_way = {job.key for job in begun if job.state in {JobState.PROMISED, JobState.CLAIMED}}
    if on_their_way <= {key_of(merge)}:
        yield merge


def _races_lost(snapshot: Snapshot, pull: PullFacts) -> int:
    """Merges of this head in this attempt that met other facts than were known, and since which the pull request was looked at."""
    return sum(
        job.state is JobState.REFUSED
        and job.code in LOST_RACE
        and (job.settled_at is None or job.settled_at < pull.observed_at)
        and job.key.split(":")[2].split(".")[2] == str(snapshot.task.attempt)
        for job in unfinished_jobs(snapshot, f"merge:{pull.head_sha}:")
    )
