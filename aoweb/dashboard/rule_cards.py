"""A rule as people read it: in a sentence, and field by field with the place that set each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from orchestrator.domain.durations import format_duration
from orchestrator.domain.rules import Rule, Trigger
from orchestrator.domain.saying import rule_in_words
from orchestrator.models import Project, Task
from orchestrator.services import rule_conflicts, rules
from orchestrator.services.rules import Explained, Source

_NAMES = {
    "auto": "Acts by itself",
    "action": "Action",
    "priority": "Priority",
    "message": "Words",
    "retries": "Retries",
    "escalate_after": "Calls a person after",
    "threshold": "Threshold",
    "include_summary": "With a summary",
}
_SOURCES = {
    Source.DEFAULT: "default",
    Source.WORKFLOW: "its WORKFLOW.md",
    Source.GLOBAL: "all projects",
    Source.PROJECT: "this project",
    Source.TASK: "this task",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldLine:
    """One field of a rule, and who set it."""

    name: str
    value: str
    source: str
    inherited: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCard:
    """One trigger's rule."""

    trigger: str
    version: int
    sentence: str
    fields: Sequence[FieldLine]
    changed: bool
    edit: str
    warnings: Sequence[str] = ()  # why it may never do what it says


def gather(project: Project, task: Task | None, *, edits: Mapping[Trigger, str]) -> list[RuleCard]:
    """The rule of every trigger as it holds in a project, or for a task of it; `edits` says where each is changed."""
    versions, conflicts = rules.current_versions(project, task), rule_conflicts.conflicts_in(project)
    return [
        replace(
            _card(trigger, told, versions.get(trigger, 0), edits.get(trigger, "")),
            warnings=[one.why for one in conflicts if one.trigger is trigger],
        )
        for trigger, told in rules.explained(project, task).items()
    ]


def _card(trigger: Trigger, told: Mapping[str, Explained], version: int, edit: str) -> RuleCard:
    rule = Rule(trigger=trigger, version=version, **{name: one.value for name, one in told.items()})  # type: ignore[arg-type]  # field by field
    fields = [
        FieldLine(
            name=_NAMES[name],
            value=said(one.value),
            source=_SOURCES[one.source],
            inherited=one.source is Source.DEFAULT,
        )
        for name, one in told.items()
    ]
    changed = any(one.source is not Source.DEFAULT for one in told.values())
    return RuleCard(
        trigger=str(trigger),
        version=version,
        sentence=rule_in_words(rule),
        fields=fields,
        changed=changed,
        edit=edit,
    )


def said(value: object) -> str:
    """A field's value as the file would say it."""
    match value:
        case None | "":
            return "—"
        case bool():
            return "yes" if value else "no"
        case timedelta():
            return format_duration(value)
        case tuple():
            return ", ".join(str(word) for word in value)
        case _:
            return str(value)
