"""How people are called, as projects and the installation say it: the ladder, reminders, quiet hours; and who stands on a rung."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from datetime import time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Q

from orchestrator.domain.durations import ACCEPTED_FORM, format_duration, parse_duration
from orchestrator.domain.escalating import Plan, QuietHours, Rung, Step
from orchestrator.models import GlobalSettings, Project, QuietTime, Role, Task

NEVER = "never"
LADDER_FORM = "write a list such as [{to: author}, {to: maintainers, after: 15m}, {to: admins, after: 1h}], each later than the one before"
QUIET_FORM = 'write never, or {from: "22:00", until: "07:00", timeZone: Europe/Berlin}'
_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_MINUTES_A_DAY = 24 * 60


def plan_of(project: Project | None) -> Plan:
    """The plan that holds for a project (none: the installation), field by field: what it says itself, else the file, else the default."""
    said = {**(GlobalSettings.current().get("escalation") or {}), **(project.escalation if project is not None else {})}
    found: dict[str, Any] = {}
    for name, (field, read) in _READERS.items():
        if name in said:
            found[field] = read(said[name])
    return Plan(**found)


def words_of(plan: Plan) -> list[str]:
    """A plan as people read it, a line for each thing that it says."""
    lines = [f"{step.to} {f'after {format_duration(step.after)}' if step.after else 'at once'}" for step in plan.ladder]
    lines.append(f"reminded every {format_duration(plan.remind)}" if plan.remind is not None else "never reminded")
    if plan.quiet is not None:
        quiet = plan.quiet
        lines.append(f"quiet from {quiet.start:%H:%M} to {quiet.end:%H:%M} {quiet.zone}, but for what is urgent")
    return lines


def check(said: Mapping[str, Any]) -> None:
    """Whether a plan can be made of this. Raises ValueError that names the key and says what is taken."""
    for name, value in said.items():
        if name not in _READERS:
            raise ValueError(f"{name[:60]!r} is unknown here: write remind, ladder or quietHours")
        try:
            _READERS[name][1](value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error


def read_remind(value: Any) -> timedelta | None:
    """How often people are reminded; `never` is None. Raises ValueError that says what is taken."""
    if value == NEVER:
        return None
    if not isinstance(value, str):
        raise ValueError(f"write never, or {ACCEPTED_FORM}")  # noqa: TRY004 readers of the file collect ValueErrors
    try:
        return parse_duration(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"write never, or {ACCEPTED_FORM}") from error


def read_ladder(value: Any) -> tuple[Step, ...]:
    """The rungs in order. Raises ValueError that says what is taken."""
    if not isinstance(value, list) or not value:
        raise ValueError(LADDER_FORM)
    steps = tuple(_step(one) for one in value)
    spans = [step.after for step in steps]
    if spans[0] or any(later <= earlier for earlier, later in itertools.pairwise(spans)):
        raise ValueError(f"{LADDER_FORM}; the first is called at once")
    if len({step.to for step in steps}) < len(steps):
        raise ValueError(f"{LADDER_FORM}; each of them once")
    return steps


def _step(value: Any) -> Step:
    if not isinstance(value, Mapping) or value.keys() - {"to", "after"} or value.get("to") not in {*map(str, Rung)}:
        raise ValueError(LADDER_FORM)
    try:
        after = parse_duration(str(value["after"])) if "after" in value else timedelta()
    except (ValueError, OverflowError) as error:
        raise ValueError(LADDER_FORM) from error
    return Step(to=Rung(value["to"]), after=after)


def read_quiet_hours(value: Any) -> QuietHours | None:
    """A span of each day in a place; `never` is None. Raises ValueError that says what is taken."""
    if value == NEVER:
        return None
    if not isinstance(value, Mapping) or value.keys() - {"from", "until", "timeZone"}:
        raise ValueError(QUIET_FORM)
    start, end = _clock(value.get("from")), _clock(value.get("until"))
    if start == end:
        raise ValueError(f"{QUIET_FORM}; the two differ")
    return QuietHours(start=start, end=end, zone=read_zone(value.get("timeZone", "UTC")))


def _clock(value: Any) -> time:
    """22:00; without quotes YAML reads that as 1320 minutes."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MINUTES_A_DAY:
        return time(value // 60, value % 60)
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(QUIET_FORM)
    return time(int(found[1]), int(found[2]))


def read_zone(value: Any) -> ZoneInfo:
    """A time zone by its name. Raises ValueError."""
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise ValueError(
            f"{str(value)[:60]!r} is not a time zone: write a name such as Europe/Berlin or UTC"
        ) from error


_READERS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "remind": ("remind", read_remind),
    "ladder": ("ladder", read_ladder),
    "quietHours": ("quiet", read_quiet_hours),
}


def quiet_hours_of(person: AbstractBaseUser) -> QuietHours | None:
    """When a person's own channels are quiet."""
    row = QuietTime.objects.filter(person=person.pk).first()
    return None if row is None else QuietHours(start=row.start, end=row.end, zone=read_zone(row.zone))


def people_on(rung: Rung, task: Task | None, project: Project | None = None) -> list[AbstractBaseUser]:
    """Who stands on a rung, of those who may see the task: nobody who left the project is called."""
    people = get_user_model().objects.filter(is_active=True)
    project = task.project if task is not None else project
    match rung:
        case Rung.AUTHOR:
            author = task.requested_by_id if task is not None else None
            people = people.filter(Q(is_superuser=True) | Q(memberships__project=project), pk=author or 0)
        case Rung.MAINTAINERS:
            people = people.filter(memberships__project=project, memberships__role=Role.MAINTAINER)
        case Rung.ADMINS:
            people = people.filter(is_superuser=True)
    return list(people.distinct().order_by("pk"))


def called(plan: Plan, task: Task, step: int) -> tuple[int, list[AbstractBaseUser]]:
    """Everybody who stands on the rungs up to this one, each once; where that is nobody, the next rung that somebody stands on counts."""
    found: dict[int, AbstractBaseUser] = {}
    reached = min(step, len(plan.ladder) - 1)
    for n, one in enumerate(plan.ladder):
        if n > reached and found:
            break
        found |= {person.pk: person for person in people_on(one.to, task)}
        reached = max(reached, n)
    return reached, list(found.values())
