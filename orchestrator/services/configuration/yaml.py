"""Reads YAML that somebody hostile or hasty may have written, and remembers on which line each value stands.

Plain values mean what YAML 1.2 says, so `1:30` is text and not ninety. Aliases, tags, duplicate keys and endless depth are refused.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml

from orchestrator.services.configuration.problems import ConfigProblem, ConfigRefused

SIZE_CAP = 500_000
DEPTH_CAP = 20
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18})(?:[eE][-+]?[0-9]{1,3})?")
_WORDS: dict[str, object] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """Plain values (dict, list, str, int, float, bool, None), and the line of each key path."""

    path: str
    value: Any
    lines: dict[tuple[str, ...], int]

    def line(self, key: tuple[str, ...]) -> int:
        """The line of a key, or of the nearest thing around it that has one."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 1)

    def problem(self, key: tuple[str, ...], value: object, accepted: str) -> ConfigProblem:
        """What is wrong with the value of a key."""
        shown = "" if value is None else repr(value)
        return ConfigProblem(file=self.path, line=self.line(key), key=".".join(key), value=shown, accepted=accepted)


def parse(*, text: str, path: str) -> Parsed:
    """The file as values with lines. Raises `ConfigRefused`."""
    if len(text) > SIZE_CAP:
        raise _refused(path, 1, f"a file of {len(text)} characters", f"at most {SIZE_CAP} characters")
    try:
        loader = _Composer(text, path)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise _refused(path, line, error.problem or "this", "it is not YAML here") from error
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise _refused(path, 1, str(error).splitlines()[0], "YAML of printable characters") from error
    lines: dict[tuple[str, ...], int] = {}
    value = _plain(node, path, (), lines) if node is not None else {}
    return Parsed(path=path, value=value, lines=lines)


class _Composer(yaml.SafeLoader):
    """Composes nodes one by one, and stops at what could grow."""

    def __init__(self, text: str, path: str) -> None:
        super().__init__(text)
        self._path = path
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave this method bare
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise _refused(self._path, line, f"*{event.anchor}", "aliases are not taken; write the value out")
        if getattr(event, "tag", None) not in {None, "!"}:
            raise _refused(self._path, line, str(event.tag), "tags are not taken; write plain values")
        self._depth += 1
        if self._depth > DEPTH_CAP:
            raise _refused(self._path, line, "this nesting", f"at most {DEPTH_CAP} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _plain(node: yaml.Node, path: str, key: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> Any:
    lines.setdefault(key, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, key, lines)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(inner, path, (*key, str(place)), lines) for place, inner in enumerate(node.value)]
    return _scalar(node, _text(node, path, key)) if isinstance(node, yaml.ScalarNode) else None


def _mapping(
    node: yaml.MappingNode, path: str, key: tuple[str, ...], lines: dict[tuple[str, ...], int]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name_node, inner in node.value:
        line = name_node.start_mark.line + 1
        if not isinstance(name_node, yaml.ScalarNode) or not name_node.value:
            raise _refused(path, line, "this key", "a key is a word", key=key)
        name = _text(name_node, path, key)
        if name == "<<":
            raise _refused(path, line, "<<", "merge keys are not taken; write the values out", key=key)
        if name in found:
            first = lines[(*key, name)]
            raise _refused(
                path, line, repr(name), f"the key is there already, on line {first}; keep one of them", key=(*key, name)
            )
        lines[(*key, name)] = line
        found[name] = _plain(inner, path, (*key, name), lines)
    return found


def _text(node: yaml.ScalarNode, path: str, key: tuple[str, ...]) -> str:
    """What a scalar says. Escapes may say what no database stores; a character that is written as two halves, as JSON does, is one."""
    written = str(node.value)
    text = None
    with suppress(UnicodeDecodeError):
        text = written.encode("utf-16", "surrogatepass").decode("utf-16")
    if text is None or "\0" in text:
        accepted = "characters that can be stored: no \\0, and no half of one"
        raise _refused(path, node.start_mark.line + 1, repr(written), accepted, key=key)
    return text


def _scalar(node: yaml.ScalarNode, text: str) -> object:
    if node.style is not None:
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _refused(path: str, line: int, value: str, accepted: str, *, key: tuple[str, ...] = ()) -> ConfigRefused:
    return ConfigRefused([ConfigProblem(file=path, line=line, key=".".join(key), value=value, accepted=accepted)])
