"""What an agent's program wrote, in pages of plain text."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from aoweb.dashboard.text import plain
from orchestrator.models import Turn
from orchestrator.services import transcripts

PAGE = 64 * 1024
# An escape sequence or a redrawn line that is cut by the end of a page is left to the next one, if it is this short.
_CUT = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Text from `start` to `next` (offsets in bytes) of a journal that is `size` long."""

    text: str
    start: int
    next: int
    size: int
    live: bool
    dropped: int


def page(turn: Turn, *, after: int | None = None, before: int | None = None) -> Page:
    """A page from the offset `after` on, or up to the offset `before`; without either, the last page."""
    if after is None:
        stop = turn.journal_size if before is None else before
        start = max(0, stop - PAGE)
    else:
        start = after
    data, end = transcripts.read(run=turn.run_id, after=start, cap=PAGE if before is None else before - start)
    live = turn.ended_at is None
    size = max(turn.journal_size, end)
    more = before is None and (live or end < size)
    kept = data[: whole(data)] if more else data
    return Page(
        text=plain(kept.decode("utf-8", "replace")),
        start=start,
        next=start + len(kept),
        size=size,
        live=live,
        dropped=turn.dropped,
    )


def whole(data: bytes) -> int:
    """How much of the data ends neither inside a character nor inside an escape sequence."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data)
    end = len(data) - len(decoder.getstate()[0])
    tail = data[max(0, end - _CUT) : end]
    escape = tail.rfind(b"\x1b")
    unfinished = (
        escape >= 0 and plain(tail[escape:].decode("utf-8", "replace")) == "" and len(tail) - escape < len(data)
    )
    return end - (len(tail) - escape) if unfinished else end
