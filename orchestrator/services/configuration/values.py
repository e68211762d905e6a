"""The kinds of values in the file. Each takes what YAML gave and returns what we keep, or says what it would take; its schema says the same
to editors."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from orchestrator.domain.budgets import parse_cost, parse_tokens
from orchestrator.domain.durations import ACCEPTED_FORM, parse_duration
from orchestrator.domain.naming import FILE_LENGTH, valid_branch, valid_repository_file
from orchestrator.domain.rules import Reply
from orchestrator.services.rules import MOST_ATTEMPTS, parse_escalate_after

LONGEST_TEXT = 100_000
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_LINK_NAME = re.compile(r"(?!\.git(?:/|$))(?!.*(?:^|/)\.\.?(?:/|$))[A-Za-z0-9_.][A-Za-z0-9_./ -]{0,199}", re.IGNORECASE)
_GITHUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}")
_DURATION: Mapping[str, Any] = {
    "type": "string",
    "pattern": r"^(?=\d)(\d{1,4}w)?(\d{1,5}d)?(\d{1,6}h)?(\d{1,8}m)?(\d{1,9}s)?$",
    "description": f"{ACCEPTED_FORM[0].upper()}{ACCEPTED_FORM[1:]}.",
}
_REPLY: Mapping[str, Any] = {"type": "string", "enum": [str(reply) for reply in Reply]}
_SCP = re.compile(r"[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+:[A-Za-z0-9_./~-]+")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kind:
    """How a value is read, and what JSON Schema says of it."""

    read: Callable[[Any], Any]
    schema: Mapping[str, Any]

    def __call__(self, value: Any) -> Any:
        return self.read(value)


def shown_as(**schema: Any) -> Callable[[Callable[[Any], Any]], Kind]:
    """Makes a kind of a reader."""
    return lambda read: Kind(read=read, schema=schema)


def line(*, cap: int) -> Kind:
    """One line of text."""

    def read(value: Any) -> str:
        if (
            not isinstance(value, str)
            or not value.strip()
            or len(value) > cap
            or _CONTROL.search(value)
            or "\n" in value
        ):
            raise ValueError(f"write one line of 1 to {cap} printable characters")
        return value

    return Kind(read=read, schema={"type": "string", "minLength": 1, "maxLength": cap})


@shown_as(type="string", maxLength=LONGEST_TEXT)
def text(value: Any) -> str:
    """Any text, of several lines too."""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or _CONTROL.search(value):
        raise ValueError(f"write text of at most {LONGEST_TEXT} printable characters")
    return value


@shown_as(type="boolean")
def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("write true or false")  # noqa: TRY004 pydantic collects ValueErrors
    return value


def whole(*, least: int, most: int) -> Kind:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"write a whole number from {least} to {most}")
        return value

    return Kind(read=read, schema={"type": "integer", "minimum": least, "maximum": most})


def one_of(words: Collection[str]) -> Kind:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"write one of: {', '.join(sorted(words))}")
        return value

    return Kind(read=read, schema={"type": "string", "enum": sorted(words)})


def lines_of(*, cap: int = 500) -> Kind:
    """A list of one-line texts."""

    def read(value: Any) -> list[str]:
        each = line(cap=2000)
        if not isinstance(value, list) or len(value) > cap:
            raise ValueError("write a list of texts")
        return [each(one) for one in value]

    return Kind(
        read=read,
        schema={"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 2000}, "maxItems": cap},
    )


@shown_as(**_DURATION)
def duration(value: Any) -> timedelta:
    """`10m`, `1h30m`."""
    if not isinstance(value, str):
        raise ValueError(f"write {ACCEPTED_FORM}")  # noqa: TRY004 pydantic collects ValueErrors
    try:
        return parse_duration(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"write {ACCEPTED_FORM}") from error


@shown_as(anyOf=[{"const": "never"}, _DURATION])
def duration_or_never(value: Any) -> timedelta | None:
    """The word `never` is None."""
    return None if value == "never" else duration(value)


def _as_written(reader: Callable[[object], object], *, schema: Mapping[str, Any]) -> Kind:
    """A value that is kept as it is written, once it can be read."""

    def read(value: Any) -> Any:
        reader(value)
        return value

    return Kind(read=read, schema=schema)


cost = _as_written(parse_cost, schema={"type": ["number", "string"], "description": "USD"})
tokens = _as_written(parse_tokens, schema={"type": ["integer", "string"], "description": "a number; 200k, 2M"})


@shown_as(**_DURATION)
def time(value: Any) -> str:
    """`4h`, kept as it is written."""
    duration(value)
    return str(value)


@shown_as(type="integer", minimum=0, maximum=10**10)
def milliseconds(value: Any) -> timedelta:
    return timedelta(milliseconds=whole(least=0, most=10**10)(value))


@shown_as(
    anyOf=[
        {"type": "integer", "minimum": 0, "maximum": MOST_ATTEMPTS},
        _DURATION,
        {"type": "string", "pattern": "^[0-9]{1,4}$"},
    ]
)
def escalate_after(value: Any) -> int | timedelta:
    """`2` or `30m`."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"write a number of attempts, or {ACCEPTED_FORM}")  # noqa: TRY004 pydantic collects ValueErrors
    try:
        return parse_escalate_after(str(value))
    except ValueError as error:
        raise ValueError(f"write a number of attempts from 0 to 1000, or {ACCEPTED_FORM}") from error


