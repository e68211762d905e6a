"""What agents used, summed up from their turns, and the budgets that it counts against."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import (
    BooleanField,
    Case,
    Count,
    DurationField,
    ExpressionWrapper,
    F,
    Q,
    QuerySet,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Coalesce

from orchestrator.domain.budgets import BudgetFacts, Limit, Span, Used, occasion_of, parse_budget, used_up
from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import TurnUse
from orchestrator.models import Interruption, Project, Task, Turn
from orchestrator.models.rows import among

_ASKING = Q(ended_at__isnull=True, request__isnull=False) & ~Q(request__has_key="answer")
_COLUMNS = (
    "session__task_id",
    "started_at",
    "ended_at",
    "progress_at",
    "waited",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "asking",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a decision on a task may know of what it costs."""

    turns: tuple[TurnUse, ...]
    budgets: tuple[BudgetFacts, ...]
    told: bool


def of_tasks(tasks: Sequence[Task], *, now: datetime) -> dict[int, Spent]:
    """The turns of each of these tasks since its last progress, and its budgets. Projects without a budget cost no query of their own."""
    turns = _turns(Turn.objects.filter(among("session__task", [task.pk for task in tasks])), now=now)
    budgets = _budgets(tasks, turns, now=now)
    return {task.pk: _spent(task, turns.get(task.pk, []), budgets[task.pk]) for task in tasks}


def budgets_of(tasks: Sequence[Task], *, now: datetime) -> dict[int, tuple[BudgetFacts, ...]]:
    """The budgets of these tasks alone, in as many queries as of one."""
    turns = _turns(Turn.objects.filter(among("session__task", [task.pk for task in tasks])), now=now)
    return _budgets(tasks, turns, now=now)


def _budgets(
    tasks: Sequence[Task], turns: Mapping[int, Sequence[TurnUse]], *, now: datetime
) -> dict[int, tuple[BudgetFacts, ...]]:
    limited = {task.project for task in tasks if task.project.budget}
    shared = {project.pk: of_project(project, now=now) for project in limited}
    return {task.pk: of_task(task, turns.get(task.pk, []), shared.get(task.project_id, ())) for task in tasks}


def _spent(task: Task, turns: Sequence[TurnUse], budgets: tuple[BudgetFacts, ...]) -> Spent:
    since = datetime.fromisoformat(task.progress["at"]) if task.progress else task.created_at
    return Spent(
        turns=tuple(turn for turn in turns if turn.began_at >= since),
        budgets=budgets,
        told=_told(task, [budget for budget in budgets if budget.span is not Span.TASK and used_up(budget)]),
    )


def of_task(task: Task, turns: Iterable[TurnUse], shared: Iterable[BudgetFacts]) -> tuple[BudgetFacts, ...]:
    """The budgets that a task counts against: its own, and those of its project, with what people allowed on top."""
    own = parse_budget(task.project.budget).get(Span.TASK)
    found = [*shared]
    if own is not None:
        mine = list(turns)
        used = sum((turn.used for turn in mine), Used())
        found.append(BudgetFacts(span=Span.TASK, limit=own, used=used, running=sum(turn.running for turn in mine)))
    return tuple(_waived(budget, task.budget_waived) for budget in found)


def _waived(budget: BudgetFacts, waivers: Mapping[str, Any]) -> BudgetFacts:
    said = waivers.get(str(budget.span))
    if said is None or said["day"] != budget.day:
        return budget
    waived = Used(cost=Decimal(said["cost"]), tokens=said["tokens"], time=timedelta(seconds=said["time"]))
    return replace(budget, waived=waived)


def waiver_of(budgets: Iterable[BudgetFacts]) -> dict[str, Any]:
    """A person says go on: as much again is allowed of what is used up, for this task."""
    return {
        str(budget.span): {
            "day": budget.day,
            "cost": str(budget.used.cost),
            "tokens": budget.used.tokens,
            "time": budget.used.time.total_seconds(),
        }
        for budget in budgets
        if used_up(budget)
    }


def _told(task: Task, over: Sequence[BudgetFacts]) -> bool:
    """Whether people were told of the project's used up budget on another task."""
    if not over:
        return False
    cause = f"{Trigger.BUDGET_EXCEEDED}:{occasion_of(over)}"
    return Interruption.objects.filter(task__project=task.project_id, cause=cause).exclude(task=task).exists()


def of_project(project: Project, *, now: datetime) -> tuple[BudgetFacts, ...]:
    """The budgets of a project and of its day, with what was used of them."""
    limits = parse_budget(project.budget)
    mine = Turn.objects.filter(session__task__project=project)
    found = []
    if Span.PROJECT in limits:
        found.append(_budget(Span.PROJECT, limits[Span.PROJECT], mine, now=now))
    if Span.DAY in limits:
        begin = day_of(now)
        facts = _budget(Span.DAY, limits[Span.DAY], mine.filter(created_at__gte=begin), now=now)
        found.append(replace(facts, day=f"{begin:%Y-%m-%d}", renews_at=begin + timedelta(days=1)))
    return tuple(found)


def day_of(now: datetime) -> datetime:
    """The beginning of the day in UTC."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _budget(span: Span, limit: Limit, turns: QuerySet[Turn], *, now: datetime) -> BudgetFacts:
    row = turns.order_by().aggregate(**sums(now))
    return BudgetFacts(span=span, limit=limit, used=used_of(row), running=row["running"])


def sums(now: datetime) -> dict[str, Any]:
    """What is summed up of turns, for `used_of`. A turn that waits for an answer has worked until it asked."""
    until = Case(When(_ASKING, then=F("progress_at")), default=Coalesce("ended_at", Value(now)))
    working = Q(started_at__isnull=False, ended_at__isnull=True) & ~_ASKING
    return {
        "cost": Sum("cost_usd"),
        "input": Coalesce(Sum("input_tokens"), 0),
        "output": Coalesce(Sum("output_tokens"), 0),
        "time": Sum(until - F("started_at") - F("waited"), output_field=DurationField()),
        "turns": Count("pk"),
        "running": Count("pk", filter=working),
    }


def used_of(row: Mapping[str, Any]) -> Used:
    """A row of `sums` as what was used."""
    return Used(
        cost=row["cost"] or Decimal(0),
        tokens=row["input"] + row["output"],
        time=max(row["time"] or timedelta(), timedelta()),
    )


def _turns(turns: QuerySet[Turn], *, now: datetime) -> dict[int, list[TurnUse]]:
    """What each turn used, by task. A turn that waits for an answer has worked until it asked."""
    asking = ExpressionWrapper(_ASKING, output_field=BooleanField())
    found: dict[int, list[TurnUse]] = defaultdict(list)
    rows = turns.filter(started_at__isnull=False).annotate(asking=asking).order_by("pk").values_list(*_COLUMNS)
    for task, began, ended, heard, waited, received, sent, cost, waits in rows:
        until = ended or (heard if waits else now)
        used = Used(cost=cost, tokens=received + sent, time=max(until - began - waited, timedelta()))
        found[task].append(TurnUse(began_at=began, used=used, running=ended is None and not waits))
    return found
