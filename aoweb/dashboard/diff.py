"""A unified diff as rows that a page can show and comment on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.models import Comment

# Rows drawn at most; the rest of a larger change is read in the repository.
MOST_ROWS = 4_000
_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@(.*)")
_QUOTED = re.compile(r"\\([0-7]{3}|.)")
_ESCAPED = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "a": "\a", "b": "\b", "f": "\f", "r": "\r", "v": "\v"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line: `kind` is added, removed, same, hunk or note; numbers count in the old and the new file."""

    kind: str
    text: str
    old: int | None = None
    new: int | None = None
    comments: Sequence[Comment] = ()


@dataclass(slots=True, kw_only=True)
class FileDiff:
    """What changes in one file."""

    path: str
    was: str = ""
    rows: list[Row] = field(default_factory=list)
    added: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A whole diff; `cut` says that not all of it is here."""

    files: list[FileDiff]
    cut: bool

    @property
    def added(self) -> int:
        return sum(one.added for one in self.files)

    @property
    def removed(self) -> int:
        return sum(one.removed for one in self.files)


def parse(text: str, comments: Iterable[Comment] = ()) -> Change:
    """Read what `git diff` wrote. Comments are put under the line of the new file that they are about."""
    remarks: dict[tuple[str, int], list[Comment]] = {}
    for comment in comments:
        if comment.path and comment.line:
            remarks.setdefault((comment.path, comment.line), []).append(comment)
    files: list[FileDiff] = []
    for n, row_of in enumerate(_events(text.split("\n"), files)):
        if n >= MOST_ROWS:
            return Change(files=files, cut=True)
        current, row = row_of
        current.rows.append(_remarked(row, current.path, remarks))
        current.added += row.kind == "added"
        current.removed += row.kind == "removed"
    return Change(files=files, cut=False)


def _remarked(row: Row, path: str, remarks: Mapping[tuple[str, int], list[Comment]]) -> Row:
    found = remarks.get((path, row.new)) if row.new is not None else None
    return Row(kind=row.kind, text=row.text, old=row.old, new=row.new, comments=found) if found else row


def _events(lines: Sequence[str], files: list[FileDiff]) -> Iterator[tuple[FileDiff, Row]]:
    """Rows with the file they belong to; new files are put into `files` as they begin.

    Inside a hunk the counts of its header say how many lines are content, so that content which looks like a header is none.
    """
    old = new = old_left = new_left = 0
    current = FileDiff(path="")
    for line in lines:
        if old_left > 0 or new_left > 0:
            kind = _KINDS.get(line[:1], "same")
            if kind == "note":
                yield current, Row(kind="note", text=line[1:].strip())
                continue
            takes_old, takes_new = kind != "added", kind != "removed"
            yield current, Row(kind=kind, text=line[1:], old=old if takes_old else None, new=new if takes_new else None)
            old, old_left = old + takes_old, old_left - takes_old
            new, new_left = new + takes_new, new_left - takes_new
        elif line.startswith("diff --git "):
            current = FileDiff(path=_path_of(line))
            files.append(current)
        elif not files:
            continue
        elif match := _HUNK.match(line):
            old, new = int(match[1]), int(match[3])
            old_left, new_left = int(match[2] or 1), int(match[4] or 1)
            yield current, Row(kind="hunk", text=match[5].strip())
        else:
            yield from _header(current, line)


_KINDS = {"+": "added", "-": "removed", " ": "same", "\\": "note"}


def _header(current: FileDiff, line: str) -> Iterator[tuple[FileDiff, Row]]:
    """A line between a file's name and its first hunk."""
    if line.startswith(("+++ ", "--- ")):
        name = _unquoted(line[4:].rstrip("\t"))
        if name != "/dev/null":
            current.path = name.partition("/")[2]
    elif line.startswith("rename from "):
        current.was = _unquoted(line[12:])
    elif line.startswith(("Binary files", "GIT binary patch")):
        yield current, Row(kind="note", text="binary file")
    elif line.startswith(("new file mode", "deleted file mode", "old mode", "new mode")):
        yield current, Row(kind="note", text=line)


def _path_of(line: str) -> str:
    """The new name in `diff --git a/NAME b/NAME`, for files that have no `+++` line."""
    names = line.removeprefix("diff --git ")
    second = names.rpartition(' "b/' if names.endswith('"') else " b/")[2]
    return _unquoted('"' + second) if names.endswith('"') else second


def _unquoted(name: str) -> str:
    """A name as git quotes it, read back."""
    if not (name.startswith('"') and name.endswith('"') and len(name) > 1):
        return name
    raw = bytearray()
    position = 0
    inner = name[1:-1]
    for match in _QUOTED.finditer(inner):
        raw += inner[position : match.start()].encode()
        code = match[1]
        raw += bytes([int(code, 8) & 0xFF]) if len(code) == 3 else _ESCAPED.get(code, code).encode()
        position = match.end()
    return (raw + inner[position:].encode()).decode("utf-8", "replace")
