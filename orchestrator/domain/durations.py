"""Spans of time as people write them: `90s`, `10m`, `1h30m`, `2d`, `1w`."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_FORM = re.compile(
    r"(?:(?P<w>\d{1,4})w)?(?:(?P<d>\d{1,5})d)?(?:(?P<h>\d{1,6})h)?(?:(?P<m>\d{1,8})m)?(?:(?P<s>\d{1,9})s)?",
    re.ASCII,
)

ACCEPTED_FORM = "a whole number with a unit s, m, h, d or w, or a compound such as 1h30m"


def parse_duration(text: str) -> timedelta:
    """Read a duration. Raises `ValueError` that names the value and the accepted form; nothing is guessed."""
    found = _FORM.fullmatch(text.strip())
    parts = {_UNITS[unit]: int(value) for unit, value in (found.groupdict() if found else {}).items() if value}
    span = timedelta(**parts) if parts else timedelta()
    if span <= timedelta():
        raise ValueError(f"{text!r} is not a duration: write {ACCEPTED_FORM}")
    return span


def format_duration(span: timedelta) -> str:
    """The shortest text that `parse_duration` reads back as the same span (whole seconds)."""
    seconds = int(span.total_seconds())
    text = ""
    for unit, size in (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
