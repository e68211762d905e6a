"""T23: what listens, and what the gate lets through: machines with a link, to two servers, and nobody else to anything."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import ssl
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from ops.local import home as homes
from ops.local import tunnel
from ops.local.crossing import POSTGRES, VALKEY
from ops.local.release import code
from orchestrator.domain.links import Link, parse
from tests.ops.installed import Installation, installation, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def startup(*words: str) -> bytes:
    """libpq's first packet, in protocol 3.0."""
    body = (3 << 16).to_bytes(4, "big") + b"".join(word.encode() + b"\0" for word in words) + b"\0"
    return (len(body) + 4).to_bytes(4, "big") + body


STARTUP = startup("user", "ao", "database", "ao")  # the superuser, whom Postgres would trust on its private socket
WORKER = startup("user", "ao_worker", "database", "ao")
GATE = "127.0.0.2"


@pytest.fixture(scope="module")
def service() -> Iterator[Installation]:
    """A service whose gate is open."""
    with installation() as made:
        made.start("--listen", f"{GATE}:0")
        yield made


def listening(service: Installation) -> set[tuple[str, int]]:
    """Where any process of the service takes connections from a network."""
    found = [one for process in service.processes() for one in connections(process)]
    return {(one.laddr.ip, one.laddr.port) for one in found if one.status == psutil.CONN_LISTEN}


def connections(process: psutil.Process) -> list[Any]:
    try:
        return list(process.net_connections(kind="inet"))
    except psutil.NoSuchProcess:  # Postgres begins and ends one for each connection
        return []


def web(service: Installation) -> tuple[str, int]:
    return "127.0.0.1", int(service.url.rpartition(":")[2])


def gate(service: Installation) -> tuple[str, int]:
    (found,) = listening(service) - {web(service)}
    return found


def linked(service: Installation, name: str) -> Link:
    made = service.ao("host", "link", name, "--home", str(service.home))
    assert made.returncode == 0, made.stderr
    assert "secret" in made.stderr
    return parse(made.stdout)


def passed(link: Link, *, machine: str = "", ours: str = "") -> tunnel.Pass:
    return tunnel.Pass(link=link, machine=machine or secrets.token_urlsafe(8), code=ours or code())


def through(own: tunnel.Pass, to: str, words: bytes) -> bytes:
    """What a server answers to these words."""

    async def ask() -> bytes:
        stream, _ = await tunnel.cross(own, to)
        try:
            await stream.send(words)
            async with asyncio.timeout(10):
                return await stream.reader.read(1000)
        except OSError:
            return b""
        finally:
            await stream.hang_up()

    return asyncio.run(ask())


def said_to(address: tuple[str, int], words: bytes, *, over_tls: bool) -> bytes:
    """All that comes back to a stranger until the other end hangs up."""
    with socket.create_connection(address, timeout=15) as plain:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain) if over_tls else plain as connection:
            try:
                connection.sendall(words)
                return b"".join(iter(lambda: connection.recv(4096), b""))
            except OSError:
                return b""


def test_t23_without_being_asked_nothing_listens_but_the_web_and_that_for_this_machine_only() -> None:
    with installation() as service:
        service.start()
        assert listening(service) == {web(service)}
        refused = service.ao("host", "link", "spare", "--home", str(service.home))
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "ao start --listen ADDRESS" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_t23_an_open_gate_is_one_port_more_and_the_servers_stay_on_private_sockets(service: Installation) -> None:
    assert listening(service) == {web(service), gate(service)}
    assert gate(service)[0] == GATE
    servers = [one for one in service.supervisor().children() if one.name() in {"postgres", "valkey-server"}]
    assert len(servers) == 2
    assert not any(connections(process) for process in servers)


