"""The reaction rules of a project: the rows people set, as the domain's overrides, and what they come to field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from enum import StrEnum

from django.db.models import F, Q

from orchestrator.domain.durations import ACCEPTED_FORM, format_duration, parse_duration
from orchestrator.domain.rules import DEFAULTS, Override, Priority, Reply, Rule, Trigger, effective
from orchestrator.models import Project, ProjectWorkflow, RuleRow

FIELDS: tuple[str, ...] = tuple(field.name for field in fields(Override) if field.name != "trigger")
MOST_ATTEMPTS = 1000


class Source(StrEnum):
    """The place that set a field of a rule."""

    DEFAULT = "default"
    WORKFLOW = "workflow"
    GLOBAL = "global"
    PROJECT = "project"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One field of an effective rule, and the place that set it."""

    value: object
    source: Source


def effective_rules(project: Project) -> Mapping[Trigger, Rule]:
    """The rule of every trigger as it holds in `project`: defaults < global < project, field by field."""
    overrides = overrides_for(project)
    return {trigger: effective(trigger, overrides) for trigger in Trigger}


def overrides_for(project: Project | None) -> list[Override]:
    """What the global file and then the project set, in the order in which they are laid over the defaults."""
    rows = [override_of(row) for row in _rows_for(project)]
    stalling = stall_rule(project) if project is not None else None
    return [stalling, *rows] if stalling is not None else rows


def stall_rule(project: Project) -> Override | None:
    """What the project's workflow says of an agent that shows no progress: it is stopped and set to work again, or left alone. Files and
    people go before it, field by field."""
    row = ProjectWorkflow.objects.filter(project=project, current__isnull=False).first()
    if row is None:
        return None
    if row.stall_timeout is None:
        return Override(trigger=Trigger.AGENT_STUCK, auto=False, action=(Reply.RESTART_AGENT,))
    return Override(trigger=Trigger.AGENT_STUCK, action=(Reply.RESTART_AGENT,), threshold=row.stall_timeout)


def explained(project: Project | None) -> dict[Trigger, dict[str, Explained]]:
    """For each trigger and field: the effective value and where it came from. No project: what holds for all of them."""
    table = {
        trigger: {name: Explained(value=getattr(rule, name), source=Source.DEFAULT) for name in FIELDS}
        for trigger, rule in DEFAULTS.items()
    }
    laid = [
        (Source.GLOBAL if row.project_id is None else Source.PROJECT, override_of(row)) for row in _rows_for(project)
    ]
    stalling = stall_rule(project) if project is not None else None
    if stalling is not None:
        laid.insert(0, (Source.WORKFLOW, stalling))
    for source, override in laid:
        for name in FIELDS:
            value = getattr(override, name)
            if value is not None:
                table[override.trigger][name] = Explained(value=value, source=source)
    return table


def override_of(row: RuleRow) -> Override:
    """A row as the domain's value. Raises `ValueError` that names the field when the row holds what no rule can hold."""
    return Override(
        trigger=Trigger(row.trigger),
        auto=row.auto,
        action=None if row.action is None else tuple(Reply(word) for word in row.action),
        priority=Priority(row.priority) if row.priority else None,
        message=row.message or None,
        retries=row.retries,
        escalate_after=parse_escalate_after(row.escalate_after) if row.escalate_after else None,
        threshold=parse_duration(row.threshold) if row.threshold else None,
        include_summary=row.include_summary,
    )


def row_of(override: Override, *, project: Project | None) -> RuleRow:
    """An unsaved row that holds exactly what `override` sets."""
    return RuleRow(
        project=project,
        trigger=override.trigger,
        auto=override.auto,
        action=None if override.action is None else [str(reply) for reply in override.action],
        priority=override.priority or "",
        message=override.message or "",
        retries=override.retries,
        escalate_after="" if override.escalate_after is None else format_escalate_after(override.escalate_after),
        threshold="" if override.threshold is None else format_duration(override.threshold),
        include_summary=override.include_summary,
    )


def set_override(override: Override, *, project: Project | None) -> bool:
    """Make `override` all that `project` (or the global file) sets for its trigger. Returns whether a row changed; an override that sets
    nothing removes the row. Call inside the transaction of the use case."""
    existing = RuleRow.objects.select_for_update().filter(project=project, trigger=override.trigger).first()
    if override == Override(trigger=override.trigger):
        if existing is not None:
            existing.delete()
        return existing is not None
    if existing is not None and override_of(existing) == override:
        return False
    row = row_of(override, project=project)
    if existing is not None:
        row.pk = existing.pk
    row.save()
    return True


def parse_escalate_after(text: str) -> int | timedelta:
    """A number of attempts (`2`) or a duration (`30m`). Raises `ValueError` that names the value and the accepted forms."""
    words = text.strip()
    if words.isascii() and words.isdigit() and len(words) <= 6 and int(words) <= MOST_ATTEMPTS:
        return int(words)
    try:
        return parse_duration(words)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{text!r} is neither a number of attempts (0 to {MOST_ATTEMPTS}) nor {ACCEPTED_FORM}"
        ) from error


def format_escalate_after(value: int | timedelta) -> str:
    """The text that `parse_escalate_after` reads back as `value`."""
    return str(value) if isinstance(value, int) else format_duration(value)


def check(row: RuleRow) -> dict[str, str]:
    """What is wrong with a row that a person edits: field -> sentence. Empty: nothing. For forms, which show it beside the field."""
    wrong: dict[str, str] = {}
    for name, read in (("escalate_after", parse_escalate_after), ("threshold", parse_duration)):
        text = getattr(row, name)
        try:
            if text:
                read(text)
        except (ValueError, OverflowError) as error:
            wrong[name] = str(error)
    known = {str(reply) for reply in Reply}
    if row.action is not None and not (
        isinstance(row.action, list) and row.action and all(word in known for word in row.action)
    ):
        wrong["action"] = f"{row.action!r} is not a list of actions: choose from {', '.join(sorted(known))}"
    return wrong


def _rows_for(project: Project | None) -> list[RuleRow]:
    """The global rows, then those of the project, in one query."""
    wanted = Q(project=None) if project is None else Q(project=None) | Q(project=project)
    return list(RuleRow.objects.filter(wanted).order_by(F("project_id").asc(nulls_first=True), "trigger"))
