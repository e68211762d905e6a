"""How a session goes on by itself, where the project's workflow says so: after a death with a wait that grows, after a turn without a change
while its issue is open, and for no more turns than it may have."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from orchestrator.domain.actions import Interrupt, SendToAgent
from orchestrator.domain.issues import CONTINUATION, Standing, retry_wait
from orchestrator.domain.prompts import continuation_words
from orchestrator.domain.rules import Priority
from orchestrator.domain.snapshot import Snapshot, TurnEnd, undelivered
from orchestrator.domain.triggers import asks, at_rest, died

_CONTINUE = "continue"


def resumed_at(snapshot: Snapshot) -> datetime | None:
    """When a dead agent is resumed; None: at once, or there is none."""
    turn, longest = snapshot.turn, snapshot.policy.longest_retry_wait
    if longest is None or turn is None or turn.ended_at is None or not died(turn):
        return None
    return turn.ended_at + retry_wait(turn.resumes + 1, longest=longest)


def goes_on(snapshot: Snapshot) -> bool:
    """The agent ended its turn without a change, and its issue still is to be worked on: it is asked once to go on, and believed when it
    says again that nothing is left to do."""
    session, turn, issue, most = snapshot.session, snapshot.turn, snapshot.task.issue, snapshot.policy.max_turns
    if session is None or session.ended or turn is None or issue is None or most is None or snapshot.pull is not None:
        return False
    if issue.standing is not Standing.ACTIVE or turn.n >= most or session.commits or asks(turn):
        return False
    told = any(message.occasion == _CONTINUE and message.session == session.id for message in snapshot.messages)
    return turn.end is TurnEnd.FINISHED and turn.published and not told and at_rest(snapshot)


def continued_at(snapshot: Snapshot) -> datetime | None:
    """When it is asked to."""
    turn = snapshot.turn
    if turn is None or turn.ended_at is None or not goes_on(snapshot):
        return None
    return turn.ended_at + CONTINUATION


def continuation(snapshot: Snapshot) -> Iterator[SendToAgent]:
    """Guidance alone: the task stands in the conversation, which goes on."""
    session, issue, at = snapshot.session, snapshot.task.issue, continued_at(snapshot)
    if session is not None and issue is not None and (at is None or snapshot.now >= at):
        words = continuation_words(identifier=issue.identifier, state=issue.state)
        yield SendToAgent(session=session.id, trigger=None, occasion=_CONTINUE, episode=0, text=words)


def turns_used_up(snapshot: Snapshot) -> bool:
    """Something is left to be said, and the session has had its turns. Each retry of a person gives it as many more."""
    most, turn = snapshot.policy.max_turns, snapshot.turn
    if most is None or turn is None or turn.n < most * (snapshot.task.attempt + 1):
        return False
    return bool(undelivered(snapshot))


def call_for_turns(snapshot: Snapshot) -> Interrupt:
    """A person is asked, once."""
    turn, session = snapshot.turn, snapshot.session
    had = turn.n if turn is not None else 0
    return Interrupt(
        trigger=None,
        cause=f"max-turns:{session.epoch if session is not None else 0}:{had}",
        priority=Priority.ACTION,
        escalation=True,
        question=f"The agent has had {had} turns, as many as agent.max_turns allows. Retry gives it as many more.",
    )
