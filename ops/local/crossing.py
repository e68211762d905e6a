"""What is said at the gate before bytes go through it, and how they go.

A connection begins with TLS, whose certificate the link names, and with one line from the machine: who it is, and which server it wants.
The gate answers with one line. From then on it is a connection to that server.
"""

import asyncio
import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

LINE = 16 * 1024  # bytes of a line
OPENING_SECONDS = 10.0
PIECE = 64 * 1024
# An end that is not heard of is given up after some fifteen seconds, so that what it held is free again.
KEEP_ALIVE = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 3), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 15_000))

HELLO, POSTGRES, VALKEY = "hello", "postgres", "valkey"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The machine's line. `to` is what it wants to speak to."""

    host: str
    secret: str
    machine: str
    code: str
    to: str

    def __repr__(self) -> str:
        return f"<opening of {self.host} to {self.to}>"  # never the secrets

    def line(self) -> bytes:
        """As it is sent."""
        return line_of(asdict(self))


class NotALine(Exception):
    """What came is not what is said at a gate."""


def opening_of(data: bytes) -> Opening:
    """The opening that a line is. Raises `NotALine`."""
    found = content_of(data)
    words = {name: found.get(name) for name in ("host", "secret", "machine", "code", "to")}
    if not all(isinstance(word, str) and word and word.isascii() and word.isprintable() for word in words.values()):
        raise NotALine("the opening is not whole")
    return Opening(**{name: str(word) for name, word in words.items()})


def line_of(content: Mapping[str, Any]) -> bytes:
    """One line."""
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def content_of(data: bytes) -> dict[str, Any]:
    """What a line says. Raises `NotALine`."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotALine("not a line of ours") from error
    if not isinstance(content, dict):
        raise NotALine("not a line of ours")
    return content


@dataclass(frozen=True, slots=True)
class Stream:
    """Both directions of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def line(self) -> bytes:
        """The next line. Raises `NotALine` where none comes in time."""
        try:
            async with asyncio.timeout(OPENING_SECONDS):
                data = await self.reader.readline()
        except (TimeoutError, ValueError) as error:
            raise NotALine("no line came") from error
        if not data.endswith(b"\n"):
            raise NotALine("no line came")
        return data

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    async def hang_up(self) -> None:
        """Close it at once, also where the loop ends right after."""
        self.writer.transport.abort()
        await asyncio.sleep(0)


async def join_up(one: Stream, other: Stream) -> None:
    """Carry bytes both ways until either end is over."""
    ways = [
        asyncio.create_task(_carry(one.reader, other.writer)),
        asyncio.create_task(_carry(other.reader, one.writer)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        one.close()
        other.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()


def keep_alive(writer: asyncio.StreamWriter) -> None:
    """Notice an end that is gone without a word."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE:
        option = getattr(socket, name, None)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
