"""Reactions of the file as rule rows, and rule rows as the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic.alias_generators import to_camel

from orchestrator.domain.rules import Override, Priority, Trigger
from orchestrator.models import Project, RuleRow
from orchestrator.services import rules
from orchestrator.services.configuration.file import TRIGGERS
from orchestrator.services.configuration.shapes import RuleShape
from orchestrator.services.events import Actor

Reactions = Mapping[str, RuleShape]


@dataclass(frozen=True, slots=True, kw_only=True)
class RulePlan:
    """What one place is to set for one trigger, and in which fields that is new."""

    override: Override
    changed: tuple[str, ...]

    @property
    def trigger(self) -> Trigger:
        return self.override.trigger


def plan(rows: Mapping[Trigger, Override], wanted: Reactions, before: Reactions) -> tuple[RulePlan, ...]:
    """The rules that the file names or named, over those that are set now."""
    return tuple(
        _plan(
            rows.get(trigger, Override(trigger=trigger)),
            override_of_file(trigger, wanted),
            override_of_file(trigger, before),
        )
        for trigger in Trigger
        if str(trigger) in wanted or str(trigger) in before
    )


def overlaid(project: Project | None, planned: Sequence[RulePlan]) -> list[Override]:
    """What a project, or the file for all of them, would set once the plan is carried out."""
    return list({**rows_of(project), **{one.trigger: one.override for one in planned}}.values())


def apply(planned: Sequence[RulePlan], *, project: Project | None, actor: Actor) -> None:
    """Set them; a new project's plan was made before its row was."""
    for one in planned:
        if one.changed:
            rules.set_override(one.override, project=project, actor=actor)


def write(document: dict[str, Any], project: Project | None, written: Reactions) -> None:
    """Put the reactions that hold into a document, as its author wrote those that have not changed."""
    rows = rows_of(project)
    kept = {name: inner for name, inner in document.get("reactions", {}).items() if name not in TRIGGERS}
    for trigger in _in_order(document, rows):
        said = override_of_file(trigger, written)
        row = rows.get(trigger, Override(trigger=trigger))
        text = dict(document.get("reactions", {}).get(str(trigger), {}))
        now = rules.written(row)
        for name in rules.FIELDS:
            if getattr(row, name) != getattr(said, name):
                text.pop(to_camel(name), None)
                if to_camel(name) in now:
                    text[to_camel(name)] = now[to_camel(name)]
        if text or (str(trigger) in document.get("reactions", {}) and row == said):
            kept[str(trigger)] = text
    if kept or document.get("reactions") == {}:
        document["reactions"] = kept
    else:
        document.pop("reactions", None)


def _in_order(document: Mapping[str, Any], rows: Mapping[Trigger, Override]) -> list[Trigger]:
    """The author's order first, then that of the words."""
    named = [Trigger(name) for name in document.get("reactions", {}) if name in TRIGGERS]
    return [*named, *(trigger for trigger in Trigger if trigger in rows and trigger not in named)]


def rows_of(project: Project | None) -> dict[Trigger, Override]:
    """What is set now: by the project, or for all of them."""
    return {Trigger(row.trigger): rules.override_of(row) for row in RuleRow.objects.filter(project=project)}


def _plan(row: Override, wanted: Override, before: Override) -> RulePlan:
    changes: dict[str, Any] = {}
    for name in rules.FIELDS:
        value = getattr(wanted, name)
        if value is None and getattr(before, name) is None:
            continue
        if getattr(row, name) != value:
            changes[name] = value
    return RulePlan(override=replace(row, **changes), changed=tuple(to_camel(name) for name in changes))


def override_of_file(trigger: Trigger, reactions: Reactions) -> Override:
    """What a file's reactions say of one trigger."""
    shape = reactions.get(str(trigger))
    if shape is None:
        return Override(trigger=trigger)
    return Override(
        trigger=trigger,
        auto=shape.auto,
        action=shape.action,
        message=shape.message or None,
        priority=Priority(shape.priority) if shape.priority else None,
        retries=shape.retries,
        escalate_after=shape.escalate_after,
        threshold=shape.threshold,
        include_summary=shape.include_summary,
    )
