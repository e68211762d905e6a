"""A transcript on a terminal: what the agent says, what it does and what came of it, in lines."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain import transcript
from orchestrator.domain.entries import Asked, Call, Done, Entry, Note, Output, Plain, Told, Words

_DETAIL_LINES = 12
# What is set off by an empty line from what stands before and after it.
_APART = (Words, Told, Asked, Done)


class Telling:
    """One turn as it comes in: a line that is cut by the end of what has arrived waits for its rest."""

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._root = ""
        self._rest = ""
        self._begun = False
        self._last: Entry | None = None

    def more(self, text: str) -> str:
        """What can be told with the text that came."""
        lines, newline, self._rest = (self._rest + text).rpartition("\n")
        told = self._told(lines + newline) if newline else ""
        # An event, an escape sequence and a line that is redrawn mean something only as a whole.
        event = self._rest.startswith("{") and not self._begun
        if not (event or "\x1b" in self._rest or "\r" in self._rest) or len(self._rest) > transcript.LINE_CAP:
            told += self.end()
        return told

    def end(self) -> str:
        """What still waits, when nothing more comes."""
        text, self._rest = self._rest, ""
        return self._told(text) if text else ""

    def _told(self, text: str) -> str:
        self._root = self._root or transcript.root_of(text, agent=self._agent)
        entries = transcript.read(text, agent=self._agent, root=self._root, begun=self._begun)
        self._begun = not text.endswith("\n")
        return "".join(self._block(entry) for entry in entries)

    def _block(self, entry: Entry) -> str:
        apart = self._last is not None and (isinstance(entry, _APART) or isinstance(self._last, _APART))
        self._last = entry
        if isinstance(entry, Plain):
            return "\n" * apart + entry.text + "\n" * entry.ended
        within = "    " if isinstance(entry, Words | Call | Output) and entry.inner else ""
        return "\n" * apart + "".join(f"{within}{line}".rstrip() + "\n" for line in _lines(entry))


def _lines(entry: Entry) -> Iterator[str]:
    match entry:
        case Words():
            yield from _indented(entry.text, "  " if entry.thought else "")
        case Told():
            yield from _indented(entry.text, "> ")
        case Call():
            yield from _of_a_call(entry)
        case Output():
            yield from _of_an_output(entry)
        case Asked():
            yield from _indented(entry.question, "? ")
            yield from (f"  [{'] ['.join(entry.options)}]",) if entry.options else ()
        case Note():
            yield f"- {entry.text}"
        case Done():
            yield ", ".join(("turn done" if entry.ok else "turn failed", *entry.facts))
            yield from _indented(entry.why, "  ") if entry.why else ()
        case Plain():
            yield entry.text


def _of_a_call(call: Call) -> Iterator[str]:
    changed = [f"{sign}{count}" for sign, count in (("+", call.plus), ("-", call.minus)) if count]
    told = f" ({' '.join(changed)})" if changed else ""
    yield f"{call.tool}  {call.summary}{told}"
    detail = call.detail.split("\n") if call.detail else []
    yield from (f"    {line}" for line in detail[:_DETAIL_LINES])
    if len(detail) > _DETAIL_LINES:
        yield f"    … {len(detail) - _DETAIL_LINES} more lines"
    if call.brief:
        yield from (f"    - {line}" for line in call.removed)
        yield from (f"    + {line}" for line in call.added)


def _of_an_output(output: Output) -> Iterator[str]:
    if output.failed:
        yield "    failed:"
    yield from _indented(output.head, "    ") if output.head else ()
    if output.rest:
        yield f"    … {output.rest_lines + output.hidden} more lines, at last: {output.last}"


def _indented(text: str, by: str) -> Iterator[str]:
    return (f"{by}{line}" for line in text.split("\n"))
