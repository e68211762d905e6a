"""The gate: the one port that machines which join come in by. Postgres and Valkey listen on private sockets only, also while it is open.

What comes in is encrypted under a certificate of our own, says who it is by the secret of its link, and gets through to the two servers and
to nothing else.
"""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings
from django.db import Error as DatabaseTrouble
from django.db import connection
from django.utils import timezone

from ops.local import crossing, postgres, startup
from ops.local.crossing import HELLO, POSTGRES, VALKEY, NotALine, Opening, Stream
from ops.local.errors import CannotRun
from ops.local.home import Home, write_private
from ops.local.release import code
from orchestrator.services import spares
from orchestrator.services.spares import NotAdmitted

logger = logging.getLogger(__name__)

MOST_KNOCKING = 64  # connections that have not said yet who they are
LOOK_EVERY = 5.0  # seconds until a machine that was removed is out
CERTIFICATE_LIVES = timedelta(days=3650)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The file with certificate and key, and the SHA-256 by which links name it."""

    path: Path
    fingerprint: str


def certificate(home: Home) -> Certificate:
    """The gate's certificate; the first opening makes it. It is trusted by its fingerprint, so its names and dates mean nothing."""
    path = home.path / "gate.pem"
    if not path.exists():
        write_private(path, _made())
    made = x509.load_pem_x509_certificate(path.read_bytes())
    return Certificate(path=path, fingerprint=made.fingerprint(hashes.SHA256()).hex())


def _made() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Agent Orchestrator")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + CERTIFICATE_LIVES)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (secret + made.public_bytes(serialization.Encoding.PEM)).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server behind the gate: where it is, and what its clients say to log in. Nothing of it is in a link."""

    path: str
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    name: str
    embedded: bool = False  # it believes whoever reaches it

    async def connect(self) -> Stream:
        """A connection to it. Raises OSError."""
        if self.path:
            return Stream(*await asyncio.open_unix_connection(self.path))
        return Stream(*await asyncio.open_connection(self.host, self.port))

    @property
    def login(self) -> dict[str, str]:
        """What a machine that joins is told."""
        return {"user": self.user, "password": self.password, "name": self.name}


def servers(home: Home, database_url: str, redis_url: str) -> Mapping[str, Server]:
    """The servers that the service uses. Raises `CannotRun` for those that can only be reached in ways that the gate does not know."""
    database, broker = urlsplit(database_url), urlsplit(redis_url)
    options = dict(parse_qsl(database.query))
    if options.get("sslmode", "prefer") not in {"disable", "allow", "prefer"} or broker.scheme == "rediss":
        raise CannotRun(
            "the gate speaks without TLS to the servers behind it, and DATABASE_URL or REDIS_URL demands it. Let the gate reach them "
            "over a private network, or leave --listen away."
        )
    number = broker.path.strip("/") if broker.scheme == "redis" else dict(parse_qsl(broker.query)).get("db", "")
    if number not in {"", "0"}:
        raise CannotRun(f"machines that join can use database 0 of Redis only, and REDIS_URL names {number}.")
    folder = options.get("host", "")
    port = database.port or int(options.get("port", 5432))
    embedded = folder == str(home.run / "postgres")
    return {
        POSTGRES: Server(
            path=f"{folder}/.s.PGSQL.{port}" if folder.startswith("/") else "",
            host=folder or database.hostname or "localhost",
            port=port,
            user=postgres.WORKER if embedded else unquote(database.username or ""),
            password=unquote(database.password or ""),
            name=unquote(database.path.lstrip("/")),
            embedded=embedded,
        ),
        VALKEY: Server(
            path=unquote(broker.path) if broker.scheme == "unix" else "",
            host=broker.hostname or "localhost",
            port=broker.port or 6379,
            user=unquote(broker.username or ""),
            password=unquote(broker.password or ""),
            name="0",
        ),
    }


def serve(listener: socket.socket, key: Certificate) -> None:
    """Keep the gate until told to stop."""
    behind = servers(Home(path=settings.AO_HOME), settings.DATABASE_URL, settings.REDIS_URL)
    asyncio.run(Keeper(behind=behind, code=code()).keep(listener, key))


