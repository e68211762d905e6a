"""How test runners, compilers and linters say what failed: which of their lines, and the names of what failed in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MOST_WIDE = 300  # characters of a line in which a tool has said what it says


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How one tool tells of a failure: from a line that `begins` to one that `ends`, or `most` lines where there is no such end. `back` is
    the line before it, at most `most` lines away, with which its words really begin."""

    begins: str
    ends: str = ""
    most: int = 300
    back: str = ""


# Each pattern is matched at the beginning of one line, which is short; none of them can match the same text in more than one way.
_READERS: dict[str, Reader] = {
    "pytest": Reader(
        begins=r"=+ (?:FAILURES|ERRORS|short test summary info) =+$",
        ends=r"=+ (?:\d+|no) [^=]* in \d",
    ),
    "pytest in short": Reader(begins=r"(?:FAILED|ERROR) \S+::\S", most=0),
    "unittest": Reader(begins=r"(?:ERROR|FAIL): \S+ \(\S+\)", ends=r"FAILED \((?:failures|errors)="),
    "jest": Reader(begins=r"\s{0,4}● \S|\s?FAIL\s+\S+\.\w+|\s?❯ \S+\.\w+ ", ends=r"\s{0,10}Tests:? .*failed"),
    "vitest": Reader(begins=r"⎯+ Failed (?:Tests|Suites)", ends=r"\s{0,10}(?:Duration|Tests) "),
    "mocha": Reader(begins=r"\s{1,4}\d+ failing$", ends=r"(?:npm|error|yarn|ELIFECYCLE)\b"),
    "tap": Reader(begins=r"\s{0,12}not ok \d", ends=r"\s{1,14}\.\.\.$", most=40),
    "go": Reader(begins=r"\s{0,12}--- FAIL: ", ends=r"FAIL(?:\s|$)", back=r"\s{0,8}=== (?:RUN|NAME|CONT) ", most=80),
    "go build": Reader(begins=r"# [\w./@-]+(?: \[[\w./@-]+\])?$", ends=r"FAIL\s", most=40),
    "cargo test": Reader(begins=r"failures:$|test \S.* \.\.\. FAILED$", ends=r"test result: FAILED"),
    "rustc": Reader(begins=r"error\[E\d+\]: |error: (?:could not compile|aborting)", ends=r"$", most=40),
    "rustc at a place": Reader(begins=r"\s{1,8}--> \S+:\d+:\d+$", back=r"error(?:\[E\d+\])?: ", ends=r"$", most=20),
    "maven": Reader(begins=r"\[ERROR\] ", most=4),
    "gradle test": Reader(begins=r"\w[^>]* > .* FAILED$", ends=r"$", most=30),
    "gradle": Reader(begins=r"\* What went wrong:$", ends=r"\* Try:", most=40),
    "rspec": Reader(begins=r"Failures:$|Failed examples:$|rspec \S+\.rb", ends=r"(?:Randomized|Coverage)\b"),
    "minitest": Reader(begins=r"\s{1,3}\d+\) (?:Failure|Error):$", ends=r"\d+ (?:runs|tests), "),
    "phpunit": Reader(begins=r"There (?:was|were) \d+ (?:failure|error)s?:$", ends=r"Tests: \d"),
    "dotnet test": Reader(begins=r"\s{1,4}(?:Failed|X) \S.* \[[\d<]", ends=r"(?:Failed!|Test Run Failed|Total tests)"),
    "compiler in brackets": Reader(begins=r"\S.{0,300}\(\d+,\d+\): (?:fatal )?error ", most=3),
    "tsc": Reader(begins=r"\S+:\d+:\d+ - error TS\d+: ", most=6),
    "eslint": Reader(begins=r"\s{1,6}\d+:\d+\s+error\s", back=r"(?:/|\w:\\|\.)?[\w@][^\s:]*\.\w+$", most=40, ends=r"✖ \d+ problem|$"),
    "ruff": Reader(begins=r"[A-Z]{1,4}\d{3,5} (?:\[\*\] )?\S", ends=r"$", most=16),
    "linter": Reader(begins=r"\S+\.\w+:\d+:\d+: [A-Z]{1,4}\d{1,5}\b", most=0),
    "compiler": Reader(begins=r"\S+\.\w+:\d+(?::\d+)?: (?:fatal )?error:", most=5),
    "linker": Reader(begins=r".{0,300}: undefined reference to ", most=0),
    "python": Reader(begins=r"\s{0,8}Traceback \(most recent call last\):$", ends=r"\s{0,8}\w[\w.]*(?:Error|Exception|Exit|Interrupt|Warning)\b", most=80),
    "panic": Reader(begins=r"panic: |thread '.{0,200}' (?:\(\d+\) )?panicked at ", most=30, ends=r"exit status|FAIL\s"),
}  # fmt: skip
_BEGINS = re.compile("|".join(f"(?P<g{n}>{reader.begins})" for n, reader in enumerate(_READERS.values())))
_COMPILED = tuple(
    (reader, re.compile(reader.ends) if reader.ends else None, re.compile(reader.back) if reader.back else None)
    for reader in _READERS.values()
)