@shown_as(anyOf=[_REPLY, {"type": "array", "items": _REPLY, "minItems": 1}])
def replies(value: Any) -> tuple[Reply, ...]:
    """One action or a list of them."""
    words = value if isinstance(value, list) else [value]
    known = {str(reply) for reply in Reply}
    if not words or any(not isinstance(word, str) or word not in known for word in words):
        raise ValueError(f"write one of, or a list of: {', '.join(sorted(known))}")
    return tuple(Reply(word) for word in words)


@shown_as(type="string", pattern="^[A-Za-z0-9_][A-Za-z0-9._/+@#-]{0,199}$")
def branch(value: Any) -> str:
    if not isinstance(value, str) or not valid_branch(value):
        raise ValueError("write a branch name of letters, digits and . _ / + @ # -")
    return value


@shown_as(type="string", maxLength=FILE_LENGTH, **{"not": {"pattern": r"^[/~]|(^|/)\.\.(/|$)|[\\$`]"}})
def repository_file(value: Any) -> str | None:
    """The path of a file from the root of the repository. Files that teams have name others too: those are taken, and read as nothing."""
    if not isinstance(value, str):
        raise ValueError("write the path of a file of the repository, such as docs/RULES.md")  # noqa: TRY004 pydantic collects ValueErrors
    return value if not value or valid_repository_file(value) else None


def slug_of(*, cap: int) -> Kind:
    pattern = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{cap - 1}}}")

    def read(value: Any) -> str:
        word = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(word, str) or not pattern.fullmatch(word):
            raise ValueError(f"write 1 to {cap} letters, digits, - and _")
        return word

    return Kind(
        read=read, schema={"type": ["string", "integer"], "pattern": f"^[A-Za-z0-9][A-Za-z0-9_-]{{0,{cap - 1}}}$"}
    )


@shown_as(type="string", pattern=r"^[^\s-]\S*$", maxLength=1000)
def repository(value: Any) -> str:
    """owner/name on GitHub, or the URL of a repository."""
    accepted = "write owner/name, or a URL such as https://host/name.git, ssh://host/name.git, git@host:name.git, file:///srv/name.git"
    if (
        not isinstance(value, str)
        or _CONTROL.search(value)
        or len(value) > 1000
        or value.startswith("-")
        or " " in value
    ):
        raise ValueError(accepted)
    if _GITHUB.fullmatch(value) or _SCP.fullmatch(value):
        return value
    parts = urlsplit(value)
    if (
        parts.scheme not in {"https", "http", "ssh", "git", "file"}
        or not parts.path.strip("/")
        or (parts.hostname or "").startswith("-")
    ):
        raise ValueError(accepted)
    return value


