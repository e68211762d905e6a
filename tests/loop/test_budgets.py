"""Budgets with a real agent: stopped in the middle of its turn, and going on when there is more."""

from __future__ import annotations

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Interruption, Message, Project, Task
from orchestrator.services import pausing
from tests.lab import FIX, NOTHING, Lab, lab, turns

pytestmark = pytest.mark.django_db(transaction=True)
SPENDS = """echo '{"type": "usage", "input_tokens": 900, "output_tokens": 100, "cost_usd": 5.5}'"""
SPENDS_ON = f"{SPENDS}; sleep 600"


def _over(here: Lab, task: Task) -> None:
    here.until(lambda: here.turn(task).end == "stopped" and here.turn(task).published_at is not None, "it is stopped")
    here.reach(task, TaskStatus.NEEDS_INPUT)


def test_an_agent_over_its_tasks_budget_is_stopped_and_goes_on_when_the_budget_is_raised() -> None:
    with lab(budget={"task": {"cost": 5}}) as here:
        task = here.submit(script=turns(SPENDS_ON, FIX))
        _over(here, task)
        here.settle()
        assert (here.turn(task).n, here.turn(task).cost_usd) == (1, 5.5)
        assert "its budget is used up" in here.reach(task, TaskStatus.NEEDS_INPUT).reason
        assert [asked.trigger for asked in Interruption.objects.open()] == ["budget-exceeded"]
        Project.objects.update(budget={"task": {"cost": 50}})
        Task.objects.update(wake_at=here.me.at)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert "go on with the task" in here.heard(task, 2)
        assert not Interruption.objects.open().filter(trigger="budget-exceeded").exists()
        assert (here.turn(task).n, len(here.sent(task, "budget-exceeded")), here.doubles()) == (2, 1, 0)


def test_a_person_who_resumes_it_allows_as_much_again() -> None:
    with lab(budget={"task": {"cost": 5}}) as here:
        task = here.submit(script=turns(SPENDS_ON, SPENDS_ON, FIX))
        _over(here, task)
        pausing.resume(task=task, actor=here.me)
        here.until(lambda: here.turn(task).n == 2, "it goes on")
        _over(here, task)
        here.settle()
        assert here.turn(task).n == 2
        pausing.resume(task=task, actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert Interruption.objects.filter(trigger="budget-exceeded").count() == 2


def test_over_the_days_budget_a_turn_comes_to_its_end_and_what_was_said_waits() -> None:
    with lab(budget={"day": {"cost": 5}}) as here:
        task = here.submit(script=turns(f"{SPENDS}; {FIX}", NOTHING))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert here.turn(task).end == "finished"
        Message.objects.create(task=task, key="send:person:1", occasion="1", text="one more thing")
        here.reach(task, TaskStatus.NEEDS_INPUT)
        here.settle()
        assert here.turn(task).n == 1
        second = here.submit(script=turns(FIX))
        here.settle()
        assert here.reach(second, TaskStatus.QUEUED).reason.startswith("its budget is used up (5.00 USD for the day")
        Project.objects.update(budget={"day": {"cost": 500}})
        Task.objects.update(wake_at=here.me.at)
        here.reach(second, TaskStatus.REVIEW_PENDING)
        here.until(lambda: "one more thing" in here.heard(task, 2), "it is told")


def test_a_paused_task_ends_its_turn_is_published_and_starts_no_other_until_it_is_resumed() -> None:
    with lab() as here:
        task = here.submit(script=turns(f"while [ ! -e ~/go ]; do sleep 0.02; done; {FIX}", NOTHING))
        here.until(lambda: here.turn(task).started_at is not None, "it works")
        pausing.pause(task=task, actor=here.me)
        here.settle(2)
        assert here.turn(task).ended_at is None
        Message.objects.create(task=task, key="send:person:1", occasion="1", text="one more thing")
        here.port.inner.write("home/go", b"", workspace=here.session(task).workspace.name)
        here.until(lambda: here.turn(task).published_at is not None, "its turn ends and is published")
        here.settle()
        assert (here.turn(task).n, "ada paused it" in here.reach(task, TaskStatus.QUEUED).reason) == (1, True)
        pausing.resume(task=task, actor=here.me)
        here.until(lambda: "one more thing" in here.heard(task, 2), "it goes on")
        here.reach(task, TaskStatus.REVIEW_PENDING)
