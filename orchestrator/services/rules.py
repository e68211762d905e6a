"""The reaction rules that hold: what all projects, a project and a task set, laid over the defaults field by field, and their versions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any

from django.db.models import F, Max, Q
from pydantic.alias_generators import to_camel

from orchestrator.domain.durations import ACCEPTED_FORM, format_duration, parse_duration
from orchestrator.domain.rules import DEFAULTS, Override, Priority, Reply, Rule, Trigger, laid_over
from orchestrator.models import Project, ProjectWorkflow, RuleRow, RuleVersion, Task
from orchestrator.services import events
from orchestrator.services.events import Actor

FIELDS: tuple[str, ...] = tuple(field.name for field in fields(Override) if field.name != "trigger")
MOST_ATTEMPTS = 1000


class Source(StrEnum):
    """The place that set a field of a rule."""

    DEFAULT = "default"
    WORKFLOW = "workflow"
    GLOBAL = "global"
    PROJECT = "project"
    TASK = "task"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One field of an effective rule, and the place that set it."""

    value: object
    source: Source


def effective_rules(project: Project, task: Task | None = None) -> Mapping[Trigger, Rule]:
    """The rule of every trigger as it holds in `project`, or for a task of it: defaults < global < project < task, field by field."""
    return rules_of([task] if task is not None else [], [project])[task.pk if task is not None else None]


def rules_of(tasks: Iterable[Task], projects: Iterable[Project] = ()) -> dict[int | None, Mapping[Trigger, Rule]]:
    """The rules of many tasks, by their ids, in three queries; None: those of the last of `projects`."""
    wanted: list[tuple[int | None, int, dict[str, Any]]] = [(None, project.pk, {}) for project in projects]
    wanted += [(task.pk, task.project_id, task.own_rules) for task in tasks]
    owners = {project for _, project, _ in wanted}
    rows = list(RuleRow.objects.filter(Q(project=None) | Q(project__in=owners)).order_by("trigger"))
    newest = list(
        RuleVersion.objects.filter(Q(project__in=owners) | Q(project=None))
        .filter(Q(task=None) | Q(task__in=[task for task, _, reactions in wanted if task is not None and reactions]))
        .order_by()
        .values_list("project_id", "task_id", "trigger")
        .annotate(newest=Max("number"))
    )
    stalling = _stall_rules(owners)
    found: dict[int | None, Mapping[Trigger, Rule]] = {}
    shared: dict[int, Mapping[Trigger, Rule]] = {}  # of a project, for its tasks that have no rules of their own
    for task_id, owner, reactions in wanted:
        if not reactions and owner in shared:
            found[task_id] = shared[owner]
            continue
        mine = [stalling[owner]] if owner in stalling else []
        mine += [override_of(row) for row in _in_order(row for row in rows if row.project_id in {None, owner})]
        versions = ((t, n) for p, k, t, n in newest if p in {None, owner} and k in {None, task_id})
        found[task_id] = _composed(tuple(mine), json.dumps(reactions, sort_keys=True), tuple(sorted(versions)))
        if not reactions:
            shared[owner] = found[task_id]
    return found


@lru_cache(maxsize=4096)
def _composed(
    overrides: tuple[Override, ...], reactions: str, versions: tuple[tuple[str, int], ...]
) -> Mapping[Trigger, Rule]:
    """The same places give the same rules: most decisions of a project share them."""
    places = (*overrides, *overrides_in(json.loads(reactions)))
    newest = dict(versions)  # ascending: the last of a trigger is its newest
    return {
        trigger: laid_over(replace(DEFAULTS[trigger], version=newest.get(str(trigger), 0)), places)
        for trigger in Trigger
    }


def overrides_for(project: Project | None) -> list[Override]:
    """What the global file and then the project set, in the order in which they are laid over the defaults."""
    rows = [override_of(row) for row in _rows_for(project)]
    stalling = stall_rule(project) if project is not None else None
    return [stalling, *rows] if stalling is not None else rows


def stall_rule(project: Project) -> Override | None:
    """What the project's workflow says of an agent that shows no progress: it is stopped and set to work again, or left alone. Files and
    people go before it, field by field."""
    return next(iter(_stall_rules([project.pk]).values()), None)


def _stall_rules(projects: Iterable[int]) -> dict[int, Override]:
    rows = ProjectWorkflow.objects.filter(project__in=list(projects), current__isnull=False)
    return {row.project_id: _stalling(row.stall_timeout) for row in rows}


def _stalling(timeout: timedelta | None) -> Override:
    if timeout is None:
        return Override(trigger=Trigger.AGENT_STUCK, auto=False, action=(Reply.RESTART_AGENT,))
    return Override(trigger=Trigger.AGENT_STUCK, action=(Reply.RESTART_AGENT,), threshold=timeout)


def explained(project: Project | None, task: Task | None = None) -> dict[Trigger, dict[str, Explained]]:
    """For each trigger and field: the effective value and where it came from. No project: what holds for all of them."""
    table = {
        trigger: {name: Explained(value=getattr(rule, name), source=Source.DEFAULT) for name in FIELDS}
        for trigger, rule in DEFAULTS.items()
    }
    places = [
        (Source.GLOBAL if row.project_id is None else Source.PROJECT, override_of(row)) for row in _rows_for(project)
    ]
    stalling = stall_rule(project) if project is not None else None
    if stalling is not None:
        places.insert(0, (Source.WORKFLOW, stalling))
    places += [(Source.TASK, override) for override in overrides_in(task.own_rules if task is not None else {})]
    for source, override in places:
        for name in FIELDS:
            value = getattr(override, name)
            if value is not None:
                table[override.trigger][name] = Explained(value=value, source=source)
    return table


