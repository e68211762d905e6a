"""Why a check failed: the part of what it left that says so, and a fingerprint by which the same failure is known again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.domain.logs import ERROR_MARK, STEP_MARK, lines_of, without_marks
from orchestrator.domain.runners import named, told_by_tools
from orchestrator.domain.sharing import shared, squeezed

PART_CAP = 20_000  # bytes of one check's failing part
HEADLINE_CAP = 300
REGION = 120  # lines before an error of which no tool is known
TAIL = 200
NAMED = 2_000  # lines of tools in which what failed is looked for by name
TELLING = 40  # lines by which a failure of which no tool is known is known again

# What is said of every failure, and so says nothing of this one.
_EMPTY_WORDS = re.compile(
    r"(?:##\[error\])?(?:Error: )?(?:The )?[Pp]rocess (?:completed|exited|'.{0,200}' failed) with exit code \d+\.?$"
    r"|make(?:\[\d+\])?: \*\*\* .*|npm (?:ERR!|error).*|error Command failed.*|exit (?:status|code) \d+$|FAIL$|[-=_*~#.\s]*$"
)
_ERROR_ENDS = re.compile(
    r"##\[error\]|make(?:\[\d+\])?: \*\*\* |npm (?:ERR!|error) |error Command failed|FATAL\b|fatal: "
)
_TELLING = re.compile(r"\b(?:error|errors|failed|failure|failing|fatal|exception|panic|denied|not found|cannot|assert\w*)\b", re.IGNORECASE)  # fmt: skip

_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?|\b\d\d?:\d\d:\d\d(?:[.,]\d+)?"
)
_UUID = re.compile(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]+")
_HASH = re.compile(r"\b(?=[a-f]{0,60}\d)[0-9a-f]{7,64}\b")
_TEMPORARY = re.compile(r"(?:/private)?/(?:tmp|var/tmp|var/folders)/[^\s:'\")\]]*")
_FOLDERS = re.compile(r"(?<![\w.])/(?:[\w.+@-]+/){2,40}(?=[\w.+@-]+/)")
_SPAN = re.compile(r"\b\d+(?:\.\d+)? ?(?:ms|µs|us|ns|s|secs?|seconds?|m|min|minutes?)\b")
_LINE = re.compile(r":\d+(?::\d+)?\b|\bline \d+|(?<=\.go|\.py|\.rb|\.js|\.ts)\(\d+(?:,\d+)?\)")
_NUMBER = re.compile(r"(?<![\w])-?\d+(?:[.,]\d+)*(?![\w])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """What a tool said of one place in a file."""

    path: str
    line: int | None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a check failed. `part` is for people and agents, at most `PART_CAP` bytes; `fingerprint` is empty where nothing is known."""

    part: str = ""
    fingerprint: str = ""
    headline: str = ""


def failure_of(
    log: str = "", *, annotations: Sequence[Annotation] = (), output: str = "", cap: int = PART_CAP
) -> Failure:
    """The annotations first, then what the check says of itself, then what the tools say in its log; where none is known the lines before
    the last error, else the end."""
    said = [one for one in annotations if not _EMPTY_WORDS.match(one.message.strip())]
    pointed = lines_of(
        "\n".join(f"{one.path}:{one.line}: {one.message}" if one.line else f"{one.path}: {one.message}" for one in said)
    )
    spoken = lines_of(output)
    lines = lines_of(log)
    tools = told_by_tools(lines)
    region = tools or _region(lines)
    parts = [without_marks(part) for part in (pointed, spoken, region)]
    whole = [part for part in parts if part.strip()]
    # None of them crowds out the others: what one leaves of its share is the others'.
    shares = shared([len(part.encode()) + 2 for part in whole], cap)
    told = (squeezed(part, share - 2) for part, share in zip(whole, shares, strict=True))
    text = "\n\n".join(part for part in told if part)
    return Failure(
        part=text,
        fingerprint=_fingerprint(tools, region, pointed, spoken),
        headline=_headline(tools, pointed, spoken, region),
    )


def _region(lines: list[str]) -> list[str]:
    """The lines that lead to the last error, from the beginning of its step on; without an error the end of the log."""
    last = next((n for n in range(len(lines) - 1, -1, -1) if _ERROR_ENDS.match(lines[n])), None)
    if last is None:
        return lines[-TAIL:]
    while last + 1 < len(lines) and _ERROR_ENDS.match(lines[last + 1]):
        last += 1
    steps = (n for n in range(last, max(last - REGION, -1), -1) if lines[n].startswith(STEP_MARK))
    return lines[next(steps, max(last - REGION, 0)) : last + 1]


# --- Fingerprints -------------------------------------------------------------------------------------------------------------------------


def _fingerprint(tools: Sequence[str], region: Sequence[str], pointed: Sequence[str], spoken: Sequence[str]) -> str:
    """Of what failed by name where a tool says so, else of what was pointed at, else of the lines that tell of an error. In no order: tests
    that run side by side fail in another one each time."""
    names = {f"{settled_name(name)}\x1f{settled(words)}" for name, words in named(tools[-NAMED:])}
    if not names:
        names = {settled(line) for line in (*pointed, *spoken)} - {""}
    if not names:
        names = {settled(line) for line in _telling(region)} - {""}
    return hashlib.sha256("\x1e".join(sorted(names)).encode(errors="replace")).hexdigest()[:16] if names else ""


def _telling(lines: Sequence[str]) -> list[str]:
    speaking = [line for line in lines if not _EMPTY_WORDS.match(line) and not line.startswith(STEP_MARK)]
    return [line for line in speaking if _TELLING.search(line)][-TELLING:] or speaking[-10:]


def settled_name(name: str) -> str:
    """A name as it is in every run: without the places, times and addresses in it. Its numbers are part of it."""
    for pattern, word in (
        (_INSTANT, "T"),
        (_UUID, "U"),
        (_ADDRESS, "A"),
        (_TEMPORARY, "P"),
        (_FOLDERS, "/"),
        (_HASH, "H"),
        (_LINE, ""),
    ):
        name = pattern.sub(word, name)
    return " ".join(name.split())


def settled(words: str) -> str:
    """Words as they are in every run: also without spans and numbers."""
    return _NUMBER.sub("N", _SPAN.sub("D", settled_name(words)))


def _headline(tools: Sequence[str], *others: Iterable[str]) -> str:
    """What failed, in one line: the first that a tool names, else the first line that tells of an error."""
    for name, words in named(tools):
        if line := " ".join(f"{name}: {words}".split()).strip(": "):
            return line[:HEADLINE_CAP]
    for lines in others:
        telling = _telling([line for line in lines if line.strip()])
        if telling:
            return " ".join(telling[-1].removeprefix(ERROR_MARK).split())[:HEADLINE_CAP]
    return ""
