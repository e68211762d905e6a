"""Transcripts: the journal of a run as a gap-free prefix, with what was dropped said in it."""

from __future__ import annotations

from orchestrator.models import JournalChunk

PAGE = 256 * 1024


def read(*, run: str, after: int = 0, cap: int = PAGE) -> tuple[bytes, int]:
    """The bytes of a run's journal from the offset `after` on, at most `cap`, and the offset to go on from."""
    data = b""
    position = after
    rows = JournalChunk.objects.filter(run=run).order_by("offset")
    first = rows.filter(offset__lte=after).last()
    if first is None:
        return b"", after
    for chunk in rows.filter(offset__gte=first.offset).iterator():
        start = position - chunk.offset
        if start < 0:  # a gap cannot be: chunks are appended in order under the turn's lock
            break
        data += bytes(chunk.data)[start:]
        position = chunk.offset + len(chunk.data)
        if len(data) >= cap:
            break
    return data[:cap], after + len(data[:cap])
