"""Reads a JSON body that somebody hostile may have written: bounded in size and depth, and free of what cannot be stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import IO, Any, NoReturn

from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import JSONParser

from aoweb.api.problems import TooLarge, Unprocessable

BODY_CAP = 1024 * 1024
DEPTH_CAP = 20
LARGEST_INTEGER = 2**63 - 1


class CappedJSONParser(JSONParser):
    """An object of at most 1 MiB, at most 20 levels deep."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        raw = stream.read(BODY_CAP + 1)
        if len(raw) > BODY_CAP:
            raise TooLarge(f"The body is longer than {BODY_CAP} bytes.")
        try:
            value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
        except UnicodeDecodeError as error:
            raise ParseError(f"The body is not UTF-8: the byte at {error.start} cannot be read.") from error
        except RecursionError as error:
            raise Unprocessable(f"The body is nested deeper than {DEPTH_CAP} levels.") from error
        except ValueError as error:
            raise ParseError(f"The body is not JSON: {error}"[:300]) from error
        if not isinstance(value, dict):
            raise ParseError("The body must be a JSON object.")
        for path, message in _unstorable(value):
            raise ValidationError({path: [message]})
        return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _unstorable(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The places in the body that no column can hold. Walks with a list, not by recursion: the depth is the sender's."""
    todo: list[tuple[str, Any, int]] = [("", body, 1)]
    while todo:
        path, value, depth = todo.pop()
        if depth > DEPTH_CAP:
            raise Unprocessable(f"The body is nested deeper than {DEPTH_CAP} levels.")
        if isinstance(value, dict):
            for name, inner in value.items():
                if not _clean(name):
                    yield path or "body", "a name in this object holds a NUL or half a character"
                todo.append((f"{path}.{name}" if path else name, inner, depth + 1))
        elif isinstance(value, list):
            todo.extend((f"{path}.{place}", inner, depth + 1) for place, inner in enumerate(value))
        elif isinstance(value, str) and not _clean(value):
            yield path, "holds a NUL or half a character (a lone surrogate), which cannot be stored"
        elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            yield path, "is a number with more than 64 bits"


def _clean(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
