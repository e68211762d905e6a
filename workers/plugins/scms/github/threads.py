"""The words in the threads of pull requests, kept so that they are asked for only where there may be new ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from workers.plugins.scms.github import glances
from workers.plugins.scms.github.glances import Told


class Threads:
    """The words of this process, with what tells whether there are new ones."""

    KEPT = 4000

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], tuple[object, datetime, bool, Sequence[Mapping[str, Any]]]] = (
            OrderedDict()
        )

    def known(self, key: tuple[str, int], node: Mapping[str, Any], told: Told) -> Sequence[Mapping[str, Any]] | None:
        """What is known and still holds: nothing can have been said since that would look the same, or webhooks would have told of it."""
        if key not in self._known:
            return None
        known, at, settled, threads = self._known[key]
        holds = settled or told.nothing_since(key[1], at)
        return threads if holds and known == signature(node) else None

    def keep(
        self, key: tuple[str, int], node: Mapping[str, Any], threads: Sequence[Mapping[str, Any]], *, at: datetime
    ) -> None:
        self._known[key] = (signature(node), at, glances.settled(node, at=at), threads)
        self._known.move_to_end(key)
        while len(self._known) > self.KEPT:
            self._known.popitem(last=False)


def signature(node: Mapping[str, Any]) -> object:
    """What changes with every word in a thread, and with every thread that is settled or opened again."""
    return node["updatedAt"], tuple((thread["id"], thread["isResolved"]) for thread in node["reviewThreads"]["nodes"])


def with_words(node: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The first threads of a pull request with what was said in them, as far as that came along."""
    words = {one["id"]: one for one in node["worded"]["nodes"]} if "worded" in node else {}
    return [{**words[one["id"]], **one} for one in node["reviewThreads"]["nodes"] if one["id"] in words]
