"""What an agent is told with a turn, and what it has to be told again because its program died before it had kept it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from orchestrator.domain.prompts import retold
from orchestrator.models import Message, Turn
from orchestrator.services import events


def words_of(messages: Iterable[Message]) -> str:
    """Messages as an agent is told them: each under its id."""
    return "\n\n".join(f"[message {message.pk}]\n{message.text}" for message in messages)


def in_order(messages: Iterable[Message]) -> list[Message]:
    """The order in which messages that came in this order are told: the task itself is told first."""
    return sorted(messages, key=lambda message: not message.key.startswith("task:"))


def told_before(turn: Turn) -> str:
    """All that the session was told in earlier turns and said last in each, for an agent that has no conversation to go on in."""
    before = Turn.objects.filter(session=turn.session_id, n__lt=turn.n).order_by("n")
    carried = Message.objects.filter(turn__in=before, answers__isnull=True).order_by("turn__n", "created_at", "id")
    task: list[Message] = []
    said = defaultdict[int, list[Message]](list)
    for message in carried.select_related("turn"):
        (task if message.key.startswith("task:") else said[message.turn.n if message.turn else 0]).append(message)
    return retold(words_of(task), [(one.n, words_of(said[one.n]), one.last_words) for one in before])


def after_a_death(
    waiting: Sequence[Message], *, before: Turn, known: Collection[str], now: datetime
) -> Sequence[Message]:
    """What is to be told after a program died: what its turn carried and is not `known` to the conversation any more, then what waits, but
    for what had been read after all. Inside the caller's transaction."""
    carried = before.messages.select_for_update().filter(answers__isnull=True).order_by("created_at", "id")
    forgotten = [message for message in carried if str(message.pk) not in known]
    read = {message.pk for message in waiting if str(message.pk) in known}
    Message.objects.filter(pk__in=read).update(
        turn=before, session=before.session_id, delivered_at=now, confirmed_at=now, deliveries=1
    )
    if forgotten:
        lost = [message.pk for message in forgotten]
        Message.objects.filter(pk__in=lost).update(delivered_at=None, confirmed_at=None, deliveries=0)
        text = f"the agent's program died before it had kept {len(forgotten)} of its messages: told again"
        events.record(kind="message.forgotten", text=text, task=before.session.task, at=now)
    return in_order([*forgotten, *(message for message in waiting if message.pk not in read)])
