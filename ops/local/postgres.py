"""The embedded Postgres: the truth of one installation, durable and reachable through a private socket only."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psycopg

from ops.local import binaries
from ops.local.accounts import Account
from ops.local.errors import CannotRun
from ops.local.home import Home
from ops.local.server import PLAIN, Server

DATABASE = "ao"
WORKER = "ao_worker"  # as whom machines that join come: they have our rows, and nothing of the server or of its machine
_GRANTS = (
    f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {WORKER}",
    f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {WORKER}",
)


def server(home: Home, account: Account, *, durable: bool) -> Server:
    """Prepare Postgres: programs, cluster, sockets."""
    programs = binaries.postgres(home)
    sockets = home.run / "postgres"
    account.own(sockets)
    cluster = make_cluster(home, programs, account)
    forget_stale_pid(cluster)
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
        "shared_buffers": "64MB",
        "max_connections": "200",
        "logging_collector": "off",
        "log_min_messages": "warning",
        "log_timezone": "UTC",
        # Processes that one machine's database of this size has no work for.
        "max_logical_replication_workers": "0",
        **({"io_method": "sync"} if programs.major >= 18 else {}),
        "fsync": "on" if durable else "off",
    }
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return Server(
        name="Postgres",
        arguments=[str(programs.folder / "postgres"), "-D", str(cluster), *words],
        account=account,
        log=home.logs / "postgres.log",
        stop_signal=signal.SIGINT,
        ready=lambda: database_answers(home),
    )


def make_cluster(home: Home, programs: binaries.PostgresPrograms, account: Account) -> Path:
    """Make the database cluster once.

    It is made aside and renamed when whole: its version file appears early, so a start that was killed would otherwise
    leave half a cluster that looks complete.
    """
    cluster = home.data / "postgres"
    if (cluster / "PG_VERSION").exists():
        found = (cluster / "PG_VERSION").read_text().strip()
        if found != str(programs.major):
            raise CannotRun(
                f"the database in {cluster} belongs to PostgreSQL {found}; the programs found here are {programs.major}. "
                f"Point AO_PG_BIN at the programs of PostgreSQL {found}, or choose another home with --home DIR.",
            )
        account.own(cluster)
        return cluster
    for leftover in home.data.glob("postgres.making*"):
        shutil.rmtree(leftover)
    aside = home.data / f"postgres.making-{os.getpid()}"
    account.own(aside)
    made = subprocess.run(
        [*account.prefix, str(programs.folder / "initdb"), "-D", str(aside), "-U", "ao", "-A", "trust", "-E", "UTF8",
         *locale(programs.major), "--no-instructions"],
        capture_output=True, text=True, check=False, cwd="/", timeout=300, env=PLAIN,
        user=account.user, group=account.group, extra_groups=account.extra_groups,
    )  # fmt: skip
    if made.returncode != 0:
        told = "\n".join(f"  {line}" for line in (made.stdout + made.stderr).strip().splitlines()[-12:])
        shutil.rmtree(aside, ignore_errors=True)
        raise CannotRun(f"the database could not be made. The last words of initdb:\n{told}\n{binaries.WAYS_OUT}")
    aside.rename(cluster)
    return cluster


def locale(major: int) -> list[str]:
    """Choose a locale that is the same on every machine and knows the letters of all languages."""
    if major >= 17:
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    return ["--locale=C.UTF-8"] if sys.platform == "linux" else ["--locale=C"]


def forget_stale_pid(cluster: Path) -> None:
    """Remove a pid file whose process is something else by now; we hold the home's lock, so it is nobody's."""
    file = cluster / "postmaster.pid"
    try:
        pid = int(file.read_text().splitlines()[0])
        program = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError, IndexError):
        return
    if program != "postgres":
        file.unlink(missing_ok=True)


def database_answers(home: Home) -> bool:
    """Tell whether Postgres takes connections."""
    try:
        psycopg.connect(host=str(home.run / "postgres"), user="ao", dbname="postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def create_database(home: Home) -> None:
    """Make our database in a fresh cluster."""
    with psycopg.connect(host=str(home.run / "postgres"), user="ao", dbname="postgres", autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(f"CREATE DATABASE {DATABASE}")


def allow_workers(home: Home) -> None:
    """Let machines that join work on our tables, as they are after the migrations."""
    with psycopg.connect(host=str(home.run / "postgres"), user="ao", dbname=DATABASE, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [WORKER]).fetchone():
            connection.execute(f"CREATE ROLE {WORKER} LOGIN")
        for grant in _GRANTS:
            connection.execute(grant)