@pytest.mark.parametrize("over_tls", [False, True])
@pytest.mark.parametrize(
    "words",
    [
        STARTUP,
        b"PING\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\n",
        b"null\n",
        b'{"host": "spare"}\n',
        b'{"host": 1, "secret": [], "machine": {}, "code": null, "to": "postgres"}\n',
        b"{" * 10_000 + b"\n",
        b"x" * 100_000,
        json.dumps({"host": "../", "secret": "\ud800", "machine": "m", "code": code(), "to": "postgres"}).encode()
        + b"\n",
    ],
    ids=["postgres", "valkey", "http", "empty", "null", "half", "types", "deep", "long", "hostile"],
)
def test_t23_a_stranger_gets_nothing_from_the_gate(service: Installation, words: bytes, over_tls: bool) -> None:
    answer = said_to(gate(service), words, over_tls=over_tls)
    assert answer == b"" or b"refused" in answer or not over_tls
    assert b"PONG" not in answer
    assert b"SCRAM" not in answer
    assert listening(service) == {web(service), gate(service)}


def test_a_link_opens_both_servers_and_no_other_door(service: Installation) -> None:
    own = passed(linked(service, "both"))
    greeting = tunnel.greet(own)
    assert greeting[POSTGRES]["name"] == "ao"
    assert through(own, POSTGRES, WORKER).startswith(b"R")
    assert through(own, VALKEY, b"PING\r\n") == b"+PONG\r\n"
    assert through(own, "web", b"GET / HTTP/1.1\r\n\r\n") == b""


