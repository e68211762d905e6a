"""Which rules, as they are set now or would be, can never do what they say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic.alias_generators import to_camel

from orchestrator.domain.conflicts import Conflict, Setting, conflicts_of
from orchestrator.domain.rules import Override, Priority, Trigger, effective
from orchestrator.models import NotificationChannel, Project
from orchestrator.services import rules


def conflicts_in(project: Project | None) -> tuple[Conflict, ...]:
    """Those of a project's rules; no project: of what holds for all of them."""
    overrides = rules.overrides_for(project)
    return judged(overrides, scm=project.scm if project else None, routed=_priorities(_routing()))


def judged(
    overrides: Sequence[Override], *, scm: Mapping[str, Any] | None, routed: frozenset[Priority]
) -> tuple[Conflict, ...]:
    """Those of rules with these overrides laid over the defaults, for a project with this forge."""
    required = (scm or {}).get("requiredChecks")
    local = scm is not None and scm.get("plugin", "local") == "local"
    if required is None and local:
        required = sorted((scm or {}).get("checks") or {}) or None
    return conflicts_of(
        Setting(
            rules={trigger: effective(trigger, overrides) for trigger in Trigger},
            said={trigger: _fields(trigger, overrides) for trigger in Trigger},
            routed=routed,
            forge=None if scm is None else str(scm.get("plugin", "local")),
            required_checks=None if required is None else tuple(required),
            approvals=int((scm or {}).get("requiredApprovals", 1)),
        )
    )


def routing_with(planned: Mapping[str, Iterable[str]]) -> frozenset[Priority]:
    """The priorities that some channel is sent, once the planned channels (name -> priorities) are as planned."""
    return _priorities({**_routing(), **planned})


def _routing() -> dict[str, Iterable[str]]:
    return dict(NotificationChannel.objects.values_list("name", "priorities"))


def _priorities(routing: Mapping[str, Iterable[str]]) -> frozenset[Priority]:
    return frozenset(Priority(word) for words in routing.values() for word in words if word in set(Priority))


def _fields(trigger: Trigger, overrides: Sequence[Override]) -> frozenset[str]:
    return frozenset(
        to_camel(name)
        for one in overrides
        if one.trigger is trigger
        for name in rules.FIELDS
        if getattr(one, name) is not None
    )