@shown_as(type="string", format="uri", pattern="^https?://")
def web_address(value: Any) -> str:
    if not isinstance(value, str) or _CONTROL.search(value) or " " in value:
        raise ValueError("write a URL that begins with https://")
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("write a URL that begins with https://")
    return value


@shown_as(type="string", pattern="^[/~]", maxLength=1000)
def folder(value: Any) -> str:
    """A path on the server."""
    path = line(cap=1000)(value)
    if not str(path).startswith(("/", "~")) or "/../" in f"{path}/":
        raise ValueError("write an absolute path, or one that begins with ~/, without ..")
    return str(path)


@shown_as(
    type="object",
    propertyNames={"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
    additionalProperties={"type": ["string", "number"]},
)
def environment(value: Any) -> dict[str, str]:
    """Names to texts; numbers are taken as they are written."""
    if not isinstance(value, Mapping):
        raise ValueError("write names and values")  # noqa: TRY004 pydantic collects ValueErrors
    found: dict[str, str] = {}
    for name, one in value.items():
        if not _ENV_NAME.fullmatch(str(name)):
            raise ValueError(f"{str(name)[:60]!r} is not a name: write letters, digits and _")
        if isinstance(one, bool) or not isinstance(one, str | int | float) or "\x00" in str(one):
            raise ValueError(f"the value of {name} is not text: put it in quotes")
        found[str(name)] = str(one)
    return found


@shown_as(type="object", additionalProperties={"type": "string", "minLength": 1, "maxLength": 5000})
def commands(value: Any) -> dict[str, str]:
    """Names of checks to their commands."""
    if not isinstance(value, Mapping):
        raise ValueError("write names and commands, such as test: pytest")  # noqa: TRY004 pydantic collects ValueErrors
    return {str(line(cap=200)(name)): str(line(cap=5000)(one)) for name, one in value.items()}


@shown_as(
    anyOf=[
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "additionalProperties": {"type": "string", "pattern": "^[/~]"}},
    ]
)
def links(value: Any) -> list[str] | dict[str, str]:
    """Names in the workspace, linked to the same names in the checkout; or names to absolute paths."""
    names = list(value) if isinstance(value, list | Mapping) else [None]
    if any(not isinstance(name, str) or not _LINK_NAME.fullmatch(name) for name in names):
        raise ValueError("write relative names without .. , such as .env")
    if isinstance(value, Mapping):
        if any(
            not isinstance(target, str) or not target.startswith(("/", "~")) or _CONTROL.search(target)
            for target in value.values()
        ):
            raise ValueError("write an absolute path for each name")
        return dict(value)
    return list(value)


@shown_as(anyOf=[{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}, "minItems": 1}])
def command(value: Any) -> str | list[str]:
    """A program and its arguments: a list, or a text that is split as a shell splits words."""
    if isinstance(value, list) and value and all(isinstance(word, str) and "\x00" not in word for word in value):
        return list(value)
    try:
        words = shlex.split(value) if isinstance(value, str) and "\x00" not in value else []
    except ValueError:
        words = []
    if not words:
        raise ValueError("write a command, as one text with closed quotes or as a list of words")
    return str(value)


@shown_as(type="object")
def mapping(value: Any) -> dict[str, Any]:
    """Keys and values that only another part reads."""
    if not isinstance(value, Mapping):
        raise ValueError("write keys and values")  # noqa: TRY004 pydantic collects ValueErrors
    return dict(value)


@shown_as()
def anything(value: Any) -> Any:
    """Accepted, without effect here."""
    return value
