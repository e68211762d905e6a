"""Rules that can never do what they say, and rules that fight each other: each found with the reason, in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from orchestrator.domain.durations import format_duration
from orchestrator.domain.rules import Priority, Reply, Rule, Trigger

_WITH_WORDS = frozenset({Reply.SEND_TO_AGENT, Reply.NOTIFY, Reply.ESCALATE})
_TELLING = frozenset({Reply.SEND_TO_AGENT, Reply.RESTART_AGENT})
_STOPPING = frozenset({Reply.STOP_AGENT, Reply.PAUSE})
_OVER = {
    Trigger.ALL_COMPLETE: "every task has ended by then, so there is no agent",
    Trigger.PR_CLOSED: "the task has ended with its pull request, so there is no agent",
}
# No agent is known that shows no progress for longer and then goes on: whoever waited so long has ended the session by hand.
LONGEST_SILENCE = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What rules are judged on. `said` names the fields that people set, by trigger; `forge` is None where rules hold for all projects."""

    rules: Mapping[Trigger, Rule]
    said: Mapping[Trigger, frozenset[str]] = field(default_factory=dict)
    routed: frozenset[Priority] = frozenset()  # the priorities that some channel is sent
    forge: str | None = None
    required_checks: tuple[str, ...] | None = None  # None: whatever the forge requires or reports
    approvals: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """One rule, the field of it that has no effect or works against another, as the file names it, and why."""

    trigger: Trigger
    field: str
    why: str


def conflicts_of(setting: Setting) -> tuple[Conflict, ...]:
    """All of them, rule by rule. The defaults have none."""
    return tuple(
        Conflict(trigger=trigger, field=name, why=why)
        for trigger, rule in setting.rules.items()
        for find in (_tries, _never, _at_odds, _unheard, _without_effect, _merging, _silence)
        for name, why in find(rule, setting)
    )


Found = Iterator[tuple[str, str]]


def _said(rule: Rule, setting: Setting, name: str) -> bool:
    return name in setting.said.get(rule.trigger, frozenset())


def _tries(rule: Rule, setting: Setting) -> Found:
    """`retries` and a number as `escalateAfter` are two limits of one count: the smaller is the only one."""
    del setting
    if rule.auto and _TELLING & set(rule.action) and 0 in {rule.retries, rule.escalate_after}:
        name = "retries" if rule.retries == 0 else "escalateAfter"
        then = "a human is called at once; write action: escalate if that is meant, or a number above 0"
        yield name, f"{name}: 0 means that nothing is ever sent to the agent: {then}"
    elif rule.retries is not None and isinstance(rule.escalate_after, int):
        tries, limit = rule.retries, rule.escalate_after
        if limit > tries:
            yield "escalateAfter", f"escalateAfter: {limit} is never reached: retries: {tries} are used up before it"
        elif limit < tries:
            advice = f"write escalateAfter: {tries}, or a duration, to have all of them"
            yield (
                "retries",
                f"retries: {tries} are never all made: escalateAfter: {limit} calls a human first; {advice}",
            )


def _never(rule: Rule, setting: Setting) -> Found:
    """Actions that this trigger can never lead to."""
    telling = sorted(_TELLING & set(rule.action))
    if rule.trigger in _OVER and telling:
        yield "action", f"{telling[0]} is never carried out: {_OVER[rule.trigger]}"
    if rule.trigger is Trigger.AGENT_STUCK and Reply.SEND_TO_AGENT in rule.action:
        why = "words wait until the agent is at rest, and a stuck one is not; restart-agent stops it first"
        yield "action", f"send-to-agent is never carried out: {why}"
    if Reply.AUTO_MERGE in rule.action and rule.trigger is not Trigger.APPROVED_AND_GREEN:
        yield "action", "auto-merge is never carried out: only what is approved and green is merged"
    if Reply.RERUN_CI in rule.action and rule.trigger is not Trigger.CI_FAILED:
        yield "action", "rerun-ci is never carried out: only failed checks are run again, under ci-failed"
    if rule.trigger is Trigger.BUGBOT_COMMENTS and setting.forge == "local" and setting.said.get(rule.trigger):
        yield "", "this never fires: the built-in forge has no bots that comment"


def _at_odds(rule: Rule, setting: Setting) -> Found:
    """Actions of one rule that undo each other."""
    del setting
    stops = sorted(_STOPPING & set(rule.action))
    if stops and Reply.SEND_TO_AGENT in rule.action:
        yield "action", f"{stops[0]} and send-to-agent fight each other: an agent that was stopped is told nothing"
    if Reply.STOP_AGENT in rule.action and Reply.RESTART_AGENT in rule.action:
        yield "action", "stop-agent and restart-agent fight each other: it is stopped and goes on again at once"
    if Reply.PAUSE in rule.action and Reply.AUTO_MERGE in rule.action:
        yield "action", "pause and auto-merge fight each other: what is paused is merged all the same"


def _unheard(rule: Rule, setting: Setting) -> Found:
    """People are to be told, and no channel would tell them."""
    # Where there is no channel at all the board is how people are told, unless the rule was written to notify.
    meant = bool(setting.routed) or _said(rule, setting, "action") or _said(rule, setting, "priority")
    if meant and Reply.NOTIFY in rule.action and rule.priority not in setting.routed:
        where = f"write notificationRouting: {{{rule.priority}: [...]}}"
        yield "priority", f"nobody is notified: no channel is sent the priority {rule.priority}; {where}"
    silent = not rule.auto and not {Reply.NOTIFY, Reply.AUTO_MERGE} & set(rule.action)
    if silent:
        yield "auto", f"auto: false leaves {', '.join(rule.action)} to a person, and without notify nobody is told"


def _without_effect(rule: Rule, setting: Setting) -> Found:
    if _said(rule, setting, "threshold") and rule.trigger is not Trigger.AGENT_STUCK:
        yield "threshold", "threshold has no effect here: only agent-stuck waits for one"
    if _said(rule, setting, "message") and rule.message and not _WITH_WORDS & set(rule.action):
        yield "message", f"message has no effect: {', '.join(rule.action)} says nothing to anybody"


def _merging(rule: Rule, setting: Setting) -> Found:
    """What is merged without anybody pressing a button, and on whose word."""
    if rule.trigger is not Trigger.APPROVED_AND_GREEN or Reply.AUTO_MERGE not in rule.action:
        return
    if not rule.auto:
        yield "auto", "auto-merge never merges by itself with auto: false: a person presses the button"
        return
    if setting.forge is None:
        return
    if setting.required_checks == ():
        yield "action", "auto-merge merges whatever the checks say: requiredChecks: [] asks for none"
    elif setting.required_checks is None:
        advice = "write scm.requiredChecks to say what has to be green"
        yield "action", f"auto-merge never merges where no check is required or reported; {advice}"
    if setting.approvals == 0:
        yield "action", "auto-merge merges what nobody has looked at: requiredApprovals: 0"


def _silence(rule: Rule, setting: Setting) -> Found:
    del setting
    if rule.trigger is Trigger.AGENT_STUCK and rule.threshold > LONGEST_SILENCE:
        span = format_duration(rule.threshold)
        yield "threshold", f"threshold: {span} is longer than a session lives without progress: this hardly ever fires"
