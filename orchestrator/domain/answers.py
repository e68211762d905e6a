"""What an agent answers to the threads of a review: lines of its last message, which any agent can write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# `thread PRRT_1: resolved: renamed it`, also as an item of a list, in bold or in backticks.
_LINE = re.compile(
    r"^[\s>*_#`-]*thread[\s`*_]+(?P<thread>[A-Za-z0-9_=.-]{1,100})[`*_]*\s*:[*_]*\s*(?P<words>.*)$", re.IGNORECASE
)
_STAND = re.compile(r"^[\s`*_\[(]*(?P<stand>resolved|open)[`*_\])]*\s*[:.,–—-]*\s*", re.IGNORECASE)

HOW_TO_ANSWER = (
    "In your last message, answer each thread in a line of its own: `thread ID: what you did, or why not`. Begin the answer with `resolved:`"
    " where the point is settled without a commit, and with `open:` where it is not settled although you made one."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is said in one thread. `settled`: whether the agent says that the point is; None: it does not say."""

    words: str
    settled: bool | None = None


def answers_in(last_words: str) -> Mapping[str, Answer]:
    """The answers by thread; lines that follow one belong to it until the next, or an empty line. The last word on a thread counts."""
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in last_words.splitlines():
        begun = _LINE.match(line)
        if begun is not None:
            current = found[begun["thread"]] = [begun["words"]]
        elif not line.strip() or line.lstrip().startswith("```"):
            current = None
        elif current is not None:
            current.append(line.strip())
    return {thread: _answer(" ".join(lines).strip()) for thread, lines in found.items()}


def _answer(text: str) -> Answer:
    stand = _STAND.match(text)
    if stand is None:
        return Answer(words=text)
    settled = stand["stand"].lower() == "resolved"
    return Answer(words=text[stand.end() :].strip() or stand["stand"].capitalize(), settled=settled)
