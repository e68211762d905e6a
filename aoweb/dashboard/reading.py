"""The transcript of a turn in pages for people. A page begins and ends where a line does, so that no line is lost or read twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aoweb.dashboard.journal import whole
from orchestrator.domain import transcript
from orchestrator.domain.entries import Entry
from orchestrator.models import Turn
from orchestrator.services import transcripts

PAGE = 128 * 1024
# Where no line ends within a page one looks further, but not for ever: what is longer than a line may be is shown in pieces.
_FAR = 2 * transcript.LINE_CAP


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Entries from `start` to `next` (offsets in bytes) of a journal that is `size` long."""

    entries: Sequence[Entry]
    start: int
    next: int
    size: int
    live: bool
    dropped: int


def page(turn: Turn, *, after: int | None = None, before: int | None = None) -> Reading:
    """A page from the offset `after` on, or up to the offset `before`; without either, the last page."""
    run, live = turn.run_id, turn.ended_at is None
    stop = turn.journal_size if before is None else before
    start = _start(run, stop) if after is None else after
    data, more = _from(run, start, stop=before)
    begun = start > 0 and _read(run, start - 1, 1) != b"\n"
    kept = data if before is not None or not (live or more) else data[: _ended(data, begun=begun, more=more)]
    agent = turn.session.agent
    root = transcript.root_of(_text(_read(run, 0, PAGE)), agent=agent) if kept else ""
    return Reading(
        entries=transcript.read(_text(kept), agent=agent, root=root, begun=begun),
        start=start,
        next=start + len(kept),
        size=max(turn.journal_size, start + len(data)),
        live=live,
        dropped=turn.dropped,
    )


def _start(run: str, stop: int) -> int:
    """Where the first line begins of a page that ends at `stop`."""
    for reach in (PAGE, _FAR):
        if stop <= reach:
            return 0
        low = stop - reach
        # The byte before tells whether a line begins at `low`; the last byte may end the page's last line.
        newline = _read(run, low - 1, reach + 1).find(b"\n", 0, reach)
        if newline >= 0:
            return low + newline
    return stop - PAGE


def _from(run: str, start: int, *, stop: int | None) -> tuple[bytes, bool]:
    """What follows `start`, a line of it at least, and whether there may be more."""
    if stop is not None:
        return _read(run, start, stop - start), False
    data = _read(run, start, PAGE)
    if len(data) == PAGE and b"\n" not in data:
        data = _read(run, start, _FAR)
        return data, len(data) == _FAR
    return data, len(data) == PAGE


def _ended(data: bytes, *, begun: bool, more: bool) -> int:
    """How much of the data may be told now. A line that has not ended waits for its end where it may mean something then."""
    lines = data.rfind(b"\n") + 1
    rest = data[lines:]
    if more:
        return lines or whole(data)
    if rest.startswith(b"{") and not (begun and lines == 0):
        return lines
    return lines + whole(rest)


def _read(run: str, after: int, cap: int) -> bytes:
    return transcripts.read(run=run, after=after, cap=cap)[0] if cap > 0 else b""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
