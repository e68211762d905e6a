"""What is on disk about one run, and what can be said of it from there.

FENCE/runs/RUN/run.json    identity, written before the program runs: ids, nonce, the guard's pid, start time and boot id
               journal     stdout and stderr as they came, append-only
               dropped     how many bytes were over the cap, while it runs
               messages/   SEQUENCE.MESSAGE waits for the program's stdin, SEQUENCE.MESSAGE.done is in it
               last        exists when nothing more is to be said: stdin is closed after the messages that wait
               deaf        exists when the program's stdin is closed
               control     FIFO by which the guard is told things
               exit        how it ended; its room is reserved beforehand, in exit.new
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from workers.hostkit import disk, processes

EXIT_ROOM = 4096
DONE = ".done"


def marker_of(identity: dict[str, Any]) -> str:
    """The environment variable that every process of the run carries."""
    return f"AO_RUN={identity['id']}:{identity['nonce']}"


def guard_of(identity: dict[str, Any]) -> processes.Process | None:
    """The run's guard, or None when the machine was restarted since."""
    if identity["boot_id"] != processes.boot_id():
        return None
    return processes.Process(identity["guard"]["pid"], identity["guard"]["start"])


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self.fence = path.parent.parent
        self.journal = path / "journal"
        self.messages = path / "messages"
        self.control = path / "control"
        self.last = path / "last"
        self.deaf = path / "deaf"

    def exists(self) -> bool:
        return (self.path / "run.json").exists()

    def identity(self) -> dict[str, Any] | None:
        return disk.read_json(self.path / "run.json")

    def ending(self) -> dict[str, Any] | None:
        return disk.read_json(self.path / "exit")

    def deadline(self) -> float | None:
        """The deadline of the run's fence on CLOCK_BOOTTIME; it may be renewed at any time."""
        return deadline_of(self.fence)

    def size(self) -> int:
        try:
            return self.journal.stat().st_size
        except FileNotFoundError:
            return 0

    def dropped(self) -> int:
        known = disk.read_json(self.path / "dropped")
        return known["bytes"] if known else 0

    def reserve_exit(self) -> None:
        """Take the room of the exit record now, so that a full disk cannot keep an end from being written."""
        handle = os.open(self.path / "exit.new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, EXIT_ROOM)
        finally:
            os.close(handle)

    def write_exit(self, ending: dict[str, Any]) -> None:
        """Record the end in the room reserved for it, once: an end that is there stays."""
        if (self.path / "exit").exists():
            return
        data = json.dumps({**ending, "detail": ending.get("detail", "")[:1000]}).encode().ljust(EXIT_ROOM)
        handle = os.open(self.path / "exit.new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            disk.write_all(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        (self.path / "exit.new").replace(self.path / "exit")
        disk.sync_folder(self.path)

    def tell(self, line: str) -> bool:
        """Say one line to the guard; False when there is none to hear it."""
        try:
            handle = os.open(self.control, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENOENT):
                return False
            raise
        try:
            os.write(handle, line.encode() + b"\n")
        except BlockingIOError:
            return True  # it has so much to hear already that it will look at everything anyway
        except BrokenPipeError:
            return False
        finally:
            os.close(handle)
        return True

    def guarded(self) -> bool:
        """Whether the run's guard is alive."""
        identity = self.identity()
        guard = guard_of(identity) if identity else None
        return guard is not None and processes.alive(guard)

    def state(self) -> dict[str, Any]:
        """What is answered about the run. It counts as live until its end is on disk, because only then nothing of it is alive."""
        return state_of(self.identity() or {"id": self.id}, self.ending(), size=self.size(), dropped=self.dropped())


def state_of(identity: dict[str, Any], ending: dict[str, Any] | None, *, size: int, dropped: int) -> dict[str, Any]:
    end = ending or {}
    return {
        "id": identity["id"],
        "fence": identity.get("fence", ""),
        "epoch": identity.get("epoch", 0),
        "live": ending is None,
        "end": end.get("end"),
        "exit_code": end.get("exit_code"),
        "signal": end.get("signal"),
        "size": size,
        "dropped": end.get("dropped", dropped),
        "started_at": None if end.get("end") == "unstartable" else identity.get("started_at"),
        "ended_at": end.get("ended_at"),
        "detail": end.get("detail", ""),
    }


def deadline_of(fence: Path) -> float | None:
    known = disk.read_json(fence / "deadline")
    return known["boottime"] if known else None


def set_deadline(fence: Path, boottime: float | None) -> None:
    """Move a fence's deadline. Not synced to disk: it means nothing after a power cut."""
    disk.write_json(fence / "deadline", {"boottime": boottime}, durable=False)


def runs_of(fence: Path) -> list[RunFolder]:
    """Every run of a fence, finished ones too."""
    try:
        names = sorted(entry.name for entry in (fence / "runs").iterdir())
    except FileNotFoundError:
        return []
    return [RunFolder(fence / "runs" / name) for name in names if not name.startswith(".")]
