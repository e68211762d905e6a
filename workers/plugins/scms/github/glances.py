"""What was seen of pull requests at length, so that a short question tells for which of them it has to be asked again."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from workers.plugins.scms.github import reading

# A thread that is opened again by hand shows in nothing that a glance asks for: so soon it is asked at length in any case, and later where webhooks
# tell of that.
HELD_FOR = timedelta(hours=1)
HELD_WHERE_TOLD = timedelta(hours=6)
# GitHub writes instants to the second, so what moved just now may move once more and look the same.
SETTLED_AFTER = timedelta(minutes=1)
CLOCKS = timedelta(seconds=5)  # by which the clocks of those who hear webhooks and of those who look may differ
_NEVER = datetime.min.replace(tzinfo=UTC)
_KEPT = 4000
_TAKEN_OVER = ("url", "state", "headRefName", "baseRefName", "mergeable", "mergeCommit")

Key = tuple[str, int]  # the repository with its API, and the number


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A long answer. `settled`: whatever comes next shows in a glance."""

    signature: object
    at: datetime
    settled: bool
    node: str


@dataclass(frozen=True, slots=True)
class Told:
    """When webhooks last told something of each pull request, by its number; None: they cannot be relied on."""

    times: Mapping[int, datetime | None] | None

    @property
    def relied_on(self) -> bool:
        return self.times is not None

    def nothing_since(self, number: int, at: datetime) -> bool:
        """Whether nothing was told of it since, although it would have been."""
        told_at = (self.times or {}).get(number)
        return self.relied_on and (told_at is None or told_at + CLOCKS < at)

    def of(self, number: int) -> datetime:
        """When something was; long ago where nothing ever was."""
        return (self.times or {}).get(number) or _NEVER


class Glances:
    """The long answers of this process, as text, which is a tenth of the values."""

    def __init__(self) -> None:
        self._known: OrderedDict[Key, _Known] = OrderedDict()

    def keep(self, key: Key, node: Mapping[str, Any], *, at: datetime) -> None:
        """Remember what was asked at `at`; what waits for a thread to be settled is asked again."""
        self._known.pop(key, None)
        if all(thread["isResolved"] for thread in node["reviewThreads"]["nodes"]):
            text = json.dumps({name: value for name, value in node.items() if name != "worded"})  # kept by `threads`
            self._known[key] = _Known(signature=signature(node), at=at, settled=settled(node, at=at), node=text)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)

    def holds(self, key: Key, told: Told, *, at: datetime) -> bool:
        """Whether a glance is enough to know all about it. What had moved a moment before it was asked at length is asked so again, unless
        webhooks would have told of more; and what they told of since is."""
        found = self._known.get(key)
        if found is None or at - found.at >= (HELD_WHERE_TOLD if told.relied_on else HELD_FOR):
            return False
        return told.nothing_since(key[1], found.at) if told.relied_on else found.settled

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
