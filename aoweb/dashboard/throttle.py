"""Counts failed logins, so that guessing passwords is slow.

Kept in the web process's own memory: it works while the broker is down, and a restart only forgives a few tries.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from django.core.cache import cache

WINDOW = timedelta(minutes=10)
PER_NAME_AND_ADDRESS = 5
PER_ADDRESS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Who knocks, from where."""

    name: str
    address: str

    @property
    def closed(self) -> bool:
        """Whether too many tries failed, none longer ago than the window."""
        counts = cache.get_many([self._pair, self._place])
        of_pair, of_place = int(counts.get(self._pair, 0)), int(counts.get(self._place, 0))
        return of_pair >= PER_NAME_AND_ADDRESS or of_place >= PER_ADDRESS

    def failed(self) -> None:
        """Count one failed try."""
        for key in (self._pair, self._place):
            cache.set(key, cache.get(key, 0) + 1, timeout=WINDOW.total_seconds())

    def opened(self) -> None:
        """Forget the failures of this name from this address: its owner is in."""
        cache.delete(self._pair)

    @property
    def _pair(self) -> str:
        return _key("pair", self.name.casefold(), self.address)

    @property
    def _place(self) -> str:
        return _key("place", self.address)


def _key(*parts: str) -> str:
    return "login-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()
