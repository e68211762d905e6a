"""What it all costs: today, this week, this month, by project, agent and task, and how full the budgets are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from orchestrator.domain.budgets import MEASURES, BudgetFacts, Span, said
from orchestrator.services import usage as facts

SPANS = ((1, "Today"), (7, "7 days"), (30, "30 days"))
_NEARLY = 0.8  # from here on a bar warns
_WHOLE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One measure of a budget, as a bar of 100."""

    label: str
    used: str
    limit: str
    value: int
    project: str = ""

    @property
    def full(self) -> bool:
        return self.value >= _WHOLE

    @property
    def tone(self) -> str:
        return "alarm" if self.full else "warn" if self.value >= _NEARLY * _WHOLE else "good"


def bars(budgets: Iterable[BudgetFacts], *, project: str = "") -> list[Bar]:
    """A bar for each measure that a budget limits."""
    return [
        Bar(
            label=_label(budget),
            used=said(measure, getattr(budget.used, measure)),
            limit=said(measure, limit),
            value=_share(getattr(budget.used, measure), limit),
            project=project,
        )
        for budget in budgets
        for measure, limit in _limits(budget)
    ]


def _limits(budget: BudgetFacts) -> Sequence[tuple[str, object]]:
    """What may be used now: a person's go-ahead allows as much again."""
    limits = [(name, getattr(budget.limit, name)) for name in MEASURES]
    return [(name, limit + getattr(budget.waived, name)) for name, limit in limits if limit is not None]


def _label(budget: BudgetFacts) -> str:
    return {Span.TASK: "This task", Span.PROJECT: "The project, ever", Span.DAY: "Today (UTC)"}[budget.span]


def _share(used: object, limit: object) -> int:
    """Rounded down, so that a bar is full when nothing is left and not before."""
    if isinstance(used, timedelta) and isinstance(limit, timedelta):
        return min(int(used / limit * _WHOLE), _WHOLE)
    return min(int(Decimal(str(used)) / Decimal(str(limit)) * _WHOLE), _WHOLE)


@never_cache
@require_safe
def usage(request: HttpRequest) -> HttpResponse:
    """The page; `days` is 1, 7 or 30."""
    asked = request.GET.get("days", "")
    days = int(asked) if asked in {str(span) for span, _ in SPANS} else 1
    now = timezone.now()
    budgets = facts.budgets_of(user=request.user, now=now)
    context = {
        "days": days,
        "spans": SPANS,
        "usage": facts.over(user=request.user, days=days, now=now),
        "bars": [bar for project, budget in budgets for bar in bars([budget], project=project.key)],
    }
    return render(request, "ao/usage.html", context)
