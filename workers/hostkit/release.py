"""Which hostkit this is: a number that grows with each release and a digest of the files themselves."""

from __future__ import annotations

import hashlib
from pathlib import Path

RELEASE = 1  # raised when the protocol or the layout on disk gains something; a serve hands over to its own release or a higher one

FILES = (
    "__init__.py",
    "accounts.py",
    "bell.py",
    "bridge.py",
    "disk.py",
    "errors.py",
    "frames.py",
    "guard.py",
    "launch.py",
    "processes.py",
    "records.py",
    "release.py",
    "rooms.py",
    "sandbox.py",
    "serve.py",
    "starts.py",
    "tasks.py",
)


def stamp(folder: Path) -> int:
    """Which of two hostkits of one release is newer: when the newest of its files was changed, in seconds."""
    return max(int((folder / name).stat().st_mtime) for name in FILES)


def digest(folder: Path) -> str:
    """A short name for the contents of the hostkit files in `folder`."""
    total = hashlib.sha256()
    for name in FILES:
        content = (folder / name).read_bytes()
        total.update(b"%s %d\n" % (name.encode(), len(content)))
        total.update(content)
    return total.hexdigest()[:16]
