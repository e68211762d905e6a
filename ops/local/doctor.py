"""`ao doctor`: looks at this machine and says what to do about what is wrong."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ops.local import accounts, binaries, door, joining, tunnel
from ops.local import home as homes
from ops.local.errors import CannotRun
from ops.local.home import Home
from ops.local.register import INSTALL, PROGRAMS


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    verdict: str
    advice: str = ""
    grave: bool = False

    @property
    def told(self) -> str:
        """The finding as a line."""
        mark = "WRONG" if self.grave else "note " if self.advice else "ok   "
        return f"{mark} {self.subject}: {self.verdict}" + (f"\n      {self.advice}" if self.advice else "")


def examine(home: Path, port: int) -> list[Finding]:
    """Look at everything that a start needs."""
    belongs = homes.Home(path=home)
    if belongs.membership_file.exists():
        return [*programs(), *place(home), *membership(belongs), *agents()]
    return [*programs(), *place(home), *own_or_embedded(home), *door_of_the_web(home, port), *agents()]


def membership(home: Home) -> Iterator[Finding]:
    """What this machine joined, and whether it may still come in."""
    try:
        own = joining.joined(home)
        if own is None:
            return
        tunnel.greet(own)
    except (CannotRun, tunnel.Refused) as error:
        yield Finding(subject="joined", verdict="not let in", advice=str(error), grave=True)
    except tunnel.Shut as shut:
        yield Finding(subject="joined", verdict="cut off", advice=f"{shut}. The worker tries on by itself.")
    else:
        yield Finding(subject="joined", verdict=f"as {own.link.host}, at {own.link.address}:{own.link.port}")


def programs() -> Iterator[Finding]:
    """Python and git."""
    yield Finding(subject="python", verdict=sys.version.split()[0])
    git = shutil.which("git")
    if git is None:
        yield Finding(
            subject="git", verdict="not installed", advice="Install it: apt install git, brew install git.", grave=True
        )
        return
    version = subprocess.run([git, "--version"], capture_output=True, text=True, check=False, timeout=10)
    yield Finding(subject="git", verdict=version.stdout.strip().removeprefix("git version "))
    works = sandbox_in_use()
    advice = "" if works else "Install bubblewrap (apt install bubblewrap), so that sessions cannot see each other."
    yield Finding(subject="sandbox", verdict="bubblewrap" if works else "none", advice=advice)


def sandbox_in_use() -> bool:
    """Tell whether sessions can be kept apart here: tried, because a kernel or a container may forbid it."""
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        return False
    words = [bubblewrap, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--unshare-pid", "true"]
    return subprocess.run(words, capture_output=True, check=False, timeout=10).returncode == 0


def place(home: Path) -> Iterator[Finding]:
    """The home and its disk."""
    try:
        prepared = homes.prepare(home)
        homes.refuse_full_disk(prepared)
    except CannotRun as error:
        yield Finding(subject="home", verdict=str(home), advice=str(error), grave=True)
        return
    free = shutil.disk_usage(home).free // 2**30
    yield Finding(subject="home", verdict=f"{home}, {free} GiB free")
    pid = homes.holder(prepared)
    yield Finding(subject="service", verdict=f"running as process {pid}" if pid else "not running")


def own_or_embedded(home: Path) -> Iterator[Finding]:
    """Where the database and the broker come from."""
    try:
        if door.own_servers():
            yield Finding(subject="servers", verdict="those of DATABASE_URL and REDIS_URL")
            return
        prepared = homes.prepare(home)
        account = accounts.choose()
        postgres = binaries.postgres(prepared)
        valkey = binaries.valkey(prepared)
    except CannotRun as error:
        yield Finding(subject="servers", verdict="cannot be started", advice=str(error), grave=True)
        return
    yield Finding(
        subject="servers", verdict=f"PostgreSQL {postgres.major} and {valkey.name}, as account {account.name}"
    )


def door_of_the_web(home: Path, port: int) -> Iterator[Finding]:
    """The web's port."""
    if homes.holder(homes.Home(path=home)) is not None:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((os.environ.get("AO_BIND", "127.0.0.1"), port))
        except OSError as error:
            advice = "Start with --port N (0: any free one)."
            yield Finding(subject=f"port {port}", verdict=str(error.strerror), advice=advice, grave=True)
            return
    yield Finding(subject=f"port {port}", verdict="free")


def agents() -> Iterator[Finding]:
    """The coding agents' programs."""
    for agent, (program, _) in PROGRAMS.items():
        path = shutil.which(program)
        advice = "" if path else f"To use it: {INSTALL[agent]}"
        yield Finding(subject=agent, verdict=path or "not installed", advice=advice)
