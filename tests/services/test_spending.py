"""What is used is summed up from turns; budgets hold back, wait for the day, and let go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.utils import timezone

from orchestrator.domain.budgets import Span, Used
from orchestrator.domain.status import TaskStatus
from orchestrator.models import Event, Host, Interruption, Message, Project, Session, Task, Turn
from orchestrator.services import fleet, pausing, projects, spending, tasks, usage
from orchestrator.services.events import Actor
from orchestrator.services.reconcile import reconcile
from orchestrator.services.tasks import NotNow

pytestmark = pytest.mark.django_db(transaction=True)
NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def project() -> Project:
    projects.local_host(name="local", capacity=3)
    Host.objects.update(seen_at=timezone.now())
    made, _ = projects.register(key="app", name="app", remote="/nowhere", default_branch="main", agent="command", actor=_me())  # fmt: skip
    Project.objects.update(base_sha="b" * 40)
    return made


def _me(at: datetime = NOON) -> Actor:
    return Actor(name="ada", at=at)


def _task(project: Project) -> Task:
    task, _ = tasks.submit(project=project, title="Fix it", actor=_me())
    return task


def _at_work(task: Task, *, hours: float = 1, cost: str = "2.00", began: datetime = NOON - timedelta(hours=1), ended: bool = True) -> Turn:  # fmt: skip
    """A turn of the task's session that used this much."""
    session, _ = Session.objects.get_or_create(
        task=task, epoch=1, defaults={"host": Host.objects.get(), "agent": "command", "prepared_at": began}
    )
    end = began + timedelta(hours=hours)
    turn = Turn.objects.create(
        session=session, n=session.turns.count() + 1, prompt="", started_at=began, progress_at=end, cost_usd=Decimal(cost),
        input_tokens=900, output_tokens=100, **({"ended_at": end, "end": "finished", "published_at": end} if ended else {}),
    )  # fmt: skip
    Turn.objects.filter(pk=turn.pk).update(created_at=began)
    return turn


def _set(**budget: object) -> None:
    Project.objects.update(budget=budget)


def _decided(task: Task, *, now: datetime = NOON) -> Task:
    reconcile(task_id=task.pk, now=now)
    task.refresh_from_db()
    return task


def test_a_task_has_used_what_its_turns_used_and_the_live_one_until_now(project: Project) -> None:
    _set(task={"cost": 100})
    task = _task(project)
    _at_work(task, hours=2, began=NOON - timedelta(hours=4))
    _at_work(task, ended=False, began=NOON - timedelta(minutes=30))
    (budget,) = spending.of_tasks([Task.objects.get()], now=NOON)[task.pk].budgets
    assert budget.used == Used(cost=Decimal("4.000000"), tokens=2000, time=timedelta(hours=2, minutes=30))
    assert budget.running == 1


def test_waiting_for_an_answer_is_not_the_agents_time(project: Project) -> None:
    _set(task={"time": "4h"}, project={"time": "4h"})
    task = _task(project)
    turn = _at_work(task, ended=False, began=NOON - timedelta(hours=9))
    asked = {"id": "q", "kind": "question", "question": "?", "asked_at": (NOON - timedelta(hours=8)).isoformat()}
    Turn.objects.update(request=asked, progress_at=NOON - timedelta(hours=8))
    assert [b.used.time for b in _budgets(task)] == [timedelta(hours=1)] * 2
    assert [b.running for b in _budgets(task)] == [0, 0]
    tasks.answer(task=task, request_id="q", answer="yes", actor=_me())
    turn.refresh_from_db()
    assert turn.waited == timedelta(hours=8)
    assert [b.used.time for b in _budgets(task, now=NOON + timedelta(hours=1))] == [timedelta(hours=2)] * 2


def _budgets(task: Task, *, now: datetime = NOON) -> list[spending.BudgetFacts]:
    return list(spending.of_tasks([Task.objects.select_related("project").get(pk=task.pk)], now=now)[task.pk].budgets)


