"""What an agent is told whose program died: what it forgot again, what it had read not a second time."""

from __future__ import annotations

import pytest
from django.utils import timezone

from orchestrator.models import Message, Session, Turn
from orchestrator.services import projects, sessions, tasks, telling
from orchestrator.services.events import Actor

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def dead() -> Turn:
    """A turn that was told of a task and of a review, and whose program was killed."""
    actor = Actor(name="ada", at=timezone.now())
    project, _ = projects.register(
        key="app", name="App", remote="/nowhere", default_branch="main", agent="claude-code", actor=actor
    )
    task, _ = tasks.submit(project=project, title="Fix it", actor=actor)
    host = projects.local_host(name="local", capacity=5)
    session = Session.objects.create(task=task, epoch=1, host=host, agent="claude-code", prepared_at=timezone.now())
    for key, text in (("task:1", "Fix it"), ("send:review", "Say why")):
        Message.objects.create(task=task, session=session, key=key, occasion=key, text=text)
    turn = sessions.begin_turn(session_id=session.pk, n=1, now=timezone.now())
    killed(turn)
    return turn


def killed(turn: Turn) -> None:
    Turn.objects.filter(pk=turn.pk).update(started_at=timezone.now(), ended_at=timezone.now(), end="killed")


def said(turn: Turn, text: str) -> Message:
    """Words that wait for the next turn."""
    session = turn.session
    return Message.objects.create(task=session.task, session=session, key=f"send:{text}", occasion=text, text=text)


def id_of(text: str) -> str:
    return str(Message.objects.get(text=text).pk)


def test_what_the_dead_program_had_not_kept_is_told_again_before_what_waits(dead: Turn) -> None:
    waits = said(dead, "Go on")
    turn = sessions.begin_turn(session_id=dead.session_id, n=2, now=timezone.now(), known={id_of("Fix it")})
    assert turn.prompt == f"[message {id_of('Say why')}]\nSay why\n\n[message {waits.pk}]\nGo on"
    sessions.turn_started(turn_id=turn.pk, now=timezone.now())
    carried = turn.messages.order_by("created_at")
    assert [(one.text, one.deliveries) for one in carried] == [("Say why", 1), ("Go on", 1)]
    assert turn.session.task.events.filter(kind="message.forgotten").count() == 1


def test_what_it_had_read_before_it_died_is_not_told_a_second_time(dead: Turn) -> None:
    read = said(dead, "Mind the gap")
    known = {id_of("Fix it"), id_of("Say why"), str(read.pk)}
    turn = sessions.begin_turn(session_id=dead.session_id, n=2, now=timezone.now(), known=known)
    assert turn.prompt.startswith("Your program ended in the middle of the last turn")
    read.refresh_from_db()
    assert (read.turn_id, read.deliveries, read.confirmed_at is not None) == (dead.pk, 1, True)


def test_where_nobody_knows_what_it_kept_only_what_waits_is_told(dead: Turn) -> None:
    waits = said(dead, "Go on")
    turn = sessions.begin_turn(session_id=dead.session_id, n=2, now=timezone.now())
    assert turn.prompt == f"[message {waits.pk}]\nGo on"


def test_an_agent_without_a_conversation_is_told_everything_once(dead: Turn) -> None:
    said(dead, "Go on")
    sessions.begin_turn(session_id=dead.session_id, n=2, now=timezone.now(), known=set())
    killed(Turn.objects.get(n=2))
    said(dead, "And on")
    third = sessions.begin_turn(session_id=dead.session_id, n=3, now=timezone.now())
    told = telling.told_before(third)
    assert [line for line in told.splitlines() if line and not line.startswith("[")] == ["Fix it", "Say why", "Go on"]
