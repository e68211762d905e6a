"""What was seen of pull requests at length, so that a short question tells for which of them it has to be asked again."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from workers.plugins.scms.github import reading

# A thread that is opened again by hand shows in nothing that a glance asks for: so soon it is asked at length in any case.
HELD_FOR = timedelta(hours=1)
# GitHub writes instants to the second, so what moved just now may move once more and look the same.
SETTLED_AFTER = timedelta(minutes=1)
_KEPT = 4000
_TAKEN_OVER = ("url", "state", "headRefName", "baseRefName", "mergeable", "mergeCommit")

Key = tuple[str, int]  # the repository with its API, and the number


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A long answer. `shows`: whatever comes next shows in a glance."""

    signature: object
    at: datetime
    shows: bool
    node: str


class Glances:
    """The long answers of this process, as text, which is a tenth of the values."""

    def __init__(self) -> None:
        self._known: OrderedDict[Key, _Known] = OrderedDict()

    def keep(self, key: Key, node: Mapping[str, Any], *, at: datetime) -> None:
        """Remember what was asked at `at`."""
        self._known.pop(key, None)
        shows = settled(node, at=at) and all(thread["isResolved"] for thread in node["reviewThreads"]["nodes"])
        self._known[key] = _Known(signature=signature(node), at=at, shows=shows, node=json.dumps(node))
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)

    def holds(self, key: Key, *, quiet: bool, at: datetime) -> bool:
        """Whether a glance is enough to know all about it. Where webhooks would have told of what a glance does not show, and are `quiet`, it
        is. Elsewhere what moved a moment ago is asked again, and so is what waits for a thread to be settled."""
        found = self._known.get(key)
        return found is not None and at - found.at < HELD_FOR and (quiet or found.shows)

    def whole(self, key: Key, glance: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The long answer that belongs to a glance; None: something has moved."""
        found = self._known.get(key)
        if found is None or found.signature != signature(glance):
            return None
        return {**json.loads(found.node), **{name: glance[name] for name in _TAKEN_OVER}}


def settled(node: Mapping[str, Any], *, at: datetime) -> bool:
    """Whether whatever comes next has another `updatedAt`."""
    updated = reading.moment(node["updatedAt"])
    return updated is not None and at - updated > SETTLED_AFTER


def signature(node: Mapping[str, Any]) -> object:
    """What changes with a push, with every word of anybody, and with every check that starts or ends."""
    rollup = node["statusCheckRollup"]
    return node["headRefOid"], node["updatedAt"], None if rollup is None else _counts(rollup["contexts"])


def _counts(contexts: Mapping[str, Any]) -> object:
    kinds = ("checkRunCountsByState", "statusContextCountsByState")
    return [sorted((one["state"], one["count"]) for one in contexts[kind] or () if one["count"]) for kind in kinds]