@pytest.mark.parametrize(
    "words",
    [
        STARTUP,
        startup("user", "ao_worker", "user", "ao", "database", "ao"),
        startup("user", "ao", "", "user", "ao_worker"),
        startup("database", "ao"),
        startup("user", "ao_worker", "", "user", "ao"),
        (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big"),
        b"\x7f\xff\xff\xff" + b"x" * 100,
        b"\0\0\0\0",
    ],
    ids=["superuser", "twice", "hidden", "nobody", "behind", "tls", "huge", "tiny"],
)
def test_who_is_let_in_comes_to_postgres_as_a_worker_and_as_nobody_else(service: Installation, words: bytes) -> None:
    own = passed(linked(service, f"as-{secrets.token_hex(4)}"))
    assert through(own, POSTGRES, words) == b""


def test_a_worker_has_rows_and_nothing_of_the_server(service: Installation) -> None:
    folder = str(service.home / "run" / "postgres")
    with psycopg.connect(host=folder, user="ao_worker", dbname="ao", autocommit=True) as worker:
        assert worker.execute("SELECT count(*) FROM orchestrator_host").fetchone() is not None
        for forbidden in (
            "COPY (SELECT 1) TO PROGRAM 'true'",
            "SELECT pg_read_file('PG_VERSION')",
            "DROP TABLE orchestrator_task",
            "SET ROLE ao",
            "CREATE ROLE other",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                worker.execute(forbidden)


def test_a_wrong_secret_another_machine_and_another_version_are_refused_in_words(service: Installation) -> None:
    link = linked(service, "words")
    with pytest.raises(tunnel.Refused, match="not one of this service's"):
        tunnel.greet(passed(replace(link, secret="wrong")))
    with pytest.raises(tunnel.Refused) as refusal:
        tunnel.greet(passed(link, ours="9.9.9 (code abc)"))
    assert code() in str(refusal.value)
    assert "9.9.9 (code abc)" in str(refusal.value)
    assert "same version on both" in str(refusal.value)
    tunnel.greet(passed(link, machine="mine"))
    with pytest.raises(tunnel.Refused, match="by another machine"):
        tunnel.greet(passed(link, machine="yours"))


def test_a_gate_that_is_not_the_one_of_the_link_hears_no_secret(service: Installation) -> None:
    link = linked(service, "pinned")
    with pytest.raises(tunnel.Refused, match="somebody is in between"):
        tunnel.greet(passed(replace(link, fingerprint="0" * 64)))
    with socket.create_server((GATE, 0)) as mute:
        elsewhere = passed(replace(link, port=mute.getsockname()[1]))
        with pytest.raises(tunnel.Shut, match="does not answer"):
            tunnel.greet(elsewhere)
    with pytest.raises(tunnel.Shut, match="cannot be reached"):
        tunnel.greet(passed(replace(link, port=1)))


def test_who_is_removed_is_out_though_connected(service: Installation) -> None:
    own = passed(linked(service, "gone"))

    async def until_hung_up() -> bytes:
        stream, _ = await tunnel.cross(own, VALKEY)
        removed = await asyncio.to_thread(service.ao, "host", "remove", "gone", "--home", str(service.home))
        assert removed.returncode == 0, removed.stderr
        async with asyncio.timeout(20):
            said = await stream.reader.read(1)
        await stream.hang_up()
        return said

    assert asyncio.run(until_hung_up()) == b""
    with pytest.raises(tunnel.Refused, match="was removed"):
        tunnel.greet(own)


def test_a_killed_gate_comes_back_with_its_certificate_and_so_does_one_of_the_next_start(service: Installation) -> None:
    own = passed(linked(service, "again"))
    tunnel.greet(own)
    log = str(service.home / "logs" / "gate.log")
    next(one for one in service.supervisor().children() if any(f.path == log for f in one.open_files())).kill()

    def answers() -> bool:
        try:
            return bool(tunnel.greet(own))
        except tunnel.Shut:
            return False

    until(answers)
    port = gate(service)[1]
    service.stop()
    service.start("--listen", f"{GATE}:{port}")
    assert answers()


def test_a_worker_that_is_on_before_its_service_waits_for_it_and_a_home_that_joined_starts_no_service(
    service: Installation, tmp_path: Path
) -> None:
    home, link = tmp_path / "there", linked(service, "early")
    homes.prepare(home)
    (home / "join.json").write_text(json.dumps(asdict(replace(link, port=1))))
    waits = service.ao("worker", "--detach", "--home", str(home))
    assert waits.returncode == 0, waits.stderr
    assert "cannot be reached" in waits.stdout
    assert "tried again" in waits.stdout
    assert service.ao("stop", "--home", str(home)).stdout == "stopped\n"
    refused = service.ao("start", "--home", str(home), "--port", "0")
    assert refused.returncode == 1
    assert "joined another service" in refused.stderr
    other = service.ao("worker", "--join", link.text(), "--home", str(service.home))
    assert other.returncode == 1
    assert "holds a service of its own" in other.stderr


def test_no_secret_of_a_link_is_in_a_log(service: Installation) -> None:
    link = linked(service, "quiet")
    own = passed(link)
    tunnel.greet(own)
    said = "".join(path.read_text(errors="replace") for path in (service.home / "logs").iterdir())
    assert "quiet" in said or said
    assert link.secret not in said
    assert link.text() not in said
    assert own.machine not in said


@pytest.mark.parametrize(
    ("words", "why"),
    [(["--listen", "a b"], "is not ADDRESS"), (["--listen", "127.0.0.1:99999"], "is not ADDRESS")],
)
def test_an_address_that_is_none_is_wrong_usage(words: list[str], why: str) -> None:
    with installation() as service:
        refused = service.ao("start", *words, "--home", str(service.home), "--port", "0")
        assert refused.returncode == 2
        assert why in refused.stderr


def test_an_address_that_is_not_this_machines_is_named() -> None:
    with installation() as service:
        refused = service.ao("start", "--listen", "203.0.113.7", "--home", str(service.home), "--port", "0")
        assert refused.returncode == 1
        assert "port 3001 on 203.0.113.7 cannot be used" in refused.stderr
        assert "--listen ADDRESS:N" in refused.stderr


def test_clocks_that_differ_too_much_are_refused_however_long_the_way_was() -> None:
    tunnel._must_agree(100.0, 95.0, 105.0)
    tunnel._must_agree(100.0, 0.0, 1000.0)
    with pytest.raises(tunnel.Refused, match="20 s behind the service's"):
        tunnel._must_agree(100.0, 79.0, 80.0)
    with pytest.raises(tunnel.Refused, match="20 s ahead of the service's"):
        tunnel._must_agree(100.0, 120.0, 121.0)
