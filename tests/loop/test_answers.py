"""What a person was asked and has done is not asked any more, and who did it stays known."""

from __future__ import annotations

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Interruption, Task
from orchestrator.services import board, reviews, tasks
from tests.lab import FIX, NOTHING, lab, turns

pytestmark = pytest.mark.django_db(transaction=True)

ASK = """echo '{"type": "needs_input", "id": "q", "question": "Which one?"}'"""
AT_WORK = """echo '{"type": "activity", "tool": "edit", "summary": "a file"}'; sleep 600"""


def test_a_merge_that_was_asked_for_is_not_asked_about() -> None:
    with lab() as here:
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        reviews.submit_review(task=task, decision="approve", actor=here.other)
        here.reach(task, TaskStatus.MERGEABLE)
        assert board.card(task_id=task.pk).interruptions == 1  # type: ignore[union-attr]  # it is there
        tasks.request_merge(task=task, actor=here.me)
        assert board.card(task_id=task.pk).interruptions == 0  # type: ignore[union-attr]  # it is there
        here.reach(task, TaskStatus.MERGED)
        assert [asked.resolution for asked in Interruption.objects.all()] == ["ada asked to merge"]


def test_an_answered_question_says_who_answered_it() -> None:
    with lab() as here:
        task = here.submit(script=turns(ASK, NOTHING))
        here.reach(task, TaskStatus.NEEDS_INPUT)
        tasks.answer(task=task, request_id="q", answer="the second", actor=here.other)
        here.reach(task, TaskStatus.DONE)
        assert [asked.resolution for asked in Interruption.objects.all()] == ["grace answered: the second"]


def test_a_cancelled_task_does_not_show_what_its_agent_was_doing() -> None:
    with lab() as here:
        task = here.submit(script=turns(AT_WORK))
        here.until(lambda: activity(task) == "edit a file", "the agent is seen at work")
        tasks.cancel(task=task, actor=here.me)
        here.reach(task, TaskStatus.CANCELLED)
        assert activity(task) == ""


def activity(task: Task) -> str:
    card = board.card(task_id=task.pk)
    return card.activity if card is not None else "no card"
