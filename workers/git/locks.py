"""Locks that a killed git left behind in a repository of ours, where nobody else would ever take them away."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

_LEFT = re.compile(r"Unable to create '(?P<path>[^']+\.lock)': File exists")


def freed(repository: Path, stderr: str) -> bool:
    """Whether git complains of a lock in this repository that nobody holds any more, and that is gone now.

    All git on it is ours and names it among its arguments, so a lock without such a process is nobody's. One looks at a time: between
    looking and removing, only another look could make room for a new lock.
    """
    complaint = _LEFT.search(stderr)
    lock = Path(complaint["path"]) if complaint else None
    if lock is None or not lock.is_relative_to(repository):
        return False
    handle = os.open(repository, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not _in_use(repository):
            lock.unlink(missing_ok=True)
        return not lock.exists()
    finally:
        os.close(handle)


def _in_use(repository: Path) -> bool:
    named = os.fsencode(f"--git-dir={repository}")
    return any(named in _arguments(process) for process in Path("/proc").iterdir() if process.name.isdigit())


def _arguments(process: Path) -> list[bytes]:
    try:
        return (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