@dataclass(slots=True, kw_only=True)
class Keeper:
    """Lets in who may come in, and puts out who may not any more."""

    behind: Mapping[str, Server]
    code: str
    _inside: dict[asyncio.Future[None], Opening] = field(default_factory=dict)
    _knocking: int = 0

    async def keep(self, listener: socket.socket, key: Certificate) -> None:
        """Until the process ends."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(key.path)
        server = await asyncio.start_server(
            self._knock, sock=listener, ssl=context, ssl_handshake_timeout=crossing.OPENING_SECONDS, limit=crossing.LINE
        )
        async with server:
            while True:
                await asyncio.sleep(LOOK_EVERY)
                await self._put_out()

    async def _knock(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection. What is wrong with it is told to its other end and to the log."""
        outside = Stream(reader, writer)
        try:
            found = await self._let_in(outside) if self._knocking < MOST_KNOCKING else None
            if found is not None:
                await self._through(outside, *found)
        finally:
            outside.close()

    async def _let_in(self, outside: Stream) -> tuple[Opening, Stream] | None:
        self._knocking += 1
        try:
            crossing.keep_alive(outside.writer)
            return await self._opened(outside, outside.writer.get_extra_info("peername")[0])
        except (NotALine, OSError) as error:
            logger.info("nobody was let in", extra={"why": str(error)})
            return None
        finally:
            self._knocking -= 1

    async def _through(self, outside: Stream, opening: Opening, inside: Stream) -> None:
        through = asyncio.ensure_future(crossing.join_up(outside, inside))
        self._inside[through] = opening
        try:
            await through
        finally:
            self._inside.pop(through, None)

    async def _opened(self, outside: Stream, peer: str) -> tuple[Opening, Stream] | None:
        """Who it is, and the server that it gets through to; None where it gets through to none, and was told why."""
        opening = crossing.opening_of(await outside.line())
        try:
            answer = await asyncio.to_thread(self._answer, opening, peer)
        except NotAdmitted as refused:
            logger.warning("a machine was refused", extra={"host": opening.host, "peer": peer, "why": str(refused)})
            await outside.send(crossing.line_of({"refused": str(refused)}))
            return None
        except DatabaseTrouble as error:
            logger.warning("the gate waits for the database", extra={"error": str(error)})
            await outside.send(crossing.line_of({"trouble": "the service's database does not answer"}))
            return None
        await outside.send(crossing.line_of({"ok": answer}))
        server = self.behind.get(opening.to)
        if server is None:
            return None
        first = await startup.checked(outside.reader, user=server.user) if server.embedded else b""
        inside = await server.connect()
        await inside.send(first)
        return opening, inside

    def _answer(self, opening: Opening, peer: str) -> dict[str, object]:
        """What one who may come in is told. Raises `NotAdmitted`."""
        try:
            spares.recognised(name=opening.host, secret=opening.secret)
            self._must_agree(opening)
            spares.admit(
                name=opening.host, secret=opening.secret, machine=opening.machine, peer=peer, now=timezone.now()
            )
        finally:
            connection.close()
        if opening.to != HELLO:
            return {}
        logins = {name: server.login for name, server in self.behind.items()}
        return {"at": time.time(), "base_url": settings.AO_BASE_URL, **logins}

    def _must_agree(self, opening: Opening) -> None:
        if opening.code != self.code:
            raise NotAdmitted(
                f"the service is {self.code} and this is {opening.code}: check out the same version on both machines, "
                "then start the worker again"
            )

    async def _put_out(self) -> None:
        """Whoever is not known any more is out."""
        for one in {(opening.host, opening.secret) for opening in self._inside.values()}:
            known = True
            with suppress(DatabaseTrouble):
                known = await asyncio.to_thread(_still_known, *one)
            for through, opening in list(self._inside.items()):
                if not known and (opening.host, opening.secret) == one:
                    through.cancel()


def _still_known(host: str, secret: str) -> bool:
    try:
        spares.recognised(name=host, secret=secret)
    except NotAdmitted:
        return False
    finally:
        connection.close()
    return True