# What failed, by name: the first group is a name and stays as it is, the second are words, in which numbers say nothing.
_NAMES = re.compile(
    "|".join(
        f"(?:{pattern})"
        for pattern in (
            r"(?:FAILED|ERROR) (\S+::\S.*?|\S+\.py)(?: - (.*))?$",
            r"(?:ERROR|FAIL): (\S+ \(\S+\))",
            r"\s{0,4}● (\S.*)$",
            r"\s?FAIL\s+(\S+\.\w+(?: > .*)?)",
            r"\s{0,12}[✕×✗] (\S.*?)(?: \(?\d+ ?ms\)?)?$",
            r"\s{1,12}\d+\) (\S.*)$",
            r"\s{5,16}([^:]*):$",
            r"\s{0,12}not ok \d+ (?:- )?(\S.*)$",
            r"\s{0,12}--- FAIL: (\S+)",
            r"FAIL\t(\S+)",
            r"test (\S.*) \.\.\. FAILED$",
            r"---- (\S.*) stdout ----$",
            r"error(\[E\d+\])?: (.*)$",
            r"\[ERROR\]\s+(\S+?):(?:\[\d+,\d+\]|\d+) (.*)$",
            r"\[ERROR\] (\S+\.\S+) -- Time",
            r"(\w[^>]* > .*) FAILED$",
            r"rspec (\S+?)(?::\d+)? # ",
            r"\d+\) (\S+::\S+)",
            r"\s{1,4}(?:Failed|X) (\S.*?) \[[\d<]",
            r"(\S.{0,300})\(\d+,\d+\): (?:fatal )?(error .*)$",
            r"(\S+?):\d+:\d+ - (error TS\d+: .*)$",
            r"\s{1,6}\d+:\d+\s+error\s+(.*)$",
            r"((?:/|\w:\\|\.)?[\w@][^\s:]*\.(?:[cm]?[jt]sx?|vue|svelte))$",
            r"([A-Z]{1,4}\d{3,5} .*)$",
            r"\s{0,6}--> (\S+?):\d+",
            r"(\S+\.\w+?):\d+:\d+: ([A-Z]{1,4}\d{1,5}\b.*)$",
            r"(\S+\.\w+?):\d+(?::\d+)?: (?:fatal )?error: (.*)$",
            r"(\S+\.go):\d+:\d+: (.*)$",
            r".{0,300}: (undefined reference to .*)$",
            r"\s{0,8}(?:E\s+)?(\w[\w.]*(?:Error|Exception)): (.*)$",
            r"panic: ()(.*)$",
        )
    )
)


def told_by_tools(lines: list[str]) -> list[str]:
    """The lines by which tools that are known tell what failed, in their order; empty where none of them speaks."""
    kept = bytearray(len(lines))
    until, ends, within = -1, None, -1
    for n, line in enumerate(lines):
        begun = _BEGINS.match(line, 0, MOST_WIDE) if line else None
        if begun is not None:
            which = int((begun.lastgroup or "g0")[1:])
            reader, its_end, back = _COMPILED[which]
            if n > until or within == which or (ends is None and its_end is not None):
                for m in range(_first(lines, kept, n, back, reader.most), n):
                    kept[m] = 1
                until, ends, within = n + reader.most, its_end, which
                kept[n] = 1
                continue
        if n <= until:
            kept[n] = 1
            if ends is not None and ends.match(line):
                until = n
    return [line for line, keep in zip(lines, kept, strict=True) if keep]


def _first(lines: list[str], kept: bytearray, n: int, back: re.Pattern[str] | None, most: int) -> int:
    """Where the words that lead to a failure begin; `n` itself where nothing says so. What is kept already is not looked at again."""
    if back is None:
        return n
    for m in range(n - 1, max(n - 1 - most, -1), -1):
        if kept[m]:
            break
        if back.match(lines[m]):
            return m
    return n


def named(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What failed by name, and the words that were said of it."""
    for line in lines:
        found = _NAMES.match(line, 0, MOST_WIDE) if line else None
        if found is not None:
            groups = [group for group in found.groups() if group is not None]
            yield (groups[0] if groups else ""), " ".join(groups[1:])
