"""Where hostkit keeps things, and how it writes so that a crash at any point leaves the old content or the new one.

HOME/               0711, traversable, so that accounts reach their rooms and nothing else
  rooms/WORKSPACE/  0700, owned by the workspace's account: home, work, tmp
  rooms/.WORKSPACE.json   what we know about the room
  fences/FENCE/     one per session: fence.json, deadline, lock, runs/RUN/
  run/              serve's sockets and locks
  trash/            what is being deleted
  lib/              hostkit's own files, one folder per version
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from workers.hostkit.errors import Refused, Unavailable
from workers.hostkit.processes import slurp

SOCKET = "serve.sock"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
FULL = (errno.ENOSPC, errno.EDQUOT)
RESERVE = 4 * 1024 * 1024  # bytes that must be free before something new is begun


def safe_name(name: object, what: str) -> str:
    """A name that is one harmless component of a path."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Refused(
            f"{name!r} is no name for a {what}: letters, digits, '.', '_' and '-', at most 128", code="bad-name"
        )
    return name


class Layout:
    """The paths below one hostkit home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.rooms = home / "rooms"
        self.fences = home / "fences"
        self.run = home / "run"
        self.trash = home / "trash"
        self.lib = home / "lib"

    def make(self) -> None:
        """Create what is missing, with the modes that keep accounts apart."""
        self.home.mkdir(mode=0o711, parents=True, exist_ok=True)
        for folder, mode in ((self.home, 0o711), (self.rooms, 0o711)):
            folder.mkdir(exist_ok=True)
            folder.chmod(mode)
        for folder in (self.fences, self.run, self.trash, self.lib):
            folder.mkdir(mode=0o700, exist_ok=True)

    def fence(self, fence: str) -> Path:
        return self.fences / safe_name(fence, "fence")

    def runs(self, fence: str) -> Path:
        return self.fence(fence) / "runs"

    def room(self, workspace: str) -> Path:
        return self.rooms / safe_name(workspace, "workspace")

    def room_record(self, workspace: str) -> Path:
        return self.rooms / f".{safe_name(workspace, 'workspace')}.json"

    def free_bytes(self) -> int:
        stats = os.statvfs(self.home)
        return stats.f_bavail * stats.f_frsize

    def need_space(self) -> None:
        """Raise `Unavailable` when the disk is too full to begin something."""
        free = self.free_bytes()
        if free < RESERVE:
            raise self.full(free)

    def full(self, free: int | None = None) -> Unavailable:
        return Unavailable(f"the disk of {self.home} is full: {self.free_bytes() if free is None else free} bytes free")

    @contextmanager
    def room_on_disk(self) -> Iterator[None]:
        """Turn a full disk into `Unavailable` naming the path and what is free."""
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                raise self.full() from error
            raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(path: Path, data: bytes, *, durable: bool = True, mode: int = 0o600) -> None:
    """Replace a file: afterwards it has the old content or the new one, never a part."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        try:
            write_all(handle, data)
            if durable:
                os.fsync(handle)
        finally:
            os.close(handle)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def write_json(path: Path, value: dict[str, Any], *, durable: bool = True) -> None:
    write_file(path, json.dumps(value).encode(), durable=durable)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file, or None where there is none (or only the spaces that reserved its room)."""
    try:
        return cast("dict[str, Any]", json.loads(slurp(str(path))))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


@contextmanager
def locked(path: Path, *, until: float) -> Iterator[None]:
    """Hold a file's lock; `until` is a monotonic instant after which waiting for it is `Unavailable`."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            if time.monotonic() > until:
                raise Unavailable(f"another call holds {path}")
            time.sleep(0.002)
        yield
    finally:
        os.close(handle)
