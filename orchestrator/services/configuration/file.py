"""From text to a checked file: shapes, references to the environment, unknown keys."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.domain.rules import Trigger
from orchestrator.services.configuration.problems import ConfigProblem, ConfigRefused, shortened
from orchestrator.services.configuration.shapes import AgentConfig, FileShape, NotifierShape
from orchestrator.services.configuration.values import slug_of
from orchestrator.services.configuration.yaml import Parsed, parse

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Text for a shell or for an agent: its ${...} are not ours.
_LEFT_ALONE = frozenset(
    {"postCreate", "checks", "agentRules", "agentRulesFile", "orchestratorRules", "message", "command"}
)
OUR_OWN = re.compile(r"AO_.*|DATABASE_URL|REDIS_URL|PG.*")
_WITHOUT_EFFECT = {
    "egress": "the network of agents is shared in this version",
    "tracker": "issues are read where the repository is; a WORKFLOW.md makes tasks of them",
    "runtime": "every agent runs under a guard of its own",
}
TRIGGERS = frozenset(str(trigger) for trigger in Trigger)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A file that was taken. `text` is what its author wrote, `raw` its values with references unread; `shape` has them read."""

    text: str
    parsed: Parsed
    raw: dict[str, Any]
    shape: FileShape
    warnings: tuple[str, ...]


def load(*, text: str, path: str, env: Mapping[str, str]) -> Loaded:
    """Read a file. Raises `ConfigRefused` with every problem that was found, not only the first."""
    parsed = parse(text=text, path=path)
    raw = without_nulls(parsed.value)
    if not isinstance(raw, dict):
        raise ConfigRefused(
            [parsed.problem((), type(raw).__name__, "the file is keys and values, such as projects: {...}")]
        )
    problems: list[ConfigProblem] = []
    read = _resolved(raw, (), env, parsed, problems)
    try:
        shape = FileShape.model_validate(read)
    except ValidationError as error:
        problems.extend(_problems(error, parsed))
        raise ConfigRefused(sorted(problems, key=lambda one: one.line)) from error
    problems.extend(_contradictions(shape, parsed))
    if problems:
        raise ConfigRefused(sorted(problems, key=lambda one: one.line))
    return Loaded(text=text, parsed=parsed, raw=raw, shape=shape, warnings=tuple(_warnings(shape, parsed)))


def reread(document: Mapping[str, Any], env: Mapping[str, str]) -> FileShape | None:
    """A document that was taken before, read again; a reference that is gone stays as it is. None when it makes no sense any more."""
    read = _resolved(dict(document), (), env, None, [])
    try:
        return FileShape.model_validate(read)
    except ValidationError:
        return None


def without_nulls(value: Any) -> Any:
    """A key without a value is a key that was not written."""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _resolved(
    value: Any, key: tuple[str, ...], env: Mapping[str, str], parsed: Parsed | None, problems: list[ConfigProblem]
) -> Any:
    """`value` with every ${NAME} read. Without `parsed`, what cannot be read stays."""
    if isinstance(value, dict):
        return {
            name: inner if name in _LEFT_ALONE else _resolved(inner, (*key, name), env, parsed, problems)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_resolved(inner, (*key, str(place)), env, parsed, problems) for place, inner in enumerate(value)]
    if not isinstance(value, str):
        return value

    def read(found: re.Match[str]) -> str:
        name = found[1]
        if name in env and not OUR_OWN.fullmatch(name):
            return env[name]
        if parsed is not None:
            why = "this name is the server's own" if OUR_OWN.fullmatch(name) else "it is not set where the server runs"
            problems.append(parsed.problem(key, value, f"${{{name}}} cannot be read: {why}"))
        return found[0]

    return REFERENCE.sub(read, value)


def _problems(error: ValidationError, parsed: Parsed) -> Iterator[ConfigProblem]:
    for one in error.errors(include_url=False, include_context=False):
        key = tuple(str(part) for part in one["loc"] if part != "[key]")
        kind = one["type"]
        accepted = (
            "write keys and values" if kind in {"model_type", "dict_type"} else one["msg"].removeprefix("Value error, ")
        )
        yield parsed.problem(key, _as_written(parsed, key, one["input"]), accepted)


