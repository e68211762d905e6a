"""`agent-orchestrator.yaml`: read, planned, applied and written back.

The database is the truth. What the file says is set; what it stopped saying goes back to its default; what it never said is left
alone. So a file that is applied twice changes nothing the second time, and an export that is applied changes nothing at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import yaml
from django.db import connection, transaction

from orchestrator import doorbell
from orchestrator.domain.conflicts import Conflict
from orchestrator.models import GlobalSettings, Project, Task
from orchestrator.services import events, rule_conflicts
from orchestrator.services.configuration import channels, projects, rules
from orchestrator.services.configuration.channels import ChannelPlan
from orchestrator.services.configuration.file import Loaded, load, reread, without_nulls
from orchestrator.services.configuration.problems import ConfigProblem, ConfigRefused
from orchestrator.services.configuration.projects import Columns
from orchestrator.services.configuration.rules import RulePlan
from orchestrator.services.configuration.shapes import FileShape
from orchestrator.services.configuration.yaml import parse
from orchestrator.services.events import Actor

__all__ = ["USUAL_NAME", "Change", "ChangeKind", "ConfigRefused", "Loaded", "apply", "export", "load", "plan"]
USUAL_NAME = "agent-orchestrator.yaml"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('configuration file', 0))"


class ChangeKind(StrEnum):
    """What applying does to a thing."""

    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One line of the plan: what happens to what, and in which fields."""

    kind: ChangeKind
    what: str
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _ProjectPlan:
    key: str
    row: Project | None
    columns: Columns
    document: dict[str, Any]
    rules: tuple[RulePlan, ...]

    def change(self) -> Change:
        if self.row is None:
            return Change(kind=ChangeKind.CREATE, what=f"project {self.key}", changed=tuple(sorted(self.columns)))
        return _change(f"project {self.key}", sorted(self.columns))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    projects: tuple[_ProjectPlan, ...]
    rules: tuple[RulePlan, ...]
    channels: tuple[ChannelPlan, ...]
    document: dict[str, Any] = field(default_factory=dict)
    document_changed: tuple[str, ...] = ()

    def changes(self) -> list[Change]:
        found = [one.change() for one in self.projects]
        found += [
            _change(f"rule {rule.trigger} of {one.key}", rule.changed) for one in self.projects for rule in one.rules
        ]
        found += [_change(f"rule {rule.trigger} of all projects", rule.changed) for rule in self.rules]
        found += [
            Change(kind=ChangeKind.CREATE, what=f"notifier {one.name}", changed=tuple(one.changed))
            if one.new
            else _change(f"notifier {one.name}", one.changed)
            for one in self.channels
        ]
        return [*found, _change("settings", self.document_changed)]


def plan(*, loaded: Loaded) -> list[Change]:
    """What `apply` would do, thing by thing. Raises `ConfigRefused` when something is missing that only the database could tell."""
    return _plan(loaded).changes()


@transaction.atomic
def apply(*, loaded: Loaded, actor: Actor) -> list[Change]:
    """Make the database say what the file says. Returns what changed, and what did not."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK)
    planned = _plan(loaded)
    changes = planned.changes()
    for one in planned.projects:
        row = _apply_project(one, actor)
        rules.apply(one.rules, project=row, actor=actor)
    rules.apply(planned.rules, project=None, actor=actor)
    channels.apply(planned.channels, now=actor.at)
    kept = {"document": planned.document, "text": loaded.text, "applied_at": actor.at}
    GlobalSettings.objects.update_or_create(only=1, defaults=kept)
    done = [change for change in changes if change.kind is not ChangeKind.UNCHANGED]
    if done:
        text = f"{actor.name} applied {loaded.parsed.path}: {', '.join(f'{c.kind} {c.what}' for c in done)}"[:2000]
        data = {"changes": [{"kind": str(c.kind), "what": c.what, "changed": list(c.changed)} for c in done]}
        events.record(kind="config.applied", text=text, actor=actor, at=actor.at, data=data)
        # Rules decide about tasks that are under way: each of them is looked at again.
        Task.objects.filter(outcome="").update(wake_at=actor.at)
        doorbell.ring("look_after_projects", queue_name="control")
    return changes


def warnings(*, loaded: Loaded) -> list[str]:
    """What the author should know although the file is taken: keys without effect, and rules that can never do what they say or that
    fight each other, as they would be once it is applied."""
    planned = _plan(loaded)
    routed = rule_conflicts.routing_with({one.name: one.priorities for one in planned.channels})
    general = rules.overlaid(None, planned.rules)
    common = rule_conflicts.judged(general, scm=None, routed=routed)
    told = [*loaded.warnings, *(_conflict(loaded, (), one) for one in common)]
    for one in planned.projects:
        scm = one.columns.get("scm", one.row.scm if one.row is not None else {})
        own = rules.overlaid(one.row, one.rules) if one.row is not None else [rule.override for rule in one.rules]
        found = rule_conflicts.judged([*general, *own], scm=scm, routed=routed)
        told += [_conflict(loaded, ("projects", one.key), each) for each in found if each not in common]
    return told


def _conflict(loaded: Loaded, place: tuple[str, ...], one: Conflict) -> str:
    """Where the file says it, or the nearest place at which it could."""
    key = (*place, "reactions", str(one.trigger), *((one.field,) if one.field else ()))
    parsed = loaded.parsed
    if place and key not in parsed.lines and key[2:] in parsed.lines:
        return f"{parsed.path}:{parsed.line(key[2:])}: {'.'.join(key[2:])} (in {place[1]}): {one.why}"
    return f"{parsed.path}:{parsed.line(key)}: {'.'.join(key)}: {one.why}"


def export(*, env: Mapping[str, str]) -> str:
    """The file that says what the database says; as its author wrote it, where nothing has changed since."""
    document = GlobalSettings.current()
    order = document.pop("projects", [])
    top = reread(document, env) or FileShape()
    rows = {row.key: row for row in Project.objects.all()}
    keys = [key for key in order if key in rows] + sorted(rows.keys() - set(order))
    written: dict[str, Any] = {}
    for key in keys:
        said, shape_rules = _said(rows[key], top, env)
        text = projects.document_of(rows[key], said)
        rules.write(text, rows[key], shape_rules)
        written[key] = text
    rules.write(document, None, top.reactions or {})
    channels.write(document, top)
    ordered = {name: document[name] for name in document if name in {"port", "defaults"}}
    whole = (
        ordered | ({"projects": written} if written else {}) | {k: v for k, v in document.items() if k not in ordered}
    )
    kept = GlobalSettings.text_as_applied()
    if kept and without_nulls(parse(text=kept, path=USUAL_NAME).value) == whole:
        return kept  # with its comments and its layout: nothing that it says has changed since
    return str(yaml.dump(whole, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


class _Dumper(yaml.SafeDumper):
    """Text of several lines as a block, and no aliases, which our own reader refuses."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 as the base class names it
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _plan(loaded: Loaded) -> _Plan:
    document = {name: value for name, value in loaded.raw.items() if name != "projects"}
    before = GlobalSettings.current()
    before_top = reread({name: value for name, value in before.items() if name != "projects"}, {}) or FileShape()
    problems: list[ConfigProblem] = []
    planned = tuple(_plan_project(key, loaded, before_top, problems) for key in loaded.shape.projects or {})
    if problems:
        raise ConfigRefused(problems)
    order = [*before.get("projects", []), *(one.key for one in planned)]
    if order:
        document["projects"] = list(dict.fromkeys(order))
    return _Plan(
        projects=planned,
        rules=rules.plan(rules.rows_of(None), loaded.shape.reactions or {}, before_top.reactions or {}),
        channels=channels.plan(loaded.shape, loaded.raw, before_top),
        document=document,
        document_changed=tuple(_differing(document, before)),
    )


