"""Accounts for workspaces: where hostkit is root, each workspace has a system account of its own from a machine-wide pool.

A claim is a file outside every hostkit home, because several homes share one machine's accounts. Without root everything runs as the
account that hostkit has, and there is no boundary between workspaces but the sandbox.
"""

from __future__ import annotations

import os
import pwd
import signal
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from workers.hostkit import disk, launch, processes
from workers.hostkit.errors import Unavailable
from workers.hostkit.launch import Account

CLAIMS = Path("/var/lib/ao-accounts")
PREFIX = "ao-agent-"
SHARED = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - where an account may have left files


@cache
def mine() -> Account:
    """The account that hostkit itself has."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    return Account(name, os.getuid(), os.getgid(), own=False)


@cache
def home() -> str:
    """The folder of that account; the root where it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return "/"


def acting(account: Account, act: Callable[[], None]) -> str | None:
    """Do something in a child as that account; the words of its failure, or None when it went well."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        words = ""
        try:
            launch.drop(account)
            os.umask(0o077)
            act()
        except OSError as error:
            words = str(error) or repr(error)
        finally:
            os.write(writing, (words or ".").encode()[:4000])
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        said = answers.read().decode(errors="replace")
    os.waitpid(pid, 0)
    if not said:
        return f"the child acting as {account.name} was killed"
    return None if said == "." else said


def claim(layout: disk.Layout, workspace: str, *, until: float) -> Account:
    """The workspace's account: its own from before, a free one of the pool, or a new one."""
    if os.getuid() != 0:
        return mine()
    CLAIMS.mkdir(mode=0o700, parents=True, exist_ok=True)
    with disk.locked(CLAIMS / ".lock", until=until):
        number, gap = 1, None
        wanted = {"home": str(layout.home), "workspace": workspace}
        while (CLAIMS / f"{PREFIX}{number:03d}").exists():
            name = f"{PREFIX}{number:03d}"
            holder = disk.read_json(CLAIMS / name)
            if holder == wanted:
                return _named(name)
            if gap is None and (not holder or _abandoned(holder)):
                gap = name
            number += 1
        name = gap or f"{PREFIX}{number:03d}"
        account = _made(name, until=until)
        _clear(account)
        disk.write_json(CLAIMS / name, wanted)
        return account


def release(layout: disk.Layout, workspace: str, account: Account, *, until: float) -> None:
    """Give the account back to the pool once nothing of it runs and nothing of its files lies about."""
    if not account.own:
        return
    _clear(account)
    with disk.locked(CLAIMS / ".lock", until=until):
        if disk.read_json(CLAIMS / account.name) == {"home": str(layout.home), "workspace": workspace}:
            disk.write_json(CLAIMS / account.name, {})


def kill_all(account: Account, *, patience: float = 5.0) -> None:
    """Kill every process of an account that nobody else has, at one stroke."""
    if not account.own or account.uid == 0:
        return
    until = time.monotonic() + patience
    while _runs(account):
        acting(account, lambda: os.kill(-1, signal.SIGKILL))
        if time.monotonic() > until:
            raise Unavailable(f"processes of {account.name} cannot be killed")
        time.sleep(0.002)


def _runs(account: Account) -> bool:
    for pid, seen in processes.every().items():
        try:
            if seen.state not in "ZX" and Path(f"/proc/{pid}").stat().st_uid == account.uid:
                return True
        except OSError:
            continue
    return False


def _abandoned(holder: dict[str, Any]) -> bool:
    """Whether the room that an account was claimed for is gone together with its whole home."""
    return not Path(holder["home"]).is_dir()


def _named(name: str) -> Account:
    entry = pwd.getpwnam(name)
    return Account(name, entry.pw_uid, entry.pw_gid, own=True)


def _made(name: str, *, until: float) -> Account:
    """The account with that name, created when it is missing."""
    try:
        return _named(name)
    except KeyError:
        pass
    argv = ("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent")
    _, said = launch.run_short(
        (*argv, "--shell", "/usr/sbin/nologin", name), timeout=max(1.0, until - time.monotonic())
    )
    try:
        return _named(name)
    except KeyError:
        raise Unavailable(f"the account {name} cannot be made: {said}") from None


def _clear(account: Account) -> None:
    """Nothing of an earlier use survives: neither processes nor files in the shared temporary folders."""
    kill_all(account)
    leftovers = []
    for folder in SHARED:
        try:
            with os.scandir(folder) as entries:
                leftovers += [
                    entry.path for entry in entries if entry.stat(follow_symlinks=False).st_uid == account.uid
                ]
        except OSError:
            continue
    if leftovers:
        acting(account, lambda: os.execvp("rm", ["rm", "-rf", "--one-file-system", "--", *leftovers]))
