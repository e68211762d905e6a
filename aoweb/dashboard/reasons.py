"""Which rule sent or asked what, and decisions in their parts: what was seen, the rule, what followed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.domain.rules import Trigger
from orchestrator.models import DecisionRecord, Interruption, Message, Task
from orchestrator.services import rules, why


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Why something was sent or asked: the rule that did it, and the decision, as far back as decisions are kept."""

    rule: str = ""
    changed_since: bool = False
    decision: int | None = None


class Origins:
    """Where the messages and questions of one task came from, read once."""

    def __init__(self, task: Task) -> None:
        self._made: Mapping[str, int] = why.decisions_that_made(task)
        self._current: Mapping[Trigger, int] = rules.current_versions(task.project, task)

    def of(self, row: Message | Interruption) -> Origin:
        key = row.key if isinstance(row, Message) else f"interrupt:{row.cause}"
        decision = self._made.get(key)
        if row.rule_version is None or not row.trigger:
            return Origin(decision=decision)
        version = f" (version {row.rule_version})" if row.rule_version else ""
        changed = self._current.get(Trigger(row.trigger), 0) > row.rule_version
        return Origin(rule=f"{row.trigger}{version}", changed_since=changed, decision=decision)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of reasons in its parts: what was seen, the rule that it met, what followed."""

    seen: str
    rule: str
    then: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One decision as it is shown."""

    row: DecisionRecord
    lines: Sequence[Line]


def told(row: DecisionRecord) -> Told:
    """A decision with its lines taken apart."""
    return Told(row=row, lines=[line_of(text) for text in row.why])


def line_of(text: str) -> Line:
    """`seen -> rule -> then`; what goes on without a rule has the last part alone."""
    parts = text.rsplit(" -> ", 2)
    if len(parts) == 3:
        return Line(seen=parts[0], rule=parts[1], then=parts[2])
    return Line(seen="", rule="", then=text.removeprefix("-> "))