def _as_written(parsed: Parsed, key: tuple[str, ...], fallback: Any) -> Any:
    """The value in the file, not what a reference in it turned out to be: that may be a secret."""
    value = parsed.value
    for part in key:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return type(fallback).__name__
    return value


def _contradictions(shape: FileShape, parsed: Parsed) -> Iterator[ConfigProblem]:
    slug = slug_of(cap=40)
    for key, project in (shape.projects or {}).items():
        try:
            slug(key)
        except ValueError as error:
            yield parsed.problem(("projects", key), key, f"a project's name: {error}")
        if project.repo is None and project.path is None:
            yield parsed.problem(("projects", key), None, "write repo: owner/name, or path: /where/it/is, or both")
    known = {"desktop", *(shape.notifiers or {})}
    wanted: list[tuple[tuple[str, ...], list[str]]] = []
    if shape.defaults is not None:
        wanted.append((("defaults", "notifiers"), shape.defaults.notifiers or []))
    if shape.notification_routing is not None:
        routing = shape.notification_routing
        wanted += [(("notificationRouting", name), getattr(routing, name) or []) for name in type(routing).model_fields]
    for place, names in wanted:
        for name in names:
            if name not in known:
                yield parsed.problem(place, name, f"write notifiers that are defined: {', '.join(sorted(known))}")
    for name in shape.notifiers or {}:
        try:
            slug_of(cap=60)(name)
        except ValueError as error:
            yield parsed.problem(("notifiers", name), name, f"a notifier's name: {error}")


def _warnings(shape: FileShape, parsed: Parsed) -> Iterator[str]:
    for key, known in _unknown(shape, ()):
        near = difflib.get_close_matches(key[-1], known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(sorted(known))}"
        yield f"{parsed.path}:{parsed.line(key)}: {'.'.join(key)}: unknown key, ignored{hint}"
    for name, channel in (shape.notifiers or {}).items():
        if (channel.plugin or name) == "webhook" and not (channel.model_extra or {}).get("secret"):
            at = ("notifiers", name)
            hint = 'nothing proves to its receiver that a message is ours: write secret: "${NAME}"'
            yield f"{parsed.path}:{parsed.line(at)}: {'.'.join(at)}: unsigned, {hint}"
    yield from _rules_untold(shape, parsed)
    places = [("defaults",)] if shape.defaults is not None else []
    for place in [*places, *(("projects", key) for key in shape.projects or {})]:
        written = parsed.value[place[0]] if len(place) == 1 else parsed.value[place[0]][place[1]]
        for name, advice in _WITHOUT_EFFECT.items():
            if written.get(name) is not None:
                where = (*place, name)
                yield f"{parsed.path}:{parsed.line(where)}: {'.'.join(where)}: accepted, without effect here: {advice}"


def _rules_untold(shape: FileShape, parsed: Parsed) -> Iterator[str]:
    """Files with rules that no agent is told of, since they are not in its repository."""
    for key, project in (shape.projects or {}).items():
        written = parsed.value["projects"][key].get("agentRulesFile")
        if written is not None and project.agent_rules_file is None:
            where = ("projects", key, "agentRulesFile")
            why = "only a file of the repository can be told to agents, by a plain path from its root: write the text under agentRules"
            yield f"{parsed.path}:{parsed.line(where)}: {'.'.join(where)}: {shortened(repr(written))}: {why}"


def _unknown(model: BaseModel, key: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """The keys that no shape names, with those that are known beside them."""
    fields = type(model).model_fields
    known = {name: field.alias or name for name, field in fields.items()}
    if not isinstance(model, AgentConfig | NotifierShape):
        for name in model.model_extra or {}:
            yield (*key, name), list(known.values())
    for name, alias in known.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _unknown(value, (*key, alias))
        elif isinstance(value, dict) and alias in {"projects", "reactions", "notifiers"}:
            for word, inner in value.items():
                if alias == "reactions" and word not in TRIGGERS:
                    yield (*key, alias, word), sorted(TRIGGERS)
                yield from _unknown(inner, (*key, alias, word))
