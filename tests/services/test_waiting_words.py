"""Words that wait for an agent reach the turn that begins, whoever they were written for."""

from __future__ import annotations

import pytest
from django.utils import timezone

from orchestrator.models import Message
from orchestrator.services import sessions
from tests.lab import lab

pytestmark = pytest.mark.django_db(transaction=True)


def test_words_sent_while_the_session_was_being_made_are_told_after_the_task() -> None:
    with lab() as here:
        task = here.submit()
        early = Message.objects.create(task=task, key="send:person:1", occasion="1", text="hurry")
        here.until(lambda: task.sessions.filter(prepared_at__isnull=False).exists(), "the session is prepared")
        session = task.sessions.get()
        turn = task.sessions.get().turns.first() or sessions.begin_turn(session_id=session.pk, n=1, now=timezone.now())
        early.refresh_from_db()
        assert early.turn == turn
        assert early.session == session
        assert turn.prompt.index("Fix the failing test") < turn.prompt.index("hurry")
