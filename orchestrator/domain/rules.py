"""Reaction rules: what a trigger is answered with, their defaults, and how overrides inherit field by field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from enum import StrEnum


class Trigger(StrEnum):
    """What a rule reacts to."""

    CI_FAILED = "ci-failed"
    CHANGES_REQUESTED = "changes-requested"
    BUGBOT_COMMENTS = "bugbot-comments"
    MERGE_CONFLICTS = "merge-conflicts"
    APPROVED_AND_GREEN = "approved-and-green"
    PR_CLOSED = "pr-closed"
    AGENT_IDLE = "agent-idle"
    AGENT_STUCK = "agent-stuck"
    AGENT_NEEDS_INPUT = "agent-needs-input"
    AGENT_EXITED = "agent-exited"
    ALL_COMPLETE = "all-complete"
    BUDGET_EXCEEDED = "budget-exceeded"


class Reply(StrEnum):
    """What a rule can do; the file calls it `action`."""

    SEND_TO_AGENT = "send-to-agent"
    NOTIFY = "notify"
    AUTO_MERGE = "auto-merge"
    ESCALATE = "escalate"
    RESTART_AGENT = "restart-agent"
    STOP_AGENT = "stop-agent"
    RERUN_CI = "rerun-ci"
    PAUSE = "pause"


class Priority(StrEnum):
    URGENT = "urgent"
    ACTION = "action"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The effective rule of one trigger. `escalate_after` is a number of attempts or the span since the trigger first held."""

    trigger: Trigger
    auto: bool
    action: tuple[Reply, ...]
    priority: Priority
    message: str = ""
    retries: int | None = None
    escalate_after: int | timedelta | None = None
    threshold: timedelta = timedelta(minutes=10)
    include_summary: bool = False
    version: int = 0  # the newest change of the rules that had a part in it; 0: as delivered

    @property
    def title(self) -> str:
        """The rule as a line of reasons names it."""
        return f"{self.trigger} (version {self.version})" if self.version else str(self.trigger)


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """The fields of a rule that one place (global file, project, task) sets; None leaves a field as it is inherited."""

    trigger: Trigger
    auto: bool | None = None
    action: tuple[Reply, ...] | None = None
    priority: Priority | None = None
    message: str | None = None
    retries: int | None = None
    escalate_after: int | timedelta | None = None
    threshold: timedelta | None = None
    include_summary: bool | None = None


def _rule(trigger: Trigger, *action: Reply, priority: Priority, auto: bool = True, **more: object) -> Rule:
    return replace(Rule(trigger=trigger, auto=auto, action=action, priority=priority), **more)  # type: ignore[arg-type]  # table


_SEND, _NOTIFY = Reply.SEND_TO_AGENT, Reply.NOTIFY
DEFAULTS: Mapping[Trigger, Rule] = {
    rule.trigger: rule
    for rule in (
        _rule(Trigger.CI_FAILED, _SEND, priority=Priority.WARNING, retries=2, escalate_after=2),
        _rule(Trigger.CHANGES_REQUESTED, _SEND, priority=Priority.WARNING, escalate_after=timedelta(minutes=30)),
        _rule(Trigger.BUGBOT_COMMENTS, _SEND, priority=Priority.INFO, escalate_after=timedelta(minutes=30)),
        _rule(Trigger.MERGE_CONFLICTS, _SEND, priority=Priority.WARNING, escalate_after=timedelta(minutes=15)),
        _rule(Trigger.APPROVED_AND_GREEN, _NOTIFY, priority=Priority.ACTION, auto=False),
        _rule(Trigger.PR_CLOSED, _NOTIFY, priority=Priority.ACTION),
        _rule(Trigger.AGENT_IDLE, _SEND, priority=Priority.INFO, retries=2, escalate_after=timedelta(minutes=15)),
        _rule(Trigger.AGENT_STUCK, _NOTIFY, priority=Priority.URGENT),
        _rule(Trigger.AGENT_NEEDS_INPUT, _NOTIFY, priority=Priority.URGENT),
        _rule(Trigger.AGENT_EXITED, _NOTIFY, priority=Priority.URGENT),
        _rule(Trigger.ALL_COMPLETE, _NOTIFY, priority=Priority.INFO),
        _rule(Trigger.BUDGET_EXCEEDED, Reply.PAUSE, _NOTIFY, priority=Priority.URGENT),
    )
}


def pauses(rule: Rule) -> bool:
    """Whether a rule by itself holds the task back."""
    return rule.auto and Reply.PAUSE in rule.action


def effective(trigger: Trigger, overrides: Iterable[Override]) -> Rule:
    """The default of `trigger` with each override laid over it, field by field, in the order given (global, project, task)."""
    return laid_over(DEFAULTS[trigger], overrides)


def laid_over(rule: Rule, overrides: Iterable[Override]) -> Rule:
    """`rule` with each override of its trigger laid over it, field by field."""
    for override in overrides:
        if override.trigger == rule.trigger:
            changes = {f.name: getattr(override, f.name) for f in fields(override) if f.name != "trigger"}
            rule = replace(rule, **{name: value for name, value in changes.items() if value is not None})
    return rule
