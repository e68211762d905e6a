"""The tree of processes that `ao start` forks from one imported Django, and keeps alive.

Agents and the programs that watch them are not in this tree: they live on when it ends, and are found again.
"""

import gc
import logging
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

from ops.local.errors import CannotRun
from ops.local.server import die_with_parent

logger = logging.getLogger(__name__)

# A process that lived this long was well: its next death is a new one.
WELL_AFTER = 10.0
LONGEST_PAUSE = 30.0
STOP_PATIENCE = 12.0
LOOK_EVERY = 1.0
LARGEST_LOG = 20 * 1024 * 1024


class Stopped(BaseException):
    """Raised where the supervisor stands when it is told to stop."""


@dataclass(slots=True, kw_only=True)
class Child:
    """One process of the tree: what it does, and how it has fared."""

    name: str
    body: Callable[[], None]
    log: Path
    pid: int | None = None
    started: float = 0.0
    failures: int = 0
    not_before: float = 0.0

    def fork(self, descriptors: list[int]) -> None:
        """Start it as a copy of this process, without the descriptors that are the supervisor's own."""
        sys.stdout.flush()
        sys.stderr.flush()
        # An orderly stop says so first; without its supervisor a child would hold the port, and two of it might run after a restart.
        prepare = die_with_parent(signal.SIGKILL)
        self.started = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            run_forked(self, descriptors, prepare)

    def died(self) -> int | None:
        """Reap it when it has ended: gives its exit code (a signal's number as a negative one)."""
        if self.pid is None:
            return None
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            pid, status = self.pid, 0
        if pid == 0:
            return None
        self.pid = None
        lived = time.monotonic() - self.started
        self.failures = 1 if lived > WELL_AFTER else self.failures + 1
        pause = 0.0 if lived > WELL_AFTER else min(LONGEST_PAUSE, 0.25 * 2**self.failures)
        self.not_before = time.monotonic() + pause
        return os.waitstatus_to_exitcode(status)


def run_forked(child: Child, descriptors: list[int], prepare: Callable[[], None]) -> None:
    """Become the child: never returns."""
    code = 1
    try:
        prepare()
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for descriptor in descriptors:
            os.close(descriptor)
        log = os.open(child.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ["AO_PROCESS"] = f"ao-{child.name}"
        child.body()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    finally:
        trouble = sys.exc_info()[1]
        if trouble is not None:
            traceback.print_exception(trouble)
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: what the parent registered to do at its exit is not the child's to do.
        os._exit(code)


class Needed(Protocol):
    """What the children need for as long as they run: servers, or the way to them."""

    def tend(self) -> list[str]:
        """Start again what has died, and answer its names."""
        ...

    def stop(self) -> None:
        """End it."""
        ...


@dataclass(slots=True, kw_only=True)
class Tree:
    """The supervisor: forks the children, starts again whatever dies, stops everything in order."""

    children: list[Child]
    servers: Needed | None
    keep_from_children: list[int] = field(default_factory=list)

    def start(self) -> None:
        """Fork every child. Nothing in this process may have started a thread before."""
        # What is here now is shared with the children page by page; the collector would touch, and so copy, all of it.
        gc.collect()
        gc.freeze()
        for child in self.children:
            child.fork(self.keep_from_children)

    def tend(self, waker: int) -> None:
        """Look after servers and children until `Stopped` is raised."""
        while True:
            self.tend_once()
            select.select([waker], [], [], LOOK_EVERY)
            drain(waker)

    def tend_once(self) -> None:
        """Start again what has died, the servers first."""
        try:
            for name in self.servers.tend() if self.servers else ():
                logger.warning("restarted", extra={"program": name})
        except CannotRun as error:
            logger.error("a server does not start again; trying on", extra={"why": str(error)})
        for child in self.children:
            code = child.died()
            if code is not None:
                logger.warning("a process ended", extra={"program": child.name, "code": code, "log": str(child.log)})
            if child.pid is None and time.monotonic() >= child.not_before:
                child.fork(self.keep_from_children)

    def stop(self) -> None:
        """End the children, then the servers they need."""
        for child in self.children:
            send(child, signal.SIGTERM)
        deadline = time.monotonic() + STOP_PATIENCE
        while any(child.pid is not None and child.died() is None for child in self.children):
            if time.monotonic() > deadline:
                for child in self.children:
                    send(child, signal.SIGKILL)
            time.sleep(0.02)
        if self.servers:
            self.servers.stop()


def send(child: Child, number: signal.Signals) -> None:
    """Send a signal to a child that has not been reaped."""
    if child.pid is not None:
        os.kill(child.pid, number)


def drain(waker: int) -> None:
    """Forget the wake-ups that have been heeded."""
    try:
        while os.read(waker, 4096):
            pass
    except BlockingIOError:
        return


@contextmanager
def told_to_stop() -> Iterator[tuple[int, int]]:
    """Raise `Stopped` on Ctrl-C, SIGTERM and SIGHUP, once; gives the pipe that every signal, a child's death too, wakes."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else plain_pipe()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(_number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped

    handlers = {number: signal.signal(number, stop) for number in numbers}
    handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        yield reader, writer
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def plain_pipe() -> tuple[int, int]:
    """Make a pipe that never blocks, where there is no call for it."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer


def rotated(log: Path) -> Path:
    """Put a log that has grown too large aside, one generation of it."""
    if log.exists() and log.stat().st_size > LARGEST_LOG:
        log.replace(log.with_suffix(".log.1"))
    return log
