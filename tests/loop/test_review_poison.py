"""One thing that goes wrong is one thing: a task, a run or a journal that cannot be dealt with holds up none of the others."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Event, Interruption, RuleRow, Task, Turn
from orchestrator.services import transcripts
from tests.lab import FIX, lab, register, turns
from tests.repositories import Repository
from workers import runner, sweeps

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_task_that_cannot_be_decided_on_is_put_aside_and_the_others_go_on() -> None:
    with lab() as here:
        other = register(Repository.make(here.folder / "other"), here.me)
        RuleRow.objects.create(project=other, trigger="ci-failed", escalate_after="nonsense")
        broken = here.submit("Nobody can decide on this", project=other)
        sound = here.submit(script=turns(FIX))
        for _ in range(3):
            Task.objects.update(wake_at=here.me.at - timedelta(hours=1))
            sweeps.reconcile_due()
        broken.refresh_from_db()
        sound.refresh_from_db()
        assert "nonsense" in broken.reason
        assert broken.attention == "respond"
        assert broken.wake_at is not None
        assert broken.wake_at > here.me.at
        assert Interruption.objects.filter(task=broken).count() == 1
        assert sound.wake_at is None or sound.wake_at > here.me.at


def test_a_task_that_was_put_aside_is_decided_on_when_what_was_wrong_is_mended() -> None:
    with lab() as here:
        row = RuleRow.objects.create(project=here.project, trigger="ci-failed", escalate_after="nonsense")
        task = here.submit(script=turns(FIX))
        runner.decide_on(task.pk)
        row.delete()
        here.reach(task, TaskStatus.REVIEW_PENDING)


def test_an_agent_that_says_absurd_things_is_heard_out_and_its_task_goes_on() -> None:
    said = r"""
printf '{"type": "started", "id": "--resume\\u0000 x"}\n{"type": "usage", "input_tokens": 1e11, "cost_usd": 999999999999}\n'
printf '{"type": "usage", "cost_usd": NaN}\n{"type": "confirmed", "message": "not-an-id"}\n{"type": "message", "text": "\\ud800\\u0000"}\n'
printf '\377\376 not text \000 \033]0;title\007\n{"type": "activity", "tool": 7, "summary": ["x"]}\n[[[[\n{"type": "turn_done", "why": "\\udfff"}\n'
"""
    with lab() as here:
        task = here.submit(script=turns(said + FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        turn = here.turn(task)
        assert turn.end == "finished"
        assert here.session(task).native_id == ""
        assert b"\xff\xfe not text \x00" in transcripts.read(run=turn.run_id)[0]


def test_an_agent_that_asks_a_thousand_questions_at_once_asks_a_few() -> None:
    ask = """i=0; while [ $i -lt 1000 ]; do echo '{"type": "needs_input", "id": "q'$i'", "question": "And now?"}'; i=$((i+1)); done"""
    with lab() as here:
        task = here.submit(script=turns(ask, FIX))
        here.reach(task, TaskStatus.NEEDS_INPUT)
        here.settle()
        assert Event.objects.filter(kind="agent.asked").count() < 50
        asked = Turn.objects.get().request
        assert asked is not None
        assert asked["id"] == "q0"
