"""Issues of a tracker as facts, which of them may be worked on, and in which order."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

_OUTSIDE = re.compile(r"[^A-Za-z0-9._-]")
CONTINUATION = timedelta(seconds=1)  # between a turn that ended by itself and the next
_FIRST_WAIT = timedelta(seconds=10)
_LAST = 5  # issues without a priority, or with one that we do not know, come after those with one
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """An issue that has to be over first."""

    id: str
    identifier: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueFacts:
    """An issue as its tracker showed it last. `id` is opaque and the tracker's own; `identifier` is what people call it in its project."""

    id: str
    identifier: str
    title: str
    state: str
    native_ref: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    priority: int | None = None
    branch_name: str = ""
    url: str = ""
    assignee_id: str = ""
    labels: tuple[str, ...] = ()
    blocked_by: tuple[Blocker, ...] = ()
    dispatchable: bool = True
    why_not: str = ""  # why it is not dispatchable, for people
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which issues a workflow works on."""

    required_labels: tuple[str, ...] = ()
    active_states: tuple[str, ...] = ()
    terminal_states: tuple[str, ...] = ()


class Standing(StrEnum):
    """What an issue's state and labels mean for the task that was made of it."""

    ACTIVE = "active"
    LAPSED = "lapsed"  # not to be worked on now; its work is kept
    OVER = "over"  # closed, done: nothing of it is needed any more
    GONE = "gone"  # the tracker does not show it any more


def labels_of(labels: Iterable[str]) -> tuple[str, ...]:
    """Trimmed, in lower case, without blanks and doubles, in the order in which they came."""
    return tuple(dict.fromkeys(label.strip().lower() for label in labels if label.strip()))


def state_of(state: str) -> str:
    """A state as it is compared; what people see keeps the tracker's spelling."""
    return state.strip().lower()


def workspace_key(identifier: str) -> str:
    """A folder's name for an identifier: nothing but letters, digits, `.`, `_` and `-`. One that had to be changed carries a digest of what
    it was, so that two never share a folder."""
    safe = _OUTSIDE.sub("_", identifier)
    if safe == identifier and identifier not in {"", ".", ".."}:
        return identifier
    return f"{safe or 'issue'}-{hashlib.sha256(identifier.encode()).hexdigest()[:16]}"


def standing_of(issue: IssueFacts, wanted: Wanted) -> Standing:
    """Terminal wins over active."""
    state = state_of(issue.state)
    if state in {state_of(one) for one in wanted.terminal_states}:
        return Standing.OVER
    return Standing.ACTIVE if not why_not(issue, wanted) else Standing.LAPSED


def why_not(issue: IssueFacts, wanted: Wanted) -> str:
    """What keeps an issue from being worked on, in a sentence; empty: nothing."""
    missing = [name for name in ("id", "identifier", "title", "state") if not str(getattr(issue, name)).strip()]
    if missing:
        return f"it has no {missing[0]}"
    state = state_of(issue.state)
    if state in {state_of(one) for one in wanted.terminal_states}:
        return f"it is {issue.state}"
    if state not in {state_of(one) for one in wanted.active_states}:
        return f"its state {issue.state} is not one of those that are worked on: {', '.join(wanted.active_states)}"
    labels = set(labels_of(issue.labels))
    absent = [label for label in wanted.required_labels if label not in labels]
    if absent:
        return f"it has no label {absent[0]}" if absent[0] else "a blank label is required, which no issue has"
    blocked = open_blockers(issue, wanted)
    if blocked:
        return f"it is blocked by {', '.join(blocked)}"
    return "" if issue.dispatchable else issue.why_not or "its tracker does not give it out"


def open_blockers(issue: IssueFacts, wanted: Wanted) -> list[str]:
    """The issues that have to be over first and are not."""
    over = {state_of(one) for one in wanted.terminal_states}
    return [one.identifier for one in issue.blocked_by if state_of(one.state) not in over]


def in_order(issues: Iterable[IssueFacts]) -> list[IssueFacts]:
    """Priority 1 to 4, then the others; the oldest first; then by identifier."""

    def place(issue: IssueFacts) -> tuple[int, datetime, str]:
        known = issue.priority if issue.priority in {1, 2, 3, 4} else _LAST
        return (known or _LAST, issue.created_at or _NEVER, issue.identifier)

    return sorted(issues, key=place)


def to_dispatch(
    issues: Iterable[IssueFacts], wanted: Wanted, *, claimed: Collection[str], slots: int | None = None
) -> list[IssueFacts]:
    """Those of the issues that may be begun, in order, without those that somebody has already; at most as many as there is room for."""
    found: dict[str, IssueFacts] = {}
    for issue in in_order(issues):
        if issue.id not in claimed and not why_not(issue, wanted):
            found.setdefault(issue.id, issue)
    chosen = list(found.values())
    return chosen if slots is None else chosen[: max(slots, 0)]


def slots(*, most: int, running: int) -> int:
    """How many more may run."""
    return max(most - running, 0)


def room_for_state(state: str, *, most: int, by_state: Mapping[str, int], running: Sequence[str]) -> int:
    """How many more issues of this state may run, where `running` are the states of those that do: a state without a limit of its own has
    the limit of all."""
    general = slots(most=most, running=len(running))
    own = by_state.get(state_of(state))
    if own is None:
        return general
    return min(general, slots(most=own, running=sum(state_of(one) == state_of(state) for one in running)))


def retry_wait(failures: int, *, longest: timedelta) -> timedelta:
    """The wait after the n-th failure in a row: 10, 20, 40, 80, 160 seconds, and no longer than `longest`."""
    doublings: int = min(max(failures, 1) - 1, 30)
    return min(_FIRST_WAIT * (1 << doublings), longest)
