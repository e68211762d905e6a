"""The embedded Postgres and Valkey: fresh, killed, half made, misplaced, refused."""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from django.conf import settings

from ops.local import binaries, server, servers, valkey
from ops.local import home as homes
from ops.local.errors import CannotRun
from ops.local.home import Home
from ops.local.servers import Servers

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home() -> Iterator[Home]:
    # pytest's own folders are closed to the account under which root runs the servers.
    with tempfile.TemporaryDirectory(prefix="ao-t-") as folder:
        yield homes.prepare(Path(folder) / "home")


@pytest.fixture
def pair(home: Home) -> Iterator[Servers]:
    Path(home.path.parent).chmod(0o711)
    started = servers.start(home)
    yield started
    started.stop()


def until(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def write(pair: Servers, number: int) -> None:
    with psycopg.connect(pair.addresses.database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (number int)")
        connection.execute("INSERT INTO kept VALUES (%s)", [number])


def written(pair: Servers) -> list[int]:
    with psycopg.connect(pair.addresses.database_url) as connection:
        return [row[0] for row in connection.execute("SELECT number FROM kept ORDER BY number")]


def process_of(server: servers.Server) -> psutil.Process:
    assert server.process is not None
    return psutil.Process(server.process.pid)


def test_this_test_run_has_a_real_postgres_and_a_real_valkey() -> None:
    with psycopg.connect(settings.DATABASE_URL) as connection:
        row = connection.execute("SHOW server_version_num").fetchone()
    assert row is not None
    assert int(row[0]) > 150000
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        assert client.ping()


def test_the_servers_listen_on_private_sockets_and_on_no_port(pair: Servers) -> None:
    listening = [
        connection
        for server in (pair.postgres, pair.valkey)
        for connection in process_of(server).net_connections(kind="inet")
    ]
    assert listening == []
    for folder in ("postgres", "valkey"):
        assert stat.S_IMODE((pair.home.run / folder).stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other accounts to use")
def test_as_root_the_servers_run_as_an_account_that_is_not_root(pair: Servers) -> None:
    assert process_of(pair.postgres).uids().effective != 0
    assert process_of(pair.valkey).uids().effective != 0
    assert (pair.home.data / "postgres").stat().st_uid == process_of(pair.postgres).uids().effective


def test_what_was_committed_survives_kill_9_of_both_and_they_are_started_again(pair: Servers) -> None:
    write(pair, 1)
    for one in (pair.postgres, pair.valkey):
        os.kill(process_of(one).pid, signal.SIGKILL)
    until(lambda: not pair.postgres.running and not pair.valkey.running)
    assert pair.tend() == ["Postgres", "Valkey"]
    assert written(pair) == [1]
    assert pair.tend() == []


def test_the_servers_die_with_a_killed_supervisor_and_the_next_start_has_everything(home: Home) -> None:
    home.path.parent.chmod(0o711)
    script = (
        "import sys, time; from pathlib import Path; from ops.local import home, servers\n"
        "h = home.prepare(Path(sys.argv[1])); lock = home.locked(h); lock.__enter__(); servers.start(h)\n"
        "print('up', flush=True); time.sleep(60)"
    )
    supervisor = subprocess.Popen(
        [sys.executable, "-c", script, str(home.path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    assert supervisor.stdout.readline() == "up\n"
    addresses = servers.addresses(home)
    with psycopg.connect(addresses.database_url) as connection:
        connection.execute("CREATE TABLE kept (number int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    children = psutil.Process(supervisor.pid).children()
    assert len(children) == 2
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    with homes.locked(home):
        again = servers.start(home)
        try:
            assert written(again) == [7]
        finally:
            again.stop()
    until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children))


def test_a_valkey_that_is_slow_to_end_takes_nothing_from_its_successor(
    home: Home, pair: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pair.valkey.process
    assert first is not None
    first.send_signal(signal.SIGSTOP)
    first.terminate()  # as when its supervisor was killed; it will hear of it and remove its socket later
    successor = valkey.server(home, pair.valkey.account)
    monkeypatch.setattr(server, "PREDECESSOR_SECONDS", 0.2)
    with pytest.raises(CannotRun, match="an earlier Valkey still runs"):
        successor.launch()
    monkeypatch.undo()
    first.send_signal(signal.SIGCONT)
    try:
        successor.launch()
        successor.wait()
        assert first.poll() is not None
    finally:
        successor.stop()


def test_a_start_that_was_killed_while_it_made_the_database_leaves_nothing_in_the_way(home: Home) -> None:
    home.path.parent.chmod(0o711)
    half = home.data / "postgres.making-1"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    pair = servers.start(home)
    try:
        write(pair, 1)
        assert written(pair) == [1]
        assert not half.exists()
    finally:
        pair.stop()


def test_a_deep_home_keeps_its_sockets_in_a_short_private_folder() -> None:
    with tempfile.TemporaryDirectory(prefix="ao-t-") as folder:
        Path(folder).chmod(0o711)
        home = homes.prepare(Path(folder) / ("d" * 60) / ("e" * 60))
        for part in (Path(folder) / ("d" * 60), home.path):
            part.chmod(0o711)
        pair = servers.start(home)
        try:
            write(pair, 1)
            assert home.path not in home.run.parents
            assert len(str(home.run)) < 80
        finally:
            pair.stop()


def test_a_valkey_that_cannot_read_its_file_begins_anew_because_it_holds_no_truth(home: Home) -> None:
    home.path.parent.chmod(0o711)
    folder = home.data / "valkey" / "appendonlydir"
    folder.mkdir(parents=True)
    (folder / "appendonly.aof.manifest").write_text("this is no manifest\n")
    pair = servers.start(home)
    try:
        with redis.Redis.from_url(pair.addresses.redis_url) as client:
            assert client.ping()
        assert (home.data / "valkey.unreadable" / "appendonlydir").exists()
    finally:
        pair.stop()


def test_a_second_start_is_told_which_process_holds_which_home(home: Home) -> None:
    with homes.locked(home):
        assert homes.holder(home) == os.getpid()
        with (
            pytest.raises(CannotRun, match=rf"already running: process {os.getpid()} holds {home.path}.*ao stop"),
            homes.locked(home),
        ):
            pass
    assert homes.holder(home) is None


def test_a_home_that_a_newer_version_wrote_is_refused(home: Home) -> None:
    (home.path / "version.json").write_text('{"format": 99, "version": "9.9"}')
    with pytest.raises(CannotRun, match=r"was written by version 9\.9.*Upgrade this program"):
        homes.prepare(home.path)


def test_a_database_of_another_postgres_is_refused_and_left_alone(home: Home) -> None:
    (home.data / "postgres").mkdir()
    (home.data / "postgres" / "PG_VERSION").write_text("12\n")
    with pytest.raises(CannotRun, match="belongs to PostgreSQL 12; the programs found here are"):
        servers.launch(home)
    assert (home.data / "postgres" / "PG_VERSION").read_text() == "12\n"


def test_a_full_disk_is_said_before_a_server_dies_of_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes, "NEEDED_BYTES", 2**70)
    with pytest.raises(CannotRun, match=r"MiB are free where .* is, and at least"):
        servers.launch(home)


def test_a_failed_start_shows_the_last_words_and_two_ways_out(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.path.parent.chmod(0o711)
    servers.start(home).stop()
    with (home.data / "postgres" / "postgresql.conf").open("a") as configuration:
        configuration.write("no_such_setting = 1\n")
    monkeypatch.setattr("ops.local.server.TRIES", 2)
    with pytest.raises(CannotRun) as refusal:
        servers.start(home)
    assert "no_such_setting" in str(refusal.value)
    assert "Two ways out" in str(refusal.value)
    assert "DATABASE_URL" in str(refusal.value)


def test_programs_of_ones_own_that_are_not_there_are_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AO_PG_BIN", "/nowhere")
    with pytest.raises(CannotRun, match="AO_PG_BIN=/nowhere"):
        binaries.postgres(home)
    monkeypatch.setenv("AO_REDIS_BIN", "/nowhere")
    with pytest.raises(CannotRun, match="AO_REDIS_BIN=/nowhere"):
        binaries.valkey(home)


def test_the_secret_key_is_made_once_and_private(home: Home) -> None:
    key = homes.secret_key(home)
    assert len(key) >= 50
    assert homes.secret_key(home) == key
    assert stat.S_IMODE((home.path / "secret.key").stat().st_mode) == 0o600


def test_a_home_of_somebody_else_is_not_taken_over(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(CannotRun, match="belongs to somebody else"):
        homes.prepare(home.path)


def test_a_socket_path_is_never_longer_than_the_kernel_takes(home: Home) -> None:
    assert len(str(home.run / "postgres" / ".s.PGSQL.5432.lock")) < 108
    with socket.socket(socket.AF_UNIX) as probe, pytest.raises(OSError, match="too long"):
        probe.bind(str(home.path / ("x" * 120)))
