"""A hostkit home for tests: a folder that other accounts may enter, with its serve and everything that runs below it gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.hostkit import disk, processes
from workers.plugins.hosts.local import LocalHost


@contextmanager
def hostkit_home() -> Iterator[Path]:
    """An empty home; at the end its runs are ended, its workspaces removed, its serve is killed and its files are deleted."""
    folder = Path(tempfile.mkdtemp(prefix="ao-test-"))
    folder.chmod(0o711)
    home = folder / "home"
    try:
        yield home
    finally:
        if home.exists():
            _take_down(home)
        give_up = time.monotonic() + 20
        while folder.exists() and time.monotonic() < give_up:
            shutil.rmtree(folder, ignore_errors=True)  # what was in the trash may be deleted at the same time
        assert not folder.exists(), f"something still writes into {folder}"


def _take_down(home: Path) -> None:
    host = LocalHost(home)
    for state in host.look(cursors={}, wait=0, timeout=10).runs:
        host.end(state.fence, epoch=state.epoch)
    for room in home.glob("rooms/[!.]*"):
        host.remove_workspace(room.name)
    host.close()
    kill_serve(home)


def serve_of(home: Path) -> processes.Process | None:
    """The serve that answers at this home now."""
    folder = os.open(home / "run", os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"/proc/self/fd/{folder}/{disk.SOCKET}")
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    except OSError:
        return None
    finally:
        os.close(folder)
    pid = struct.unpack("3i", credentials)[0]
    seen = processes.stat(pid)
    return processes.Process(pid, seen.start) if seen else None


def kill_serve(home: Path) -> None:
    """Kill -9, and wait until it is gone."""
    serve = serve_of(home)
    if serve is None:
        return
    processes.kill(serve, signal.SIGKILL)
    give_up = time.monotonic() + 5
    while processes.alive(serve) and time.monotonic() < give_up:
        time.sleep(0.005)
