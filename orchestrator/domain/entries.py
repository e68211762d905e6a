"""What a transcript consists of, for people: each entry is text that was made harmless, and `kind` names it where types cannot be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

BRIEF = 16  # lines of a change


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What the agent says. `inner`: said by a sub-agent to its agent. `thought`: said to itself."""

    kind: ClassVar[str] = "words"
    text: str
    inner: bool = False
    thought: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the agent was told, as it echoed it."""

    kind: ClassVar[str] = "told"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The use of a tool: its name, a line of summary, and in full what does not fit there. `removed` and `added` are the first of
    the lines that it takes out of a file and puts in, `minus` and `plus` count all of them."""

    kind: ClassVar[str] = "call"
    tool: str
    summary: str = ""
    id: str = ""
    detail: str = ""
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    minus: int = 0
    plus: int = 0
    inner: bool = False

    @property
    def hidden(self) -> int:
        """How many lines of the change are left out."""
        return self.minus + self.plus - len(self.removed) - len(self.added)

    @property
    def brief(self) -> bool:
        """Whether what does not fit in the line is seen without asking for it: a short change, and what no line sums up."""
        return 0 < self.minus + self.plus <= BRIEF or not self.summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What came back of the call with the id `of`: its first lines, and the rest. `hidden` counts the lines that are left out."""

    kind: ClassVar[str] = "output"
    of: str
    head: str
    rest: str = ""
    rest_lines: int = 0
    hidden: int = 0
    failed: bool = False
    inner: bool = False

    @property
    def last(self) -> str:
        """The line with which it ends, which often says what came of it."""
        return self.rest.rpartition("\n")[2].strip("=-_ ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The agent waits for a permission or an answer; `of` is the id of the call that it is about, where that is told."""

    kind: ClassVar[str] = "asked"
    of: str = ""
    permission: bool
    question: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A fact about the run in a line. `trouble`: it does not go as it should."""

    kind: ClassVar[str] = "note"
    text: str
    trouble: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The end of a turn, as the agent tells it: `facts` are steps, time, tokens and cost, as far as they are known."""

    kind: ClassVar[str] = "done"
    ok: bool
    why: str = ""
    facts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """Lines as they stand. `ended`: the last of them is whole."""

    kind: ClassVar[str] = "plain"
    text: str
    ended: bool = True


Entry = Words | Told | Call | Output | Asked | Note | Done | Plain
