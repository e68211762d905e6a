"""What an agent's program wrote, as people read it. The lines of an agent that we know say what they mean; all others are shown as they are.

Nothing is kept between two calls: a reader goes on where a line begins, and `begun` says that the first one began earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.domain import claude, claude_transcript, vocabulary
from orchestrator.domain.entries import Asked, Call, Entry, Output, Plain
from orchestrator.domain.lines import Found, parsed
from orchestrator.domain.showing import MOST_WIDE, shown

LINE_CAP = claude.LINE_CAP
_Reader = Callable[[Found], Sequence[Entry] | None]
# Every other agent may use the common vocabulary.
_READERS: Mapping[str, _Reader] = {claude.AGENT: claude_transcript.entries_of}


def read(text: str, *, agent: str, root: str = "", begun: bool = False) -> Sequence[Entry]:
    """The entries in a text that ends where a line ends, or where a run does. Paths below `root` are told from there on."""
    reader = _READERS.get(agent, vocabulary.entries_of)
    lines = text.split("\n")
    last = lines.pop()
    found: list[Entry] = []
    for n, line in enumerate(lines):
        found += (Plain(text=shown(line, most=MOST_WIDE)),) if begun and n == 0 else _line(line, reader)
    if last:
        partial = begun and not lines
        found += (
            (Plain(text=shown(last, most=MOST_WIDE), ended=False),) if partial else _line(last, reader, ended=False)
        )
    return [_below(root, entry) for entry in _paired(_joined(found))]


def root_of(text: str, *, agent: str) -> str:
    """The directory in which an agent works, as the beginning of its transcript says it; empty where nothing does."""
    if agent != claude.AGENT:
        return ""
    begun = (parsed(line, cap=LINE_CAP) for line in text.split("\n"))
    return next((root for found in begun if found and (root := claude_transcript.root_of(found))), "").rstrip("/")


def _line(line: str, reader: _Reader, *, ended: bool = True) -> Sequence[Entry]:
    found = parsed(line, cap=LINE_CAP)
    entries = reader(found) if found is not None else None
    return (Plain(text=shown(line, most=MOST_WIDE), ended=ended),) if entries is None else entries


def _joined(entries: Iterable[Entry]) -> Sequence[Entry]:
    """Plain lines that follow each other are one entry."""
    joined: list[Entry] = []
    lines: list[str] = []
    ended = True
    for entry in entries:
        if isinstance(entry, Plain):
            lines.append(entry.text)
            ended = entry.ended
            continue
        if lines:
            joined.append(Plain(text="\n".join(lines)))
            lines = []
        joined.append(entry)
    return [*joined, Plain(text="\n".join(lines), ended=ended)] if lines else joined


@dataclass(slots=True)
class _Group:
    """A call, what belongs to it, and what followed it."""

    call: Call | None
    own: list[Entry] = field(default_factory=list)
    others: list[Entry] = field(default_factory=list)


def _paired(entries: Sequence[Entry]) -> Iterator[Entry]:
    """What came of a call stands under it, also where several were made at once."""
    groups = [_Group(None)]
    known: dict[str, _Group] = {}
    for entry in entries:
        if isinstance(entry, Call):
            groups.append(_Group(entry))
            known.setdefault(entry.id, groups[-1])
            continue
        group = known.get(entry.of) if isinstance(entry, Output | Asked) and entry.of else None
        if group is None or _follows(entry, group, groups[-1]):
            groups[-1].others.append(entry)
        else:
            group.own.append(entry)
    for group in groups:
        yield from (group.call,) if group.call is not None else ()
        yield from group.own
        yield from group.others


def _follows(entry: Entry, group: _Group, last: _Group) -> bool:
    """Whether it is told where it came: after what followed its call, or after what a sub-agent did on its behalf."""
    if group is last:
        return bool(group.others)
    return last.call is not None and last.call.inner and isinstance(entry, Output) and not entry.inner


def _below(root: str, entry: Entry) -> Entry:
    match entry:
        case Call() if len(root) > 1:
            return replace(entry, summary=entry.summary.replace(f"{root}/", ""))
        case Output() if len(root) > 1:
            return replace(entry, head=entry.head.replace(f"{root}/", ""), rest=entry.rest.replace(f"{root}/", ""))
        case _:
            return entry
