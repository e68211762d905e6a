"""What agents used over the last days, by project, agent and task, and how much of the budgets that is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import F, QuerySet

from orchestrator.domain.budgets import BudgetFacts, Used
from orchestrator.models import Project, Turn
from orchestrator.services import spending

MOST_TASKS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one project, agent or task used. `task` is a task's id."""

    name: str
    used: Used
    turns: int
    title: str = ""
    task: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """All of it, and whose it was: the dearest first."""

    total: Share
    projects: tuple[Share, ...]
    agents: tuple[Share, ...]
    tasks: tuple[Share, ...]


def over(*, user: AbstractBaseUser | AnonymousUser, days: int, now: datetime) -> Usage:
    """Of the projects that the user may see, over so many days of UTC with today. A turn counts to the day on which it began."""
    since = spending.day_of(now) - timedelta(days=days - 1)
    turns = Turn.objects.filter(session__task__project__in=Project.objects.visible_to(user).values("pk"))
    turns = turns.filter(created_at__gte=since)
    whole = turns.order_by().aggregate(**spending.sums(now))
    return Usage(
        total=Share(name="", used=spending.used_of(whole), turns=whole["turns"]),
        projects=tuple(_shares(turns, {"name": "session__task__project__key"}, now=now)),
        agents=tuple(_shares(turns, {"name": "session__agent"}, now=now)),
        tasks=tuple(_shares(turns, _TASK, now=now)[:MOST_TASKS]),
    )


_TASK = {
    "name": "session__task__project__key",
    "number": "session__task__number",
    "title": "session__task__title",
    "task": "session__task_id",
}


def _shares(turns: QuerySet[Turn], by: dict[str, str], *, now: datetime) -> list[Share]:
    grouped: Any = turns.order_by().values(**{name: F(column) for name, column in by.items()})
    rows = grouped.annotate(**spending.sums(now)).order_by("-cost", "-time", "name")
    return [
        Share(
            name=f"{row['name']}#{row['number']}" if "number" in row else row["name"],
            used=spending.used_of(row),
            turns=row["turns"],
            title=row.get("title", ""),
            task=row.get("task"),
        )
        for row in rows
    ]


def budgets_of(*, user: AbstractBaseUser | AnonymousUser, now: datetime) -> list[tuple[Project, BudgetFacts]]:
    """The budgets of projects and of their day, for those that have one."""
    found = Project.objects.visible_to(user).exclude(budget={})
    return [(project, budget) for project in found for budget in spending.of_project(project, now=now)]
