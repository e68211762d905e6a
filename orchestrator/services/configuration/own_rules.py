"""The rules that a task brings along: the file's `reactions:`, for this task alone."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from orchestrator.domain.rules import Override, Trigger
from orchestrator.services.configuration.file import TRIGGERS, without_nulls
from orchestrator.services.configuration.rules import override_of_file
from orchestrator.services.configuration.shapes import RuleShape
from orchestrator.services.tasks import InvalidTask

FIELD = "reactions"
_KEYS = tuple(str(field.alias or name) for name, field in RuleShape.model_fields.items())


def read(value: object) -> list[Override]:
    """The overrides that `reactions` says, checked like those of the file; a key that nobody knows is refused. Raises `InvalidTask` with
    everything that is wrong."""
    if not isinstance(value, Mapping):
        raise InvalidTask(FIELD, f"{value!r} is not keys and values: write ci-failed: {{retries: 1}}")
    said = without_nulls(dict(value))
    wrong = list(_wrong(said))
    if wrong:
        raise InvalidTask(FIELD, "; ".join(wrong))
    shapes = {trigger: RuleShape.model_validate(inner) for trigger, inner in said.items()}
    read_ones = [override_of_file(Trigger(trigger), shapes) for trigger in said]
    return [override for override in read_ones if override != Override(trigger=override.trigger)]


def _wrong(said: Mapping[Any, Any]) -> Iterator[str]:
    for trigger, inner in said.items():
        if trigger not in TRIGGERS:
            yield _unknown(str(trigger), sorted(TRIGGERS), "trigger")
        elif not isinstance(inner, Mapping):
            yield f"{trigger}: {inner!r} is not keys and values"
        else:
            yield from (_unknown(f"{trigger}.{key}", _KEYS, "field") for key in inner if key not in _KEYS)
            yield from _values(str(trigger), inner)


def _values(trigger: str, inner: Mapping[Any, Any]) -> Iterator[str]:
    try:
        RuleShape.model_validate(dict(inner))
    except ValidationError as error:
        for one in error.errors(include_url=False, include_context=False):
            key = ".".join(str(part) for part in one["loc"])
            yield f"{trigger}.{key}: {one['input']!r} is not accepted: {one['msg'].removeprefix('Value error, ')}"


def _unknown(name: str, known: list[str] | tuple[str, ...], what: str) -> str:
    near = difflib.get_close_matches(name.rpartition(".")[2], known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return f"{name}: unknown {what}; {hint}"
