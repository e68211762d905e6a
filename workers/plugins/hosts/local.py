"""The machine we are on, as a Host: hostkit's serve behind a unix socket, started when nobody answers and adopted otherwise."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

from orchestrator.ports import Unavailable
from workers.hostkit import bridge, release
from workers.plugins.hosts import wire

SOURCE = Path(release.__file__).parent
KIT = "hostkit"
AGAIN = 0.01  # seconds between tries to connect


class SocketStream:
    """One connection to serve's unix socket."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def send(self, data: bytes, *, timeout: float) -> None:
        self._socket.settimeout(timeout)
        self._socket.sendall(data)

    def receive(self, count: int, *, timeout: float) -> bytes:
        self._socket.settimeout(timeout)
        return self._socket.recv(count)

    def usable(self) -> bool:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        self._socket.close()


class LocalDial:
    """Connects to the serve of one hostkit home, with our version of hostkit or a newer one behind it."""

    def __init__(self, home: Path) -> None:
        self._home = home.absolute()
        self._version = release.digest(SOURCE)
        self._stamp = release.stamp(SOURCE)

    def __call__(self, *, timeout: float) -> wire.Stream:
        until = time.monotonic() + timeout
        while True:
            stream = self._connect()
            if stream is not None and wire.agreed(stream, version=self._version, stamp=self._stamp, until=until):
                return stream
            if time.monotonic() >= until:
                raise Unavailable(f"hostkit does not answer at {self._home}: see {self._home / 'run' / 'serve.log'}")
            if stream is None:
                self._start(until)
            time.sleep(AGAIN)

    def _connect(self) -> SocketStream | None:
        connected = bridge.connect(self._home)
        return SocketStream(connected) if connected is not None else None

    def _start(self, until: float) -> None:
        """Start serve from a copy of its files, so that an upgrade of ours does not change what runs."""
        try:
            library = self._installed()
        except OSError as error:
            raise Unavailable(f"hostkit cannot be put below {self._home}: {error}") from error
        argv = [sys.executable, "-I", "-S", "-c", bridge.BOOTSTRAP, str(library), str(self._home), str(self._stamp)]
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=max(0.1, until - time.monotonic()),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"hostkit did not start at {self._home} in time") from error
        if done.returncode != 0:
            raise Unavailable(f"hostkit did not start: {done.stderr.decode(errors='replace')[-500:]}")

    def _installed(self) -> Path:
        """The folder from which our version runs, made by one rename."""
        library = self._home / "lib" / self._version
        if library.is_dir():
            return library
        self._home.mkdir(mode=0o711, parents=True, exist_ok=True)
        library.parent.mkdir(mode=0o700, exist_ok=True)
        fresh = library.with_name(f".{self._version}.{uuid4().hex}")
        package = fresh / "workers" / KIT
        package.mkdir(mode=0o700, parents=True)
        (fresh / "workers" / "__init__.py").touch()
        for name in release.FILES:
            (package / name).write_bytes((SOURCE / name).read_bytes())
        try:
            fresh.rename(library)
        except OSError:
            if not library.is_dir():  # another of us was faster
                raise
        return library


class LocalHost(wire.WireHost):
    """The Host port for this machine; `home` is the folder that hostkit keeps everything in."""

    def __init__(self, home: Path) -> None:
        super().__init__(LocalDial(home))
