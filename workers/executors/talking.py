"""Speak to an agent while it works, and let it go when it is done."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils import timezone

from orchestrator.domain.actions import HangUp, Say
from orchestrator.models import Message, Turn
from orchestrator.ports import Agent, NeedsInput, Refused
from orchestrator.services import sessions
from workers.failpoints import failpoint
from workers.toolbox import Toolbox

_NOBODY_LISTENS = frozenset({"not-live", "no-run"})  # the turn is over, or about to be


def say(action: Say, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """Into the program's input under the message's id, under which the host takes it once. An agent that takes words only between turns is
    told with its next one, and so is one whose program listens no more."""
    del task_id
    turn = _turn(action.session, action.turn)
    message = Message.objects.get(pk=action.message)
    data = _bytes(tools.agent(turn.session.agent), message)
    if data is None or not sessions.may_say(turn_id=turn.pk, message_id=action.message):
        return {"told": False}
    try:
        tools.host(turn.session.host).send(turn.run_id, message=action.message, data=data)
    except Refused as refused:
        if refused.code not in _NOBODY_LISTENS:
            raise
        return {"told": False}
    failpoint("after_say")
    sessions.said(turn_id=turn.pk, message_id=action.message, now=timezone.now())
    return {"told": True}


def hang_up(action: HangUp, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """Close the program's input behind what was said; a program that has ended meanwhile needs no such sign."""
    del task_id
    turn = _turn(action.session, action.turn)
    if not sessions.may_hang_up(turn_id=turn.pk):
        return {"closed": False}
    try:
        tools.host(turn.session.host).close_input(turn.run_id)
    except Refused as refused:
        if refused.code not in _NOBODY_LISTENS:
            raise
    return {"closed": True}


def _turn(session: int, n: int) -> Turn:
    return Turn.objects.select_related("session__host").get(session_id=session, n=n)


def _bytes(agent: Agent, message: Message) -> bytes | None:
    if message.answers is None:
        return agent.say(message=str(message.pk), text=message.text)
    asked = message.answers["request"]
    return agent.answer(
        asked=NeedsInput(
            id=asked["id"],
            kind=asked["kind"],
            question=asked["question"],
            options=tuple(asked["options"]),
            context=asked.get("context", {}),
        ),
        answer=message.answers["answer"],
    )
