"""The words on the wire: one request, one answer, each a row of frames over any byte stream.

A frame is two big-endian 32-bit lengths, a JSON header and raw bytes. A message is one frame or more: every frame but the last says
`more`, the first one carries the content, and the bytes of all of them follow each other. `parts` in the first header says how these
bytes divide. Frames are small (1 MiB), so that neither side needs a large message's memory twice.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

LENGTHS = struct.Struct("!II")
BODY = 1024 * 1024
HEADER_CAP = 8 * 1024 * 1024
MESSAGE_CAP = 512 * 1024 * 1024


class BrokenStreamError(Exception):
    """The other side sent something that is no frame of ours."""


class Message(NamedTuple):
    """A whole request or answer."""

    content: dict[str, Any]
    body: bytes

    def parts(self) -> list[bytes]:
        """The body divided as the sender divided it."""
        found, offset = [], 0
        for size in self.content.get("parts", []):
            found.append(self.body[offset : offset + size])
            offset += size
        return found


def frame(header: dict[str, Any], body: bytes | memoryview = b"") -> bytes:
    """One frame as bytes."""
    encoded = json.dumps(header, separators=(",", ":")).encode()
    return LENGTHS.pack(len(encoded), len(body)) + encoded + body


def message(content: dict[str, Any], parts: list[bytes] | None = None) -> Iterator[bytes]:
    """The frames of one message whose bytes are at hand."""
    body = b"".join(parts or [])
    header = {**content, "parts": [len(part) for part in parts]} if parts else content
    view = memoryview(body)
    for offset in range(0, max(1, len(body)), BODY):
        piece = view[offset : offset + BODY]
        first = header if offset == 0 else {}
        yield frame({**first, "more": True} if offset + BODY < len(body) else first, piece)


class Reader:
    """Collects bytes as they arrive and gives whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._content: dict[str, Any] | None = None
        self._body = bytearray()

    def wanted(self) -> int:
        """How many more bytes the current frame needs at least."""
        if len(self._buffer) < LENGTHS.size:
            return LENGTHS.size - len(self._buffer)
        header, body = LENGTHS.unpack_from(self._buffer)
        return max(1, int(LENGTHS.size + header + body - len(self._buffer)))

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take in bytes and give every message that they complete."""
        self._buffer += data
        while (whole := self._next_frame()) is not None:
            header, body = whole
            if self._content is None:
                self._content = header
            self._body += body
            if len(self._body) > MESSAGE_CAP:
                raise BrokenStreamError(f"a message of over {MESSAGE_CAP} bytes")
            if not header.get("more"):
                done = Message(self._content, bytes(self._body))
                self._content, self._body = None, bytearray()
                yield done

    def _next_frame(self) -> tuple[dict[str, Any], bytes] | None:
        if len(self._buffer) < LENGTHS.size:
            return None
        header_size, body_size = LENGTHS.unpack_from(self._buffer)
        if header_size > HEADER_CAP or body_size > BODY:
            raise BrokenStreamError(f"a frame of {header_size} and {body_size} bytes")
        end = LENGTHS.size + header_size + body_size
        if len(self._buffer) < end:
            return None
        header_end = LENGTHS.size + header_size
        try:
            header = json.loads(self._buffer[LENGTHS.size : header_end])
        except ValueError as error:
            raise BrokenStreamError("a header that is no JSON") from error
        if not isinstance(header, dict):
            raise BrokenStreamError("a header that is no object")
        body = bytes(self._buffer[header_end:end])
        del self._buffer[:end]
        return header, body
