"""Bundles on their way out of a mirror: each is made once, in a thread of its own, and kept as a file until it has got where it is wanted."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from orchestrator.ports import PortError, Unavailable
from workers.git.program import Deadline

KEPT = 24 * 3600.0  # seconds that a bundle is kept for the next try
PACKING = 3600.0  # seconds that packing may take: it goes on behind the calls that wait for it
_PACKING: dict[Path, threading.Thread] = {}


class Source(Protocol):
    """What a repository elsewhere is filled from: a mirror of ours, or whoever brings bundles of one."""

    @property
    def path(self) -> Path:
        """Where the mirror is, or would be; bundles are kept beside it."""
        ...

    def has(self, sha: str) -> bool:
        """Whether a bundle may build on this commit."""
        ...

    def bundle(self, sha: str, *, haves: Sequence[str], to: Path, timeout: float) -> None:
        """Write a bundle of this commit and its history, without what the commits `haves` hold, to a file."""
        ...


def packed(source: Source, sha: str, haves: Sequence[str], *, to: str, deadline: Deadline) -> Path:
    """The bundle that leads from what `to` has to what it wants. A first one may take long: whoever asks again finds how it stands."""
    outgoing = source.path.with_name(f"{source.path.stem}.outgoing") / to
    digest = hashlib.sha256(" ".join([sha, *sorted(haves)]).encode()).hexdigest()[:16]
    bundle = outgoing / f"{digest}.bundle"
    failed: list[PortError] = []
    packing = _PACKING.get(bundle)
    if packing is None or not packing.is_alive():
        if bundle.exists():
            return bundle
        _forget_old(outgoing)
        packing = threading.Thread(target=_caught(failed, lambda: _make(source, bundle, sha, haves)), daemon=True)
        _PACKING[bundle] = packing
        packing.start()
    packing.join(deadline.left() / 2)
    if packing.is_alive():
        raise Unavailable(f"the repository is being packed for {to}", retry_after=timedelta(seconds=2))
    del _PACKING[bundle]
    if not bundle.exists():
        raise Unavailable(f"the repository cannot be packed for {to}{': ' + str(failed[0]) if failed else ''}")
    return bundle


def _make(source: Source, bundle: Path, sha: str, haves: Sequence[str]) -> None:
    fresh = bundle.with_suffix(".new")
    try:
        bundle.parent.mkdir(parents=True, exist_ok=True)
        source.bundle(sha, haves=haves, to=fresh, timeout=PACKING)
        fresh.rename(bundle)
    except OSError as error:
        raise Unavailable(f"{error.filename}: {error.strerror}") from error


def _forget_old(outgoing: Path) -> None:
    """Delete what nobody came back for. Younger ones may be on their way, or being made."""
    for bundle in outgoing.glob("*"):
        with suppress(FileNotFoundError):  # another process forgets too
            if bundle.stat().st_mtime < time.time() - KEPT:
                bundle.unlink()


def _caught(failed: list[PortError], act: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        try:
            act()
        except PortError as error:
            failed.append(error)

    return run
