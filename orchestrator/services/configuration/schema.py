"""The keys of `agent-orchestrator.yaml` as JSON Schema, for editors: told by the shapes that read the file, so that both know the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, PlainValidator
from pydantic.fields import FieldInfo

from orchestrator.services.configuration.file import TRIGGERS
from orchestrator.services.configuration.shapes import AgentConfig, FileShape, NotifierShape, RuleShape
from orchestrator.services.configuration.values import Kind

_OPEN = (AgentConfig, NotifierShape)  # what else stands there is the plugin's
_REFERENCE: Mapping[str, Any] = {"type": "string", "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$"}


def schema_of_file() -> dict[str, Any]:
    """JSON Schema 2020-12 of the whole file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "agent-orchestrator.yaml",
        **_of_shape(FileShape),
        "$defs": {
            "reference": {**_REFERENCE, "description": "The value of a name in the environment of the server."},
            "rule": _of_shape(RuleShape),
        },
    }


def _of_shape(shape: type[BaseModel]) -> dict[str, Any]:
    fields = shape.model_fields
    return {
        "type": "object",
        "properties": {field.alias or name: _of_field(field) for name, field in fields.items()},
        "additionalProperties": issubclass(shape, _OPEN),
    }


def _of_field(field: FieldInfo) -> dict[str, Any]:
    described = {"description": field.description} if field.description else {}
    kind = next((one.func for one in field.metadata if isinstance(one, PlainValidator)), None)
    return {**(_of_kind(kind) if isinstance(kind, Kind) else _of_type(field.annotation)), **described}


def _of_kind(kind: Kind) -> dict[str, Any]:
    """What is a word of ours may also be a reference to one; texts may hold references anyhow."""
    schema = dict(kind.schema)
    narrow = any(name in schema for name in ("enum", "pattern", "format")) and schema.get("type") == "string"
    return {"anyOf": [schema, {"$ref": "#/$defs/reference"}]} if narrow else schema


def _of_type(annotation: Any) -> dict[str, Any]:
    """An optional value, a shape, or names of shapes."""
    inner = [one for one in get_args(annotation) if one is not type(None)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _of_shape(annotation)
    if getattr(annotation, "__origin__", None) is dict:
        return _of_names(inner[-1])
    annotated = [one for one in getattr(inner[0], "__metadata__", ()) if isinstance(one, PlainValidator)]
    return _of_kind(annotated[0].func) if annotated else _of_type(inner[0])  # type: ignore[arg-type]  # all of ours are kinds


def _of_names(shape: type[BaseModel]) -> dict[str, Any]:
    if shape is RuleShape:
        rules = {trigger: {"$ref": "#/$defs/rule"} for trigger in sorted(TRIGGERS)}
        return {"type": "object", "properties": rules, "additionalProperties": False}
    names = {"pattern": "^[A-Za-z0-9][A-Za-z0-9_-]*$"}
    return {"type": "object", "propertyNames": names, "additionalProperties": _of_shape(shape)}