def _plan_project(key: str, loaded: Loaded, before_top: FileShape, problems: list[ConfigProblem]) -> _ProjectPlan:
    assert loaded.shape.projects is not None  # noqa: S101 the caller iterates over it
    shape, raw = loaded.shape.projects[key], loaded.raw["projects"][key]
    row = Project.objects.filter(key=key).first()
    wanted = projects.columns_of(shape, raw, loaded.shape)
    problems.extend(_missing(key, loaded, wanted, row))
    said, rules_before = _said(row, before_top, {}) if row is not None else ({}, {})
    rows = rules.rows_of(row) if row is not None else {}
    columns = projects.changed_columns(row, key, wanted, said or {})
    if row is not None and row.settings_extra.get("file") != raw:
        columns["settings_extra"] = {**row.settings_extra, "file": raw}
    return _ProjectPlan(
        key=key,
        row=row,
        columns=columns,
        document=raw,
        rules=rules.plan(rows, shape.reactions or {}, rules_before),
    )


def _missing(key: str, loaded: Loaded, wanted: Columns, row: Project | None) -> Iterator[ConfigProblem]:
    """What a new project still needs, and whose repository it would be."""
    if row is not None or loaded.shape.projects is None:
        return
    place = ("projects", key)
    for column in ("checkout", "remote"):
        other = Project.objects.filter(**{column: wanted[column]}).first() if wanted.get(column) else None
        if other is not None:
            yield loaded.parsed.problem(place, key, f"this repository is registered as {other.key}: use that name here")
            return
    if "remote" not in wanted:
        advice = f"register it first with `ao start {wanted['checkout']}`, or write its remote: and defaultBranch: here"
        yield loaded.parsed.problem((*place, "path"), wanted["checkout"], advice)
    elif "checkout" in wanted and "default_branch" not in wanted and loaded.shape.projects[key].repo is None:
        yield loaded.parsed.problem((*place, "path"), wanted["checkout"], "write its defaultBranch: here")


def _said(row: Project, top: FileShape, env: Mapping[str, str]) -> tuple[Columns | None, Mapping[str, Any]]:
    """What the author's own words for this project mean, read again: columns and reactions."""
    kept = row.settings_extra.get("file")
    shape = reread({"projects": {row.key: kept}}, env) if kept else None
    if kept is None or shape is None or shape.projects is None:
        return None, {}
    project = shape.projects[row.key]
    return projects.columns_of(project, kept, top), project.reactions or {}


def _apply_project(one: _ProjectPlan, actor: Actor) -> Project:
    if one.row is not None:
        if one.columns:
            Project.objects.filter(pk=one.row.pk).update(**one.columns)
        return one.row
    defaults = {name: projects.default_of(one.key, name) for name in ("name", "session_prefix")}
    columns = {"default_branch": "main", **defaults, **one.columns}
    row = Project.objects.create(key=one.key, settings_extra={"file": one.document}, **columns)
    events.record(
        kind="project.registered", text=f"registered {row.shown_remote}", project=row, actor=actor, at=actor.at
    )
    return row


def _change(what: str, changed: Sequence[str]) -> Change:
    return Change(kind=ChangeKind.UPDATE if changed else ChangeKind.UNCHANGED, what=what, changed=tuple(changed))


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """The keys whose values differ, in the order in which they are written."""
    for name in dict.fromkeys((*one, *other)):
        if one.get(name) != other.get(name):
            yield name
