"""A project of the file as columns, and columns as the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.domain.budgets import MEASURES, Span
from orchestrator.domain.durations import format_duration
from orchestrator.domain.naming import slug
from orchestrator.models import Project
from orchestrator.services.configuration.shapes import FileShape, ProjectShape

Columns = dict[str, Any]
_GITHUB_NAME = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+")
# These say where a repository is. A file that stops saying it has not moved the repository.
_STANDING = frozenset({"remote", "checkout", "default_branch"})
_PLAIN = (
    "name",
    "default_branch",
    "session_prefix",
    "agent_rules",
    "agent_rules_file",
    "post_create",
    "merge_method",
    "max_sessions",
)
_MORE = ("warm_workspaces", "paused")
KEYS: Mapping[str, str] = {
    "name": "name",
    "remote": "remote",
    "default_branch": "defaultBranch",
    "session_prefix": "sessionPrefix",
    "agent": "agent",
    "agent_config": "agentConfig",
    "agent_rules": "agentRules",
    "agent_rules_file": "agentRulesFile",
    "env": "env",
    "symlinks": "symlinks",
    "post_create": "postCreate",
    "sandbox": "sandbox",
    "scm": "scm",
    "merge_method": "mergeMethod",
    "reassign_after": "reassignAfter",
    "max_sessions": "maxSessions",
    "warm_workspaces": "warmWorkspaces",
    "paused": "paused",
    "escalation": "escalation",
    "budget": "budget",
}
COLUMNS = (*KEYS, "auto_cleanup", "cleanup_grace", "checkout")


def columns_of(shape: ProjectShape, raw: Mapping[str, Any], top: FileShape) -> Columns:
    """The columns about which the file says something: defaults < project, only what is written."""
    found: Columns = {}
    for name in (*_PLAIN, *_MORE):
        value = getattr(shape, name)
        if value is not None:
            found[name] = value
    found |= _agent(shape, raw, top) | _from_defaults(shape, top) | _place(shape)
    if shape.scm is not None or _forge_of(shape) is not None:
        found["scm"] = _scm(shape, raw)
    if shape.escalation is not None:
        found["escalation"] = dict(raw["escalation"])
    if shape.scm is not None and shape.scm.merge_method is not None and shape.merge_method is None:
        found["merge_method"] = shape.scm.merge_method
    if shape.env is not None:
        found["env"] = _environment(shape.env, raw["env"])
    if shape.symlinks is not None:
        found["symlinks"] = _links(shape)
    return found


def default_of(project_key: str, column: str) -> Any:
    """What a column holds when nothing says anything about it."""
    match column:
        case "name":
            return project_key
        case "session_prefix":
            return slug(project_key, length=20) or "task"
        case _:
            return getattr(Project(), column)


def changed_columns(project: Project | None, key: str, wanted: Columns, said_before: Columns) -> Columns:
    """What differs from the row: what the file says, and the default of what it said before and says no more."""
    target = dict(wanted)
    for column in said_before:
        if column not in wanted and column not in _STANDING:
            target[column] = default_of(key, column)
    if project is None:
        return target
    return {column: value for column, value in target.items() if getattr(project, column) != value}


def document_of(project: Project, said: Columns | None) -> dict[str, Any]:
    """The project as the file says it: as its author wrote it, with what has changed since. `said` is what that writing means now."""
    kept = project.settings_extra.get("file")
    document: dict[str, Any] = dict(kept) if kept and said is not None else _where(project)
    said = said if said is not None else {"checkout": project.checkout, "remote": project.remote}
    for column in COLUMNS:
        value = getattr(project, column)
        expected = said[column] if column in said else _expected(project, column)
        if value != expected:
            _write(document, column, value)
    return document


def _expected(project: Project, column: str) -> Any:
    """What a column holds when the file says nothing about it."""
    if column in {"remote", "checkout"}:
        return getattr(project, column)
    return "main" if column == "default_branch" else default_of(project.key, column)


def _where(project: Project) -> dict[str, Any]:
    """The least that a file must say."""
    return {"path": project.checkout, "remote": project.remote} if project.checkout else {"repo": project.remote}


def _write(document: dict[str, Any], column: str, value: Any) -> None:
    match column:
        case "auto_cleanup":
            document["lifecycle"] = {**document.get("lifecycle", {}), "autoCleanupOnMerge": value}
        case "cleanup_grace":
            document["lifecycle"] = {
                **document.get("lifecycle", {}),
                "mergeCleanupIdleGraceMs": int(value.total_seconds() * 1000),
            }
        case "reassign_after":
            document["reassignAfter"] = "never" if value is None else format_duration(value)
        case "checkout":
            document.pop("repo", None)
            document["path"] = value
        case "agent" | "agent_config":
            worker = {name: inner for name, inner in document.pop("worker", {}).items() if name != KEYS[column]}
            document[KEYS[column]] = value
            if worker:
                document["worker"] = worker
        case _:
            document[KEYS[column]] = value


def _agent(shape: ProjectShape, raw: Mapping[str, Any], top: FileShape) -> Columns:
    worker, defaults = shape.worker, top.defaults
    general = defaults.worker.agent if defaults and defaults.worker else None
    agent = (worker.agent if worker else None) or shape.agent or general or (defaults.agent if defaults else None)
    found: Columns = {"agent": agent} if agent else {}
    written = {**raw.get("agentConfig", {}), **(raw.get("worker") or {}).get("agentConfig", {})}
    return found | ({"agent_config": written} if written else {})


def _from_defaults(shape: ProjectShape, top: FileShape) -> Columns:
    found: Columns = {}
    for source in (top.defaults, shape):
        for name in ("reassign_after", "sandbox"):
            if source is not None and name in source.model_fields_set:
                found[name] = getattr(source, name)
    found |= _budget(shape, top)
    for life in (top.lifecycle, shape.lifecycle):
        if life is not None and life.auto_cleanup_on_merge is not None:
            found["auto_cleanup"] = life.auto_cleanup_on_merge
        if life is not None and life.merge_cleanup_idle_grace_ms is not None:
            found["cleanup_grace"] = life.merge_cleanup_idle_grace_ms
    return found


def _budget(shape: ProjectShape, top: FileShape) -> Columns:
    """Measure by measure: what a project says of a task, of itself and of a day, over what holds for all."""
    said = [one.budget for one in (top.defaults, shape) if one is not None and one.budget is not None]
    written: dict[str, dict[str, Any]] = {}
    for budget in said:
        for span in map(str, Span):
            limit = getattr(budget, span)
            measures = {name: getattr(limit, name) for name in MEASURES} if limit is not None else {}
            written[span] = written.get(span, {}) | {name: one for name, one in measures.items() if one is not None}
    return {"budget": {span: limit for span, limit in written.items() if limit}} if said else {}


def _place(shape: ProjectShape) -> Columns:
    found: Columns = {}
    if shape.path is not None:
        found["checkout"] = str(Path(shape.path).expanduser())
    remote = (
        shape.remote or (shape.scm.clone_url if shape.scm else None) or (_address(shape.repo) if shape.repo else None)
    )
    if remote:
        found["remote"] = _address(remote)
    return found


def _address(repository: str) -> str:
    return f"https://github.com/{repository}.git" if _GITHUB_NAME.fullmatch(repository) else repository


def _forge_of(shape: ProjectShape) -> str | None:
    """The forge that an address implies, when the file does not name one."""
    if shape.repo is None:
        return None
    return (
        "github"
        if _address(shape.repo).startswith(("https://github.com/", "git@github.com:", "ssh://git@github.com/"))
        else None
    )


def _environment(read: Mapping[str, str], written: Mapping[str, Any]) -> dict[str, str]:
    """Text as it is written, references unread: a secret stays where it is kept."""
    return {name: written[name] if isinstance(written[name], str) else value for name, value in read.items()}


def _scm(shape: ProjectShape, raw: Mapping[str, Any]) -> dict[str, Any]:
    """As written, references unread: a secret stays where it is kept. `host` is read as the host of `apiUrl`."""
    written = dict(raw.get("scm") or {})
    forge = _forge_of(shape)
    if "plugin" not in written and forge is not None:
        written["plugin"] = forge
    if "host" in written and "apiUrl" not in written:
        host = str(written["host"])
        written["apiUrl"] = "https://api.github.com" if host == "github.com" else f"https://{host}/api/v3"
    return written


def _links(shape: ProjectShape) -> dict[str, str]:
    """Names to absolute paths: a bare name is linked to the same name in the checkout."""
    if isinstance(shape.symlinks, dict):
        return {name: str(Path(target).expanduser()) for name, target in shape.symlinks.items()}
    root = Path(shape.path).expanduser() if shape.path else None
    return {name: str(root / name) for name in shape.symlinks or []} if root is not None else {}
