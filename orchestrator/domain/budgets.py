"""Budgets: what agents may use of money, tokens and time, for a task, a project and a day, and whether that is used up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum

from orchestrator.domain.durations import ACCEPTED_FORM, format_duration, parse_duration

TOKENS_FORM = "a whole number of tokens, or a number with k or M such as 500k or 1.5M"
COST_FORM = "an amount of USD above 0, such as 5.00"
_TOKENS = re.compile(r"(?P<number>\d{1,15}(?:\.\d{1,6})?)(?P<unit>[kKmM]?)", re.ASCII)
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000}
_MOST_USD = Decimal(1_000_000)


class Span(StrEnum):
    """What a budget is for: one task, all that its project ever used, or what the project uses in one day of UTC."""

    TASK = "task"
    PROJECT = "project"
    DAY = "day"


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What agents used. `time` is that of their turns, without the waiting for people's answers."""

    cost: Decimal = Decimal(0)  # USD
    tokens: int = 0
    time: timedelta = timedelta()

    def __add__(self, other: Used) -> Used:
        return Used(cost=self.cost + other.cost, tokens=self.tokens + other.tokens, time=self.time + other.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What may be used at most; None: as much as it takes."""

    cost: Decimal | None = None
    tokens: int | None = None
    time: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetFacts:
    """One budget of a task's project with what was used of it. A turn counts to the day on which it began."""

    span: Span
    limit: Limit
    used: Used
    running: int = 0  # agents at work at this moment, each of which uses up its time
    day: str = ""  # the day that it counts
    renews_at: datetime | None = None  # when that day is over
    waived: Used = Used()  # what had been used when a person said go on: as much again is allowed from there


MEASURES = tuple(field.name for field in fields(Limit))


def used_up(budget: BudgetFacts) -> tuple[str, ...]:
    """The measures of a budget that are used up."""
    return tuple(name for name, allowed in _allowed(budget) if getattr(budget.used, name) >= allowed)


def evidence_of(budgets: Iterable[BudgetFacts]) -> tuple[str, ...]:
    """What is used up, as people read it."""
    return tuple(
        f"{_whose(budget)}: {said(name, getattr(budget.used, name))} of {said(name, allowed)} used"
        for budget in budgets
        for name, allowed in _allowed(budget)
        if getattr(budget.used, name) >= allowed
    )


def limits_of(budgets: Iterable[BudgetFacts]) -> str:
    """The same without what was used, which grows while others work: `100.00 USD for the day 2030-01-01 (UTC)`."""
    return ", ".join(
        f"{said(name, allowed)} for {_whose(budget)}"
        for budget in budgets
        for name, allowed in _allowed(budget)
        if getattr(budget.used, name) >= allowed
    )


def runs_out_at(budget: BudgetFacts, *, now: datetime) -> datetime | None:
    """When its time will be used up if the agents at work go on; None: nobody uses it."""
    if budget.limit.time is None or not budget.running:
        return None
    return now + (budget.limit.time + budget.waived.time - budget.used.time) / budget.running


def occasion_of(budgets: Iterable[BudgetFacts]) -> str:
    """What makes it news that these are used up: another budget, another amount, another day, another go-ahead."""
    return ".".join(
        f"{budget.span}{budget.day}"
        + "".join(f"-{name}-{_number(allowed)}" for name, allowed in _allowed(budget) if name in used_up(budget))
        for budget in budgets
    )


def _allowed(budget: BudgetFacts) -> Iterator[tuple[str, object]]:
    for name in MEASURES:
        limit = getattr(budget.limit, name)
        if limit is not None:
            yield name, limit + getattr(budget.waived, name)


def _whose(budget: BudgetFacts) -> str:
    return f"the day {budget.day} (UTC)" if budget.span is Span.DAY else f"the {budget.span}"


def _number(value: object) -> str:
    return str(int(value.total_seconds())) if isinstance(value, timedelta) else f"{value}"


def said(measure: str, value: object) -> str:
    """An amount of a measure as people read it."""
    match value:
        case Decimal():
            return f"{value:.2f} USD"
        case timedelta():
            return format_duration(timedelta(seconds=int(value.total_seconds())))
        case _:
            return f"{value:,} {measure}"


# --- What the file says -------------------------------------------------------------------------------------------------------------------


def parse_tokens(value: object) -> int:
    """`2000000`, `2M`, `500k`. Raises `ValueError` that names the accepted form."""
    found = _TOKENS.fullmatch(str(value).strip()) if isinstance(value, int | str) and value is not True else None
    tokens = Decimal(found["number"]) * _UNITS[found["unit"].lower()] if found is not None else Decimal(0)
    if tokens <= 0 or tokens != int(tokens):
        raise ValueError(f"write {TOKENS_FORM}")
    return int(tokens)


def parse_cost(value: object) -> Decimal:
    """`5`, `5.00`. Raises `ValueError` that names the accepted form."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(value)  # noqa: TRY004  said below like any other value that is none
        cost = Decimal(str(value).strip())
    except (InvalidOperation, ValueError):
        cost = Decimal(0)
    if not (cost.is_finite() and 0 < cost <= _MOST_USD):
        raise ValueError(f"write {COST_FORM}")
    return cost


def parse_time(value: object) -> timedelta:
    """`4h`, `1h30m`. Raises `ValueError` that names the accepted form."""
    if not isinstance(value, str):
        raise ValueError(f"write {ACCEPTED_FORM}")  # noqa: TRY004  the loader collects ValueErrors
    return parse_duration(value)


READERS = {"cost": parse_cost, "tokens": parse_tokens, "time": parse_time}


def parse_budget(written: Mapping[str, Mapping[str, object]]) -> Mapping[Span, Limit]:
    """What a project's `budget` means. Raises `ValueError` that names the place and the accepted form."""
    found: dict[Span, Limit] = {}
    for name, measures in written.items():
        if name not in {str(span) for span in Span} or not isinstance(measures, Mapping):
            raise ValueError(f"{name!r} is not a budget: write task, project or day, with cost, tokens or time below")
        unknown = sorted(set(measures) - set(READERS))
        if unknown:
            raise ValueError(f"{name}.{unknown[0]} is not a measure: write cost, tokens or time")
        found[Span(name)] = Limit(**{one: _read(name, one, value) for one, value in measures.items()})  # type: ignore[arg-type]  # by measure
    return found


def _read(span: str, measure: str, value: object) -> object:
    try:
        return READERS[measure](value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{span}.{measure} is {value!r}: {error}") from error
