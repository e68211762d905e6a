"""What is known about processes from /proc, and how all of a run's are killed without hitting anybody else's."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
PR_SET_CHILD_SUBREAPER = 36
BOOT_ID = "/proc/sys/kernel/random/boot_id"
ROUNDS = 20

_libc = ctypes.CDLL(None, use_errno=True)


class Process(NamedTuple):
    """One process, told from a later one with the same number by its start time (clock ticks since boot)."""

    pid: int
    start: int


class Stat(NamedTuple):
    """The few fields of /proc/PID/stat that matter here."""

    state: str
    parent: int
    start: int


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process or raise OSError."""
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def default_signal(number: int) -> None:
    """What `signal.signal(number, SIG_DFL)` does, for those who execute another program at once: without Python's own table of handlers, of
    which each touched page costs time in a child that was just forked."""
    _libc.signal(number, ctypes.c_void_p(None))


def slurp(path: str) -> bytes:
    """A whole small file by bare system calls: /proc is read thousands of times, and in guards each touched page costs memory."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        whole = b""
        while piece := os.read(handle, 65536):
            whole += piece
        return whole
    finally:
        os.close(handle)


def boot_id() -> str:
    return slurp(BOOT_ID).decode().strip()


def boottime() -> float:
    """Seconds since boot, suspension included: the clock of deadlines."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def stat(pid: int) -> Stat | None:
    """What /proc says about a process, or None when there is none."""
    try:
        text = slurp(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    return Stat(fields[0].decode(), int(fields[1]), int(fields[19]))


def me() -> Process:
    seen = stat(os.getpid())
    assert seen is not None  # noqa: S101 - a running process has an entry
    return Process(os.getpid(), seen.start)


def alive(process: Process) -> bool:
    """Whether that very process runs (a zombie does not)."""
    seen = stat(process.pid)
    return seen is not None and seen.start == process.start and seen.state not in "ZX"


def every() -> dict[int, Stat]:
    """All processes that can be seen now."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (seen := stat(int(name))) is not None:
            found[int(name)] = seen
    return found


def descendants(roots: Iterable[int], table: dict[int, Stat] | None = None) -> list[Process]:
    """The processes below `roots`, without these and without zombies, in a table that was read or in one read now."""
    table = every() if table is None else table
    children: dict[int, list[int]] = {}
    for pid, seen in table.items():
        children.setdefault(seen.parent, []).append(pid)
    found, queue = [], list(roots)
    while queue:
        for pid in children.get(queue.pop(), ()):
            queue.append(pid)
            if table[pid].state not in "ZX":
                found.append(Process(pid, table[pid].start))
    return found


def marked(marker: bytes, table: dict[int, Stat] | None = None) -> list[Process]:
    """The processes whose environment holds a variable that starts with `marker`, ourselves excepted."""
    found = []
    for pid, seen in (every() if table is None else table).items():
        if pid == os.getpid() or seen.state in "ZX":
            continue
        try:
            environment = slurp(f"/proc/{pid}/environ")
        except OSError:
            continue
        if environment.startswith(marker) or b"\0" + marker in environment:
            found.append(Process(pid, seen.start))
    return found


def kill(process: Process, number: int) -> None:
    """Signal that very process; one that is gone is fine, and its number's next owner is never hit."""
    try:
        handle = os.pidfd_open(process.pid)
    except (ProcessLookupError, OSError):
        return
    try:
        if (seen := stat(process.pid)) is not None and seen.start == process.start:
            signal.pidfd_send_signal(handle, number)
    except (ProcessLookupError, PermissionError):
        return
    finally:
        os.close(handle)


def slay(find: Callable[[], list[Process]], *, patience: float = 5.0) -> bool:
    """Kill what `find` finds until it finds nothing; False when something is left after `patience` seconds.

    Everything is stopped first, so that what forks without end cannot outrun us.
    """
    until = time.monotonic() + patience
    while victims := find():
        if time.monotonic() > until:
            return False
        known: set[Process] = set()
        for _ in range(ROUNDS):
            fresh = [victim for victim in victims if victim not in known]
            if not fresh:
                break
            for victim in fresh:
                kill(victim, signal.SIGSTOP)
            known.update(fresh)
            victims = find()
        for victim in known:
            kill(victim, signal.SIGKILL)
        time.sleep(0.001)
    return True


def childless() -> bool:
    """Collect the children that have ended; whether there is none left. Of what a reaper's child has started nothing is left then, because
    everything that outlives its parent becomes the reaper's own: the kernel knows, and the whole table need not be read."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid == 0:
            return False


def reap() -> dict[int, int]:
    """Collect every child that has ended: pid -> wait status."""
    done: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return done
        if pid == 0:
            return done
        done[pid] = status
