"""GitHub's OpenAPI document as a judge: which operation a request is, and whether bodies are as it says."""

from __future__ import annotations

import copy
import functools
import re
from dataclasses import dataclass, field
from typing import Any

from openapi_schema_validator import OAS30Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from tests.fakegithub import documents

METHODS = ("get", "post", "put", "patch", "delete")
_LONG = frozenset({"ref", "path", "basehead", "branch"})  # parameters that hold slashes


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of the API."""

    id: str
    method: str
    path: re.Pattern[str]
    places: int
    content: dict[str, Any]


@dataclass(slots=True)
class Contract:
    """Judges bodies and remembers every offence."""

    operations: list[Operation]
    registry: Registry[Any]
    offences: list[str] = field(default_factory=list)
    checked: int = 0
    _validators: dict[tuple[str, str], OAS30Validator | None] = field(default_factory=dict)

    def match(self, method: str, path: str) -> tuple[Operation | None, dict[str, str]]:
        """The operation of a request, with its path's parameters."""
        for operation in self.operations:
            found = operation.path.fullmatch(path) if operation.method == method else None
            if found is not None:
                return operation, found.groupdict()
        return None, {}

    def judge_request(self, operation: Operation, body: object) -> None:
        content = deref(operation.content.get("requestBody", {}))
        self._judge(operation, "request", content, body)

    def judge_answer(self, operation: Operation, status: int, body: object) -> None:
        known = operation.content["responses"].get(str(status))
        if known is None:
            if status not in {401, 403, 404, 409, 422, 429, 500, 502, 503}:
                self.offences.append(f"{operation.id}: the status {status} is not documented")
            return
        self._judge(operation, str(status), deref(known), body)

    def _judge(self, operation: Operation, kind: str, content: dict[str, Any], body: object) -> None:
        validator = self._validator(operation, kind, content)
        if validator is None:
            return
        self.checked += 1
        for error in list(validator.iter_errors(body))[:3]:
            where = "/".join(map(str, error.absolute_path))
            self.offences.append(f"{operation.id} {kind} at {where}: {error.message[:200]}")

    def _validator(self, operation: Operation, kind: str, content: dict[str, Any]) -> OAS30Validator | None:
        key = (operation.id, kind)
        if key not in self._validators:
            shape = content.get("content", {}).get("application/json", {}).get("schema")
            self._validators[key] = OAS30Validator(_absolute(shape), registry=self.registry) if shape else None
        return self._validators[key]


def contract() -> Contract:
    """A judge with a clean memory."""
    operations, registry = _parsed()
    return Contract(operations, registry)


@functools.cache
def _parsed() -> tuple[list[Operation], Registry[Any]]:
    document = documents.openapi()
    _allow_null(document["components"]["schemas"])
    _allow_null(document["paths"])
    found = [
        Operation(
            id=content["operationId"],
            method=method.upper(),
            path=_pattern(path),
            places=path.count("{"),
            content=content,
        )
        for path, item in document["paths"].items()
        for method, content in item.items()
        if method in METHODS
    ]
    found.sort(key=lambda operation: (operation.places, -len(operation.path.pattern)))
    return found, Registry().with_resource("urn:gh", Resource.from_contents(document, default_specification=DRAFT4))


def _pattern(path: str) -> re.Pattern[str]:
    def place(found: re.Match[str]) -> str:
        return f"(?P<{found[1]}>{'.+' if found[1] in _LONG else '[^/]+'})"

    return re.compile(re.sub(r"\\{(\w+)\\}", place, re.escape(path)))


def _allow_null(part: Any) -> None:
    """The document writes nullable enumerations without null among them, which a strict validator takes at its word."""
    if isinstance(part, dict):
        if part.get("nullable") and isinstance(part.get("enum"), list) and None not in part["enum"]:
            part["enum"].append(None)
        for value in part.values():
            _allow_null(value)
    elif isinstance(part, list):
        for value in part:
            _allow_null(value)


def _absolute(part: Any) -> Any:
    if isinstance(part, dict):
        return {
            key: f"urn:gh{value}" if key == "$ref" and isinstance(value, str) else _absolute(value)
            for key, value in part.items()
        }
    return [_absolute(value) for value in part] if isinstance(part, list) else part


def deref(part: dict[str, Any]) -> dict[str, Any]:
    """What a reference in the document stands for."""
    while "$ref" in part:
        found: Any = documents.openapi()
        for step in part["$ref"][2:].split("/"):
            found = found[step.replace("~1", "/").replace("~0", "~")]
        part = found
    return part


def example(operation_id: str, status: str = "200") -> Any:
    """The document's own example of an answer, to be overlaid with what is true."""
    operations, _ = _parsed()
    content = next(operation.content for operation in operations if operation.id == operation_id)
    answer = deref(content["responses"][status])
    examples = answer["content"]["application/json"]["examples"]
    return copy.deepcopy(deref(next(iter(examples.values())))["value"])
