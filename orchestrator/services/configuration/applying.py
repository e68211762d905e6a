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
from orchestrator.models import GlobalSettings, Project, Task
from orchestrator.services import events
from orchestrator.services.configuration import channels, projects, rules
from orchestrator.services.configuration.channels import ChannelPlan
from orchestrator.services.configuration.file import Loaded, load, reread
from orchestrator.services.configuration.problems import ConfigProblem, ConfigRefused
from orchestrator.services.configuration.projects import Columns
from orchestrator.services.configuration.rules import RulePlan
from orchestrator.services.configuration.shapes import FileShape
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
        rules.apply(one.rules, project=row)
    rules.apply(planned.rules, project=None)
    channels.apply(planned.channels, now=actor.at)
    GlobalSettings.objects.update_or_create(only=1, defaults={"document": planned.document, "applied_at": actor.at})
    done = [change for change in changes if change.kind is not ChangeKind.UNCHANGED]
    if done:
        text = f"{actor.name} applied {loaded.parsed.path}: {', '.join(f'{c.kind} {c.what}' for c in done)}"[:2000]
        data = {"changes": [{"kind": str(c.kind), "what": c.what, "changed": list(c.changed)} for c in done]}
        events.record(kind="config.applied", text=text, actor=actor, at=actor.at, data=data)
        # Rules decide about tasks that are under way: each of them is looked at again.
        Task.objects.filter(outcome="").update(wake_at=actor.at)
        doorbell.ring("look_after_projects", queue_name="control")
    return changes


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
    if row is not None:
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
    elif "checkout" in wanted and "default_branch" not in wanted:
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