def test_a_day_is_one_of_utc_and_a_turn_belongs_to_the_one_it_began_on(project: Project) -> None:
    _set(day={"cost": 10}, project={"cost": 10})
    task = _task(project)
    _at_work(task, cost="3", began=NOON - timedelta(hours=12, seconds=1))
    _at_work(task, cost="4", began=NOON - timedelta(hours=12))
    used = {budget.span: budget.used.cost for budget in _budgets(task)}
    assert used == {Span.DAY: Decimal(4), Span.PROJECT: Decimal(7)}
    assert {budget.renews_at for budget in _budgets(task)} == {None, datetime(2030, 1, 3, tzinfo=UTC)}


def test_queued_tasks_of_a_project_over_its_budget_wait_and_say_why_until_the_new_day(project: Project) -> None:
    _set(day={"cost": 5})
    _at_work(_task(project), cost="5.5")
    waiting = _task(project)
    assert fleet.dispatch(now=NOON) == []
    assert _decided(waiting).reason == (
        "its budget is used up (5.00 USD for the day 2030-01-02 (UTC)): raise it, or resume the task for as much again"
    )
    assert not Interruption.objects.filter(task=waiting).exists()
    tomorrow = NOON + timedelta(days=1)
    Host.objects.update(seen_at=tomorrow)
    assert fleet.dispatch(now=tomorrow) == [waiting.pk]


def test_a_raised_budget_places_what_waited(project: Project) -> None:
    _set(project={"tokens": 1000})
    _at_work(_task(project))
    waiting = _task(project)
    assert fleet.dispatch(now=NOON) == []
    _set(project={"tokens": 2000})
    assert fleet.dispatch(now=NOON) == [waiting.pk]


def test_one_that_a_person_lets_go_on_is_placed_alone_and_held_again_when_that_is_used_up(project: Project) -> None:
    _set(day={"cost": 5})
    spender = _task(project)
    _at_work(spender, cost="5.5")
    mine, other = _task(project), _task(project)
    pausing.resume(task=mine, actor=_me())
    assert fleet.dispatch(now=NOON) == [mine.pk]
    Session.objects.filter(task=mine).delete()
    _at_work(spender, cost="5.5")
    assert fleet.dispatch(now=NOON) == []
    assert "10.50 USD" in _decided(mine).waiting_for
    assert "5.00 USD" in _decided(other).waiting_for


def test_a_rule_that_only_tells_lets_queued_tasks_be_placed(project: Project) -> None:
    _set(day={"cost": 5})
    project.rules.create(trigger="budget-exceeded", action=["notify"])
    _at_work(_task(project), cost="5.5")
    waiting = _task(project)
    assert fleet.dispatch(now=NOON) == [waiting.pk]


def test_of_a_project_over_its_budget_one_task_asks(project: Project) -> None:
    _set(day={"cost": 5})
    for task in (_task(project), _task(project)):
        turn = _at_work(task, cost="3")
        Message.objects.create(task=task, session=turn.session, key="x", occasion="x", text="go on")
        Task.objects.filter(pk=task.pk).update(outcome="")
    found = [_decided(task) for task in Task.objects.order_by("pk")]
    assert [task.status for task in found] == [TaskStatus.NEEDS_INPUT] * 2
    assert Interruption.objects.count() == 1
    assert not Turn.objects.filter(n=2).exists()


def test_a_new_day_lets_a_held_task_go_on_by_itself(project: Project) -> None:
    _set(day={"cost": 1})
    task = _task(project)
    turn = _at_work(task)
    Message.objects.create(task=task, session=turn.session, key="x", occasion="x", text="go on")
    assert _decided(task).wake_at == datetime(2030, 1, 3, tzinfo=UTC)
    assert not task.jobs.filter(verb="StartTurn").exists()
    _decided(task, now=datetime(2030, 1, 3, tzinfo=UTC))
    assert task.jobs.filter(verb="StartTurn").count() == 1


