"""Bundles on their way out of a mirror: each is made once, behind the calls that wait for it, and kept as a file until it has got where it is
wanted."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

from orchestrator.ports import PortError, Unavailable
from workers.git.behind import Behind
from workers.git.program import Deadline

KEPT = 24 * 3600.0  # seconds that a bundle is kept for the next try
AT_MOST = 3600.0  # seconds that packing, or taking in, may take: it goes on behind the calls that wait for it
LOOK_AGAIN = timedelta(seconds=2)
PACKING = Behind()


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
    if not PACKING.has(bundle):
        if bundle.exists():
            return bundle
        _forget_old(outgoing)
        PACKING.begin(bundle, partial(_make, source, bundle, sha, haves))
    try:
        made = PACKING.over(bundle, patience=deadline.left() / 2)
    except PortError as error:
        raise Unavailable(f"the repository cannot be packed for {to}: {error}") from error
    if not made or not bundle.exists():  # another process may have carried it meanwhile
        raise Unavailable(f"the repository is being packed for {to}", retry_after=LOOK_AGAIN, under_way=True)
    return bundle


def _make(source: Source, bundle: Path, sha: str, haves: Sequence[str]) -> None:
    fresh = bundle.with_suffix(".new")
    try:
        bundle.parent.mkdir(parents=True, exist_ok=True)
        source.bundle(sha, haves=haves, to=fresh, timeout=AT_MOST)
        fresh.rename(bundle)
    except OSError as error:
        raise Unavailable(f"{error.filename}: {error.strerror}") from error


def _forget_old(outgoing: Path) -> None:
    """Delete what nobody came back for. Younger ones may be on their way, or being made."""
    for bundle in outgoing.glob("*"):
        with suppress(FileNotFoundError):  # another process forgets too
            if bundle.stat().st_mtime < time.time() - KEPT:
                bundle.unlink()
