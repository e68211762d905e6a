"""Agents of another machine live as long as somebody looks after them, and no longer."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.snapshot import TurnEnd
from orchestrator.domain.status import TaskStatus
from orchestrator.models import Turn
from tests.lab import lab

pytestmark = pytest.mark.django_db(transaction=True)

SLOW = "cat > /dev/null; sleep 8; echo new > NEW; git add NEW; git commit -qm 'Add it'"


def test_looks_keep_an_agent_alive_past_the_deadline_that_it_was_started_with() -> None:
    with lab(reassign_after=timedelta(seconds=6)) as here:
        here.elsewhere()
        task = here.submit(script=SLOW)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert [turn.end for turn in Turn.objects.all()] == [TurnEnd.FINISHED]


def test_an_agent_that_nobody_looks_after_is_stopped_at_its_deadline() -> None:
    with lab(reassign_after=timedelta(seconds=2)) as here:
        here.elsewhere()
        task = here.submit(script="cat > /dev/null; sleep 60")
        here.reach(task, TaskStatus.WORKING)
        run = Turn.objects.get().run_id
        port = here.tools.host(here.host)
        ended = port.look(cursors={run: 0}, wait=8, timeout=10)
        assert [state.detail or state.end for state in ended.runs if state.id == run and not state.live]
