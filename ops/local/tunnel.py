"""The other end of the gate: on a machine that joined, the service's Postgres and Valkey are private sockets, as they are beside them.

Each connection to a socket is one through the gate. Nothing here needs Django: it stands before that is loaded.
"""

import asyncio
import hashlib
import logging
import os
import signal
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.local import crossing
from ops.local.crossing import HELLO, POSTGRES, VALKEY, NotALine, Opening, Stream
from ops.local.home import Home, make_folder, write_private
from orchestrator.domain.links import Link

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
MOST_SKEW = 10.0  # seconds between the clocks: a lease is 30 long


class Shut(Exception):
    """The gate cannot be reached right now; the message says why."""


class Refused(Exception):
    """The gate does not let us in, and trying again will not help; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What opens the gate: the link, which machine we are, and which code."""

    link: Link
    machine: str = field(repr=False)
    code: str


def sockets(home: Home) -> dict[str, Path]:
    """Where the servers are reached here."""
    return {POSTGRES: home.run / "postgres" / ".s.PGSQL.5432", VALKEY: home.run / "valkey" / "valkey.sock"}


def greet(own: Pass) -> dict[str, Any]:
    """Knock, and answer what the gate tells those who may come in. Raises `Shut` and `Refused`."""

    async def ask() -> dict[str, Any]:
        stream, answer = await cross(own, HELLO)
        await stream.hang_up()
        return answer

    before = time.time()
    answer = asyncio.run(ask())
    _must_agree(float(answer["at"]), before, time.time())
    return answer


def _must_agree(theirs: float, before: float, after: float) -> None:
    """Leases are told by clocks. Theirs was read between two looks at ours, however long the way was."""
    wrong = max(theirs - after, before - theirs)
    if wrong > MOST_SKEW:
        raise Refused(
            f"the clock of this machine is {wrong:.0f} s {'behind' if theirs > after else 'ahead of'} the service's: set it "
            "(timedatectl set-ntp true), then start the worker again"
        )


async def cross(own: Pass, to: str) -> tuple[Stream, dict[str, Any]]:
    """A connection through the gate. Raises `Shut` and `Refused`."""
    stream = await _knock(own.link)
    link = own.link
    opening = Opening(host=link.host, secret=link.secret, machine=own.machine, code=own.code, to=to)
    try:
        await stream.send(opening.line())
        answer = crossing.content_of(await stream.line())
    except (OSError, NotALine) as error:
        await stream.hang_up()
        raise Shut(f"the service at {link.address}:{link.port} does not answer: {error}") from error
    if "ok" in answer:
        return stream, answer["ok"]
    await stream.hang_up()
    if "refused" in answer:
        raise Refused(str(answer["refused"]))
    raise Shut(str(answer.get("trouble", "the gate does not answer as a gate does")))


async def _knock(link: Link) -> Stream:
    """A connection to the gate itself, and to nobody in between: its certificate is the one that the link names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname, context.verify_mode = (
        False,
        ssl.CERT_NONE,
    )  # compared with the link's below, before a word is said
    where = f"the service at {link.address}:{link.port}"
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            connected = asyncio.open_connection(
                link.address, link.port, ssl=context, ssl_handshake_timeout=CONNECT_SECONDS - 2, limit=crossing.LINE
            )
            stream = Stream(*await connected)
    except (TimeoutError, ConnectionAbortedError) as error:
        await asyncio.sleep(0)  # what was given up is closed by the loop's next round
        raise Shut(f"{where} does not answer") from error
    except ssl.SSLError as error:
        raise Shut(f"what listens at {link.address}:{link.port} is not the service's gate: {error.reason}") from error
    except OSError as error:
        raise Shut(f"{where} cannot be reached: {error.strerror or error}") from error
    shown = stream.writer.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
    if hashlib.sha256(shown).hexdigest() != link.fingerprint:
        await stream.hang_up()
        raise Refused(
            f"what listens at {link.address}:{link.port} is not the gate that made this link, or somebody is in between: make a new "
            f"link there (ao host link {link.host})"
        )
    crossing.keep_alive(stream.writer)
    return stream


def keep(home: Home, own: Pass) -> None:
    """Offer the servers' sockets until told to stop."""
    asyncio.run(_keep(home, own))


async def _keep(home: Home, own: Pass) -> None:
    running = []
    for to, path in sockets(home).items():
        make_folder(path.parent, 0o700)
        path.unlink(missing_ok=True)
        running.append(await asyncio.start_unix_server(_carrier(home, own, to), path))
    await asyncio.gather(*(server.serve_forever() for server in running))


def _carrier(home: Home, own: Pass, to: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside = Stream(reader, writer)
        try:
            outside, _ = await cross(own, to)
        except Shut as shut:
            logger.warning("the gate is shut", extra={"why": str(shut)})
            inside.close()
        except Refused as refused:
            inside.close()
            give_up(home, str(refused))
        else:
            await crossing.join_up(inside, outside)

    return carry


def refusal(home: Home) -> Path:
    """Where it is written why the gate put us out."""
    return home.run / "refused"


def give_up(home: Home, why: str) -> None:
    """Tell our supervisor that it is over."""
    write_private(refusal(home), why)
    with suppress(ProcessLookupError):
        os.kill(os.getppid(), signal.SIGTERM)
