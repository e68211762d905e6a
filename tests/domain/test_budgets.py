"""Budgets: what is used up, what that stops, and how it goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from orchestrator.domain.budgets import BudgetFacts, Limit, Span, Used, limits_of, parse_budget, runs_out_at, used_up
from orchestrator.domain.lifecycle import decide
from orchestrator.domain.rules import DEFAULTS, Priority, Reply, Trigger
from orchestrator.domain.snapshot import TurnEnd
from orchestrator.domain.status import TaskStatus
from orchestrator.domain.triggers import held_back
from tests.domain.facts import DONE_TURN, LIVE_TURN, NOW, SESSION, TASK, Story, keys, kinds, message, snapshot

FIVE = Limit(cost=Decimal(5))
WAITS = (message(None, "task", turn=None),)


def budget(cost: float, *, span: Span = Span.TASK, limit: Limit = FIVE, **more: object) -> BudgetFacts:
    used = Used(cost=Decimal(str(cost)), tokens=1000, time=timedelta(hours=1))
    return BudgetFacts(span=span, limit=limit, used=used, **more)  # type: ignore[arg-type]  # a test names the fields


def day(cost: float, **more: object) -> BudgetFacts:
    midnight = NOW.replace(hour=0) + timedelta(days=1)
    return budget(cost, span=Span.DAY, limit=Limit(cost=Decimal(100)), day="2030-01-01", renews_at=midnight, **more)


def test_the_default_answer_is_to_pause_and_to_tell_people() -> None:
    rule = DEFAULTS[Trigger.BUDGET_EXCEEDED]
    assert (rule.action, rule.priority, rule.auto) == ((Reply.PAUSE, Reply.NOTIFY), Priority.URGENT, True)


def test_a_live_turn_over_its_tasks_budget_is_stopped_and_a_human_told_once() -> None:
    story = Story(snapshot(turn=LIVE_TURN, pull=None, budgets=(budget(4.99),)))
    assert "StopAgent" not in kinds(story.see())
    story.see(budgets=(budget(5.20),))
    story.see(budgets=(budget(5.30),))
    assert [type(action).__name__ for action in story.promised] == ["StopAgent"]
    assert [(asked.priority, asked.escalation) for asked in story.asked] == [(Priority.URGENT, False)]
    assert story.asked[0].evidence == ("the task: 5.20 USD of 5.00 USD used",)


@pytest.mark.parametrize("over", [budget(7, span=Span.PROJECT), day(100)])
def test_over_the_projects_or_the_days_budget_the_live_turn_comes_to_its_end_and_none_follows(
    over: BudgetFacts,
) -> None:
    assert "StopAgent" not in kinds(decide(snapshot(turn=LIVE_TURN, pull=None, budgets=(over,))))
    resting = decide(snapshot(messages=WAITS, pull=None, budgets=(over,)))
    assert "StartTurn" not in kinds(resting)
    assert (resting.status, "budget is used up" in resting.reason) == (TaskStatus.NEEDS_INPUT, True)


def test_a_new_day_is_waited_for() -> None:
    assert decide(snapshot(messages=WAITS, pull=None, budgets=(day(100),))).wake_at == day(100).renews_at


def test_what_is_running_is_looked_at_when_its_time_will_be_used_up() -> None:
    facts = budget(1, limit=Limit(time=timedelta(hours=3)), running=2)
    assert runs_out_at(facts, now=NOW) == NOW + timedelta(hours=1)
    assert decide(snapshot(turn=replace(LIVE_TURN, last_progress_at=NOW + timedelta(hours=9)), pull=None, budgets=(facts,))).wake_at == NOW + timedelta(hours=1)  # fmt: skip
    assert runs_out_at(replace(facts, running=0), now=NOW) is None


def test_when_there_is_more_the_stopped_agent_is_told_to_go_on_once() -> None:
    story = Story(snapshot(turn=LIVE_TURN, pull=None, budgets=(budget(6),)))
    story.see()
    story.see(turn=replace(DONE_TURN, end=TurnEnd.STOPPED))
    assert story.sent == []
    raised = budget(6, limit=Limit(cost=Decimal(10)))
    story.see(budgets=(raised,))
    story.see()
    assert [sent.trigger for sent in story.sent] == [Trigger.BUDGET_EXCEEDED]
    assert "turn:5:2:0" in {key for action in story.promised for key in [getattr(action, "key", "")]}
    assert not any(asked.open for asked in story.now.interruptions)


def test_a_persons_go_ahead_allows_as_much_again_and_no_more() -> None:
    waived = Used(cost=Decimal("6.00"), tokens=1000, time=timedelta(hours=1))
    assert not used_up(budget(10.99, waived=waived))
    assert used_up(budget(11, waived=waived)) == ("cost",)
    story = Story(snapshot(messages=WAITS, pull=None, budgets=(budget(6),)))
    story.see()
    story.see(budgets=(budget(6, waived=waived),))
    story.see(budgets=(budget(11, waived=waived),))
    assert len(story.asked) == 2  # another go-ahead, another question


def test_a_task_that_waits_for_its_review_needs_no_budget() -> None:
    decision = decide(snapshot(budgets=(budget(9),)))
    assert decision.status is TaskStatus.CI_PENDING


def test_one_task_asks_for_all_of_its_project() -> None:
    told = decide(snapshot(messages=WAITS, pull=None, budgets=(day(100),), budget_told=True))
    assert "Interrupt" not in kinds(told)
    assert "StartTurn" not in kinds(told)
    own = decide(snapshot(messages=WAITS, pull=None, budgets=(day(100), budget(5)), budget_told=True))
    assert "Interrupt" in kinds(own)


@pytest.mark.parametrize("changes", [{"action": (Reply.NOTIFY,)}, {"auto": False}])
def test_a_rule_that_does_not_pause_lets_the_agent_go_on(changes: dict[str, object]) -> None:
    rules = {**DEFAULTS, Trigger.BUDGET_EXCEEDED: replace(DEFAULTS[Trigger.BUDGET_EXCEEDED], **changes)}  # type: ignore[arg-type]
    facts = snapshot(messages=WAITS, pull=None, budgets=(budget(9),), rules=rules)
    assert not held_back(facts)
    assert {"StartTurn", "Interrupt"} <= set(kinds(decide(facts)))


def test_another_rule_that_pauses_does_so_once_for_its_occasion_and_lets_the_turn_end() -> None:
    rules = {**DEFAULTS, Trigger.AGENT_STUCK: replace(DEFAULTS[Trigger.AGENT_STUCK], action=(Reply.PAUSE, Reply.NOTIFY))}  # fmt: skip
    story = Story(snapshot(turn=LIVE_TURN, pull=None, rules=rules))
    story.wait(minutes=11)
    story.wait(minutes=1)
    assert [type(action).__name__ for action in story.promised] == ["Pause"]


def test_a_paused_task_says_by_whom() -> None:
    paused = replace(TASK, paused=True, pause_reason="ada paused it")
    assert decide(snapshot(task=paused, messages=WAITS)).reason.startswith("ada paused it")
    assert decide(snapshot(task=paused)).reason.endswith("; ada paused it: it goes on when somebody resumes it")


def test_a_session_that_has_not_begun_waits_for_its_budget_too() -> None:
    decision = decide(snapshot(turn=None, pull=None, messages=WAITS, session=replace(SESSION, published_sha=None, commits=0), budgets=(budget(5),)))  # fmt: skip
    assert "turn:5:1:0" not in keys(decision)
    assert decision.status is TaskStatus.NEEDS_INPUT


def test_the_file_says_amounts_as_people_write_them() -> None:
    written = {
        "task": {"cost": 5.00, "tokens": "2M", "time": "4h"},
        "project": {"tokens": "1.5k"},
        "day": {"cost": "100"},
    }
    assert parse_budget(written) == {
        Span.TASK: Limit(cost=Decimal("5.0"), tokens=2_000_000, time=timedelta(hours=4)),
        Span.PROJECT: Limit(tokens=1500),
        Span.DAY: Limit(cost=Decimal(100)),
    }
    assert limits_of([day(100)]) == "100.00 USD for the day 2030-01-01 (UTC)"


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ({"task": {"cost": "free"}}, "task.cost is 'free'"),
        ({"task": {"cost": 0}}, "above 0"),
        ({"task": {"cost": True}}, "task.cost is True"),
        ({"task": {"cost": float("nan")}}, "task.cost"),
        ({"day": {"tokens": "2 M"}}, "day.tokens is '2 M'"),
        ({"day": {"tokens": "0.0001k"}}, "whole number of tokens"),
        ({"day": {"time": "4 hours"}}, "day.time is '4 hours'"),
        ({"week": {"cost": 5}}, "'week' is not a budget"),
        ({"task": {"money": 5}}, "task.money is not a measure"),
        ({"task": 5}, "'task' is not a budget"),
    ],
)
def test_what_is_no_amount_is_refused_with_its_place(written: dict[str, dict[str, object]], named: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse_budget(written)
    assert named in str(refused.value)
