"""Standard input and output, joined to serve's socket: how a caller on another machine reaches serve through an SSH channel.

Run as `bridge HOME STAMP`; it starts serve when nobody answers. After the line `READY` every byte is the protocol's. What it holds open
ends with either side, and by itself when nothing has passed for a while: a caller that was cut off never says goodbye.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from pathlib import Path

from workers.hostkit import disk

READY = b"\n=ao-bridge=\n"
PIECE = 256 * 1024
SILENCE = 180.0  # seconds; a call has a minute, and an idle line is dialled again when it is needed
STARTING = 20.0
AGAIN = 0.01
BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv.pop(1)); from workers.hostkit.serve import main; main()"


def connect(home: Path) -> socket.socket | None:
    """A connection to serve, or None when nobody is there. By way of the folder's handle, because paths of sockets are short."""
    try:
        folder = os.open(home / "run", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connecting.connect(f"/proc/self/fd/{folder}/{disk.SOCKET}")
    except OSError:
        connecting.close()
        return None
    finally:
        os.close(folder)
    return connecting


def reach(home: Path, stamp: str) -> socket.socket:
    """A connection to serve, which is started if need be. It goes on when we end. Exits with words when it does not start."""
    give_up = time.monotonic() + STARTING
    while True:
        connected = connect(home)
        if connected is not None:
            return connected
        if time.monotonic() > give_up:
            raise SystemExit(f"hostkit does not answer at {home}: see {home / 'run' / 'serve.log'}")
        start(home, stamp)
        time.sleep(AGAIN)


def start(home: Path, stamp: str) -> None:
    """Start serve; what it says when it cannot is for our caller."""
    library = str(Path(__file__).parents[2])
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir("/")
            os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", BOOTSTRAP, library, str(home), stamp])
        finally:
            os._exit(127)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise SystemExit(f"hostkit does not start at {home}")


def join(connected: socket.socket) -> None:
    """Carry bytes both ways until one side ends or nothing has passed for a while. Questions and answers take turns, so that neither
    direction can hold up the other."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(connected, select.POLLIN)
    while True:
        ready = {handle for handle, _ in poll.poll(SILENCE * 1000)}
        if not ready:
            return
        if 0 in ready:
            data = os.read(0, PIECE)
            if not data:
                return
            connected.sendall(data)
        if connected.fileno() in ready:
            data = connected.recv(PIECE)
            if not data:
                return
            disk.write_all(1, data)


def main() -> None:
    connected = reach(Path(sys.argv[1]), sys.argv[2])
    disk.write_all(1, READY)
    try:
        join(connected)
    except OSError:
        return  # one side is gone


if __name__ == "__main__":
    main()