def current_versions(project: Project | None, task: Task | None = None) -> dict[Trigger, int]:
    """The version of each trigger's rule as it holds now; a trigger without one was never changed."""
    concerned = RuleVersion.objects.concerning(
        project=project.pk if project is not None else None, task=task.pk if task is not None else None
    )
    newest = concerned.order_by().values_list("trigger").annotate(newest=Max("number"))
    return {Trigger(trigger): number for trigger, number in newest}


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


def set_override(override: Override, *, project: Project | None, actor: Actor) -> bool:
    """Make `override` all that `project` (or the global file) sets for its trigger. Returns whether a row changed; an override that sets
    nothing removes the row. Call inside the transaction of the use case."""
    existing = RuleRow.objects.select_for_update().filter(project=project, trigger=override.trigger).first()
    before = override_of(existing) if existing is not None else Override(trigger=override.trigger)
    if before == override:
        return False
    if override == Override(trigger=override.trigger) and existing is not None:
        existing.delete()
    else:
        row = row_of(override, project=project)
        row.pk = existing.pk if existing is not None else None
        row.save()
    note_change(before=before, after=override, project=project, actor=actor)
    return True


def note_row(*, before: RuleRow | None, after: RuleRow | None, actor: Actor) -> None:
    """Number what a person changed of a row by hand, in the transaction that changes it; no row sets nothing."""
    for gone, come in _places(before, after):
        row = gone or come
        if row is not None:
            nothing = Override(trigger=Trigger(row.trigger))
            note_change(
                before=_readable(gone, nothing),
                after=_readable(come, nothing),
                project=row.project,
                actor=actor,
            )


def _readable(row: RuleRow | None, nothing: Override) -> Override:
    """What a row sets; one that no rule can be, which somebody is putting right, sets nothing."""
    try:
        return override_of(row) if row is not None else nothing
    except ValueError:
        return nothing


def _places(before: RuleRow | None, after: RuleRow | None) -> list[tuple[RuleRow | None, RuleRow | None]]:
    """A row that moved to another project or trigger is gone in one place and has come in another."""
    if before is None or after is None or (before.project_id, before.trigger) == (after.project_id, after.trigger):
        return [(before, after)]
    return [(before, None), (None, after)]


def note_change(
    *, before: Override, after: Override, project: Project | None, actor: Actor, task: Task | None = None
) -> RuleVersion | None:
    """Number a change of a rule and tell it to history, in the transaction that makes it. None: nothing differs."""
    if before == after:
        return None
    version = RuleVersion.objects.create(
        number=RuleVersion.objects.next_number(),
        project=project,
        task=task,
        trigger=after.trigger,
        before=written(before),
        fields=written(after),
        at=actor.at,
        actor_id=actor.user.pk if actor.user is not None else None,
        actor_name=actor.name,
    )
    where = str(task) if task is not None else project.key if project is not None else "all projects"
    changed = [
        name for name in (*version.fields, *version.before) if version.fields.get(name) != version.before.get(name)
    ]
    text = f"{actor.name} changed the rule {after.trigger} of {where} (version {version.number}): {', '.join(dict.fromkeys(changed))}"
    data = {"version": version.number, "trigger": str(after.trigger), "before": version.before, "after": version.fields}
    events.record(kind="rule.changed", text=text, project=project, task=task, actor=actor, at=actor.at, data=data)
    return version


def written(override: Override) -> dict[str, Any]:
    """What an override sets, as the file writes it."""
    return {to_camel(name): _as_written(value) for name in FIELDS if (value := getattr(override, name)) is not None}


def _as_written(value: object) -> object:
    match value:
        case timedelta():
            return format_duration(value)
        case tuple():
            words = [str(word) for word in value]
            return words[0] if len(words) == 1 else words
        case StrEnum():
            return str(value)
        case _:
            return value


def overrides_in(reactions: Mapping[str, Mapping[str, Any]]) -> list[Override]:
    """The overrides that were stored as `written` gave them."""
    return [override_in(trigger, said) for trigger, said in reactions.items()]


def override_in(trigger: str, said: Mapping[str, Any]) -> Override:
    """One override that was stored as `written` gave it."""
    actions = said.get("action")
    return Override(
        trigger=Trigger(trigger),
        auto=said.get("auto"),
        action=None
        if actions is None
        else tuple(Reply(word) for word in ([actions] if isinstance(actions, str) else actions)),
        priority=Priority(said["priority"]) if "priority" in said else None,
        message=said.get("message"),
        retries=said.get("retries"),
        escalate_after=parse_escalate_after(str(said["escalateAfter"])) if "escalateAfter" in said else None,
        threshold=parse_duration(said["threshold"]) if "threshold" in said else None,
        include_summary=said.get("includeSummary"),
    )


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


def _in_order(rows: Iterable[RuleRow]) -> list[RuleRow]:
    """The global rows first."""
    return sorted(rows, key=lambda row: row.project_id is not None)
