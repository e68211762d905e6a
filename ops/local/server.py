"""One embedded server: a foreground child that dies with us, whatever kills us."""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.local import binaries
from ops.local.accounts import Account
from ops.local.errors import CannotRun

PR_SET_PDEATHSIG = 1
# After a crash Postgres replays its log first, which may take a while on a slow disk.
START_SECONDS = 120.0
# A killed Postgres leaves backends that hold its shared memory for a moment; a start meanwhile fails, and is repeated.
TRIES = 12
PREDECESSOR_SECONDS = 30.0  # that a server may take to end after its supervisor was killed
PAUSE_SECONDS = 0.25
# Servers have no use for what else is in our environment, and some of it is secret.
PLAIN = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def die_with_parent(number: signal.Signals) -> Callable[[], None]:
    """Make what a new child runs first: ask the kernel for this signal when the parent dies.

    It must be asked for after the change of uid, which clears it. Elsewhere than on Linux there is no such thing.
    """
    if sys.platform != "linux":
        return lambda: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), number)

    return ask


@dataclass(slots=True, kw_only=True)
class Server:
    """One embedded server: how it is started, how one sees that it is ready, how it ends. `lock`: a file that the program holds locked for as
    long as it lives, for one that knows nothing of a predecessor on the same folder: what that does while it ends would be done to this one."""

    name: str
    arguments: Sequence[str]
    account: Account
    log: Path
    stop_signal: signal.Signals
    ready: Callable[[], bool]
    lock: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start the program in the foreground of a session of its own, where a Ctrl-C does not reach it."""
        with self.log.open("ab") as log, self._alone() as inherited:
            self.process = subprocess.Popen(
                [*self.account.prefix, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=PLAIN,
                start_new_session=True,
                pass_fds=inherited,
                preexec_fn=die_with_parent(self.stop_signal),  # noqa: PLW1509 we have no threads yet
                user=self.account.user,
                group=self.account.group,
                extra_groups=self.account.extra_groups,
            )

    @contextmanager
    def _alone(self) -> Iterator[tuple[int, ...]]:
        """Wait until no predecessor lives, and give what the program is to inherit so that its successor can."""
        if self.lock is None:
            yield ()
            return
        with self.lock.open("a") as file:
            deadline = time.monotonic() + PREDECESSOR_SECONDS
            while not _locked(file.fileno()):
                if time.monotonic() > deadline:
                    raise CannotRun(f"an earlier {self.name} still runs on {self.lock.parent}: end it first")
                time.sleep(0.02)
            yield (file.fileno(),)

    def wait(self) -> None:
        """Return when the server answers; start it again while it fails, and say why when it never does."""
        deadline = time.monotonic() + START_SECONDS
        tries = 1
        while time.monotonic() < deadline:
            if self.ready():
                return
            if not self.running:
                if tries == TRIES:
                    break
                tries += 1
                time.sleep(PAUSE_SECONDS)
                self.launch()
            time.sleep(0.01)
        raise CannotRun(f"{self.name} did not start. Its last words:\n{last_lines(self.log)}\n{binaries.WAYS_OUT}")

    @property
    def running(self) -> bool:
        """Tell whether the program is alive."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Ask it to end, then insist."""
        if self.process is None:
            return
        for number, patience in ((self.stop_signal, 15), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
            if not self.running:
                return
            self.process.send_signal(number)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def last_lines(log: Path, count: int = 12) -> str:
    """Read the end of a log, for a person."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-count:]
    except OSError:
        lines = []
    return "\n".join(f"  {line}" for line in lines) or "  (nothing)"
