"""Logs of programs as people would have seen them: lines, without what a runner or a terminal put around them."""

from __future__ import annotations

import re

from orchestrator.domain.prompts import plain
from orchestrator.domain.secrets import redacted

MOST_TEXT = 1_000_000  # characters of the end of a log that are looked at
MOST_LINES = 12_000
MOST_WIDE = 1_000  # characters of a line that say enough

ERROR_MARK = "##[error]"
STEP_MARK = "##[group]Run "
_STAMP = re.compile(r"\ufeff?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z ?")
_MARK = re.compile(r"##\[(?:command|debug|section|warning|notice)\]")
# A bar that was drawn line by line, such as " 45%|####      | 9/20" or "[=====>    ] 45%".
_BAR = re.compile(r"\s{0,40}(?:\d{1,3}%\s{0,5}[|\[]|[|\[]?[=#█▉-▏>.\- ]{8,200}[|\]]?\s{0,5}\d{1,3}(?:\.\d)?%)")


def lines_of(log: str) -> list[str]:
    """The lines of the end of a log: no secrets, no terminal sequences, no instants that a runner wrote before them, no progress bars.
    Marks of steps and errors stay, for those who look for them."""
    text = log[-MOST_TEXT:]
    drawn = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")[-MOST_LINES:]]
    seen = redacted(plain("\n".join(drawn))).split("\n")
    return [line for line in map(_bare, seen) if line is not None]


def _bare(line: str) -> str | None:
    if line[:1] in {"2", "\ufeff"}:
        stamp = _STAMP.match(line)
        line = line[stamp.end() :] if stamp is not None else line
    if line[:3] == "##[":
        if line.startswith("##[endgroup]"):
            return None
        line = _MARK.sub("", line, count=1)
    if "%" in line[:240] and _BAR.match(line):
        return None
    return line.rstrip() if len(line) <= MOST_WIDE else f"{line[:MOST_WIDE]} [...]"


def without_marks(lines: list[str]) -> str:
    """The lines as text; the names of steps stay, the marks before them do not."""
    return "\n".join(line.removeprefix("##[group]") for line in lines).strip("\n")
