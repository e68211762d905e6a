"""Postgres' first packet, which says as whom somebody comes. On its private socket Postgres believes that, so the gate looks.

The layout is that of the frontend/backend protocol, "StartupMessage" and "CancelRequest".
"""

import asyncio

from ops.local.crossing import OPENING_SECONDS, NotALine

LONGEST = 10_000  # bytes, as Postgres has it
CANCEL_REQUEST = 80877102
MAJOR = 3


async def checked(reader: asyncio.StreamReader, *, user: str) -> bytes:
    """The packet, where it names this user and no other. Raises `NotALine`."""
    try:
        async with asyncio.timeout(OPENING_SECONDS):
            head = await reader.readexactly(4)
            size = int.from_bytes(head, "big")
            if not 8 <= size <= LONGEST:
                raise NotALine("not a first packet of Postgres'")
            body = await reader.readexactly(size - 4)
    except (TimeoutError, asyncio.IncompleteReadError) as error:
        raise NotALine("no first packet came") from error
    kind = int.from_bytes(body[:4], "big")
    if kind != CANCEL_REQUEST and (kind >> 16 != MAJOR or _user(body[4:]) != user.encode()):
        raise NotALine(f"a first packet of another user than {user}")
    return head + body


def _user(settings: bytes) -> bytes | None:
    """Names and values in turns, each ended by a zero byte, and one more at the end of all. Where a name comes twice, the last counts."""
    words = settings.split(b"\0")
    if len(words) < 2 or words[-2:] != [b"", b""] or b"" in words[:-2:2]:
        return None
    return dict(zip(words[:-2:2], words[1:-2:2], strict=False)).get(b"user")
