"""How a program is started: forked from us, as its account, without our files, privileges or environment."""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from workers.hostkit import processes
from workers.hostkit.errors import Unstartable

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROCESSES = 4096  # of one account of the pool, threads included
FILES = 65536
CHANGED = (
    *(signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP),  # a shell's background programs ignore some
    *(signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ),
)


class Account(NamedTuple):
    """Who a program runs as. `own` says that nobody else runs as it."""

    name: str
    uid: int
    gid: int
    own: bool


class Plan(NamedTuple):
    """What to execute. `drop`: become the account first (the privileged sandbox drops by itself)."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    account: Account
    drop: bool = True


def default_path() -> str:
    """Where programs are looked up: our own PATH, and where we are root only what others may read."""
    if os.getuid() == 0:
        return SYSTEM_PATH
    return os.environ.get("PATH") or SYSTEM_PATH


def find_program(name: str) -> str | None:
    """Where a program is, anywhere on the PATH that we were started with."""
    for folder in (os.environ.get("PATH") or SYSTEM_PATH).split(":") + SYSTEM_PATH.split(":"):
        candidate = Path(folder, name)
        if folder and candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    return None


def spawn(plan: Plan, *, stdin: int, stdout: int, stderr: int) -> int:
    """Start a program in a session of its own that dies with us; its pid. Raises `Unstartable` when it cannot be executed."""
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(plan, stdin, stdout, stderr, writing, parent)
    os.close(writing)
    failure = os.read(reading, 4096).decode(errors="replace")
    os.close(reading)
    if failure:
        os.waitpid(pid, 0)
        raise Unstartable(failure)
    return pid


def _become(plan: Plan, stdin: int, stdout: int, stderr: int, failures: int, parent: int) -> None:
    """In the child: turn into the program, or say why not. Never returns."""
    words = "the program could not be executed"
    try:
        os.setsid()
        _stand_alone(stdin, stdout, stderr, failures)
        os.umask(0o077)
        _limit(plan.account)
        if plan.drop:
            drop(plan.account)
        # After the change of account, which would clear it.
        processes.prctl(processes.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(127)
        os.chdir(plan.cwd)
        os.execvpe(plan.argv[0], list(plan.argv), plan.env)
    except (OSError, ValueError) as error:
        named = getattr(error, "filename", None) or plan.argv[0]
        words = f"{named}: {getattr(error, 'strerror', None) or error}"
    finally:
        os.write(failures, words.encode()[:2000])
        os._exit(127)


def drop(account: Account) -> None:
    """Become that account for good, without a way back."""
    if os.getuid() == 0 and account.uid != 0:
        os.setgroups([])
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
    processes.prctl(processes.PR_SET_NO_NEW_PRIVS, 1)


def _stand_alone(stdin: int, stdout: int, stderr: int, failures: int) -> None:
    """Nothing of ours is inherited: neither files nor the way signals are treated."""
    for target, source in enumerate((stdin, stdout, stderr)):
        os.dup2(source, target)
    close_all_but({0, 1, 2, failures})
    default_signals()


def default_signals() -> None:
    """Undo what the interpreter and we changed."""
    for number in CHANGED:
        processes.default_signal(number)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def close_all_but(kept: Iterable[int]) -> None:
    """Close every open file except `kept`."""
    keep = set(kept)
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            try:
                os.close(int(name))
            except OSError:
                continue  # the listing's own


def _limit(account: Account) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_NOFILE, FILES)
    if account.own:
        _lower(resource.RLIMIT_NPROC, PROCESSES)


def _lower(what: int, limit: int) -> None:
    _, hard = resource.getrlimit(what)
    ceiling = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(what, (ceiling, ceiling))


def run_short(argv: tuple[str, ...], *, timeout: float, account: Account | None = None) -> tuple[bool, str]:
    """Run a small program of the system: whether it ended well and in time, and its merged output (64 KiB at most)."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            null = os.open(os.devnull, os.O_RDONLY)
            _stand_alone(null, writing, writing, 2)
            if account is not None:
                drop(account)
            os.execvpe(argv[0], list(argv), {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"})
        finally:
            os._exit(127)
    os.close(writing)
    output, until = b"", time.monotonic() + timeout
    try:
        while len(output) < 65536:
            ready, _, _ = select.select([reading], [], [], max(0.0, until - time.monotonic()))
            piece = os.read(reading, 65536) if ready else b""
            if not piece:
                break
            output += piece
        if time.monotonic() >= until:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(reading)
    return status == 0, output.decode(errors="replace").strip()