def test_resuming_a_task_over_its_own_budget_lets_it_use_as_much_again(project: Project) -> None:
    _set(task={"cost": 2, "time": "4h"})
    task = _task(project)
    turn = _at_work(task, cost="2.5")
    Message.objects.create(task=task, session=turn.session, key="x", occasion="x", text="go on")
    assert _decided(task).status == TaskStatus.NEEDS_INPUT
    pausing.resume(task=task, actor=_me())
    _decided(task)
    assert task.jobs.filter(verb="StartTurn").count() == 1
    assert not Interruption.objects.open().exists()
    Turn.objects.update(cost_usd="4.50")
    assert not task.jobs.filter(verb="StartTurn", state="done").exists()
    assert [budget.waived.cost for budget in _budgets(task)] == [Decimal("2.5")]
    with pytest.raises(NotNow, match="is not paused"):
        pausing.resume(task=_task(project), actor=_me())


def test_a_task_is_paused_and_resumed_by_people_and_history_says_by_whom(project: Project) -> None:
    task = _task(project)
    pausing.pause(task=task, actor=_me())
    pausing.pause(task=task, actor=_me())
    assert fleet.dispatch(now=NOON) == []
    assert _decided(task).reason == "ada paused it"
    pausing.resume(task=task, actor=_me())
    assert fleet.dispatch(now=NOON) == [task.pk]
    kinds = ["task.paused", "task.resumed"]
    assert list(Event.objects.filter(task=task, kind__in=kinds).order_by("pk").values_list("kind", flat=True)) == kinds


def test_an_agent_that_was_stopped_while_its_task_was_paused_is_told_to_go_on(project: Project) -> None:
    task = _task(project)
    turn = _at_work(task)
    Turn.objects.update(end="stopped")
    pausing.pause(task=task, actor=_me())
    pausing.resume(task=task, actor=_me())
    assert "lets it go on" in Message.objects.get(key=f"resumed:{turn.pk}").text
    _decided(task)
    assert task.jobs.filter(verb="StartTurn").count() == 1


def test_a_rule_pauses_once_and_a_person_undoes_it(project: Project) -> None:
    project.rules.create(trigger="agent-stuck", action=["pause", "notify"])
    task = _task(project)
    _at_work(task, ended=False, began=NOON - timedelta(hours=1), hours=0.1)
    assert _decided(task).paused
    assert task.pause_reason.startswith("the rule agent-stuck paused it; no progress since")
    pausing.resume(task=task, actor=_me())
    assert not _decided(task).paused


def test_where_a_task_got_to_is_kept_with_it(project: Project) -> None:
    task = _task(project)
    _at_work(task)
    Session.objects.update(published_sha="a" * 40, commits=1)
    assert _decided(task).progress["what"] == f"head {'a' * 10}"
    before = task.progress
    assert _decided(task, now=NOON + timedelta(hours=1)).progress == before


def test_a_budget_that_nobody_could_read_is_refused_where_it_is_written(project: Project) -> None:
    project.budget = {"task": {"tokens": "many"}}
    with pytest.raises(ValidationError, match=r"task\.tokens is 'many'"):
        project.full_clean()


def test_usage_is_told_by_project_agent_and_task_the_dearest_first(project: Project) -> None:
    cheap, dear = _task(project), _task(project)
    _at_work(cheap, cost="1")
    _at_work(dear, cost="3")
    _at_work(dear, cost="9", began=NOON - timedelta(days=7))
    found = usage.over(user=_superuser(), days=7, now=NOON)
    assert (found.total.used.cost, found.total.turns, found.total.used.time) == (Decimal(4), 2, timedelta(hours=2))
    assert [(share.name, share.used.cost) for share in found.tasks] == [("app#2", Decimal(3)), ("app#1", Decimal(1))]
    assert [share.name for share in (*found.projects, *found.agents)] == ["app", "command"]
    assert usage.over(user=_superuser(), days=8, now=NOON).total.used.cost == Decimal(13)


def _superuser() -> AbstractBaseUser:
    return get_user_model().objects.get_or_create(username="root", is_superuser=True)[0]
