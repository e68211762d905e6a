"""Lines of JSON from programs that are not trusted: what is not as it should be reads as empty, and nothing raises."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

TEXT_CAP = 20_000  # characters of one field
_MOST = 1e12  # a larger figure is not one

Found = Mapping[str, object]


def parsed(line: str | bytes, *, cap: int) -> Found | None:
    """The object in a line of at most `cap` bytes or characters; None for every other line."""
    if len(line) > cap or line[:1] not in {"{", b"{"}:
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def text(found: Found, name: str, *, cap: int = TEXT_CAP) -> str:
    """A field's words, at most `cap` characters of them."""
    value = found.get(name)
    return value[:cap] if isinstance(value, str) else ""


def inner(found: Found, name: str) -> Found:
    """An object in a field."""
    value = found.get(name)
    return value if isinstance(value, Mapping) else {}


def listed(found: Found, name: str) -> Sequence[object]:
    """A list in a field."""
    value = found.get(name)
    return value if isinstance(value, list) else ()


def objects(found: Found, name: str) -> Sequence[Found]:
    """The objects of a list in a field."""
    return [one for one in listed(found, name) if isinstance(one, Mapping)]


def number(found: Found, name: str) -> float:
    """A figure that can be added up: not negative, not absurd, not NaN."""
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if 0 <= value < _MOST else 0.0
