"""Rules and standings as sentences: what a rule does, and what a task waits for right now."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.domain.durations import format_duration
from orchestrator.domain.lifecycle import Decision
from orchestrator.domain.rules import Reply, Rule, Trigger
from orchestrator.domain.status import TaskStatus

_WHEN = {
    Trigger.CI_FAILED: "the checks of the head have settled and one of them failed",
    Trigger.CHANGES_REQUESTED: "a trusted reviewer requests changes or leaves threads open",
    Trigger.BUGBOT_COMMENTS: "a trusted bot leaves threads open",
    Trigger.MERGE_CONFLICTS: "the pull request conflicts with its base",
    Trigger.APPROVED_AND_GREEN: "the head is approved and green",
    Trigger.PR_CLOSED: "the pull request is closed without a merge",
    Trigger.AGENT_IDLE: "the agent ended its turn with work left to do",
    Trigger.AGENT_STUCK: "the agent shows no progress",
    Trigger.AGENT_NEEDS_INPUT: "the agent asks something or waits for permission",
    Trigger.AGENT_EXITED: "the agent's program died more often than it is resumed",
    Trigger.ALL_COMPLETE: "every task of the project has ended",
    Trigger.BUDGET_EXCEEDED: "a budget is used up",
}
_DOES = {
    Reply.SEND_TO_AGENT: "the agent is told",
    Reply.NOTIFY: "people are told",
    Reply.AUTO_MERGE: "exactly that head is merged",
    Reply.ESCALATE: "a person is called",
    Reply.RESTART_AGENT: "the agent is restarted",
    Reply.STOP_AGENT: "the agent is stopped",
    Reply.RERUN_CI: "the failed checks are run again",
    Reply.PAUSE: "the agent is paused",
}


def rule_in_words(rule: Rule) -> str:
    """An effective rule as somebody would say it."""
    span = f" for {format_duration(rule.threshold)}" if rule.trigger is Trigger.AGENT_STUCK else ""
    does = " and ".join(_DOES[reply] for reply in rule.action)
    if not rule.auto:
        told = ", and people are told" if Reply.NOTIFY in rule.action else ""
        does = f"a person decides at the task's card{told}"
    return f"When {_WHEN[rule.trigger]}{span}, {does}{_limit(rule)}."


def _limit(rule: Rule) -> str:
    tries = [limit for limit in (rule.retries, rule.escalate_after) if isinstance(limit, int)]
    times = []
    if tries:
        times.append(f"after {min(tries)} {'try' if min(tries) == 1 else 'tries'}" if min(tries) else "at once")
    if isinstance(rule.escalate_after, timedelta):
        times.append(f"after {format_duration(rule.escalate_after)}")
    first = ", whichever comes first" if len(times) > 1 else ""
    return f"; {' or '.join(times)} without success a person is called{first}" if times else ""


_LEADS = {
    TaskStatus.QUEUED: "It waits in the queue",
    TaskStatus.STARTING: "It is being started",
    TaskStatus.WORKING: "It is being worked on",
    TaskStatus.NEEDS_INPUT: "It waits for a person's answer",
    TaskStatus.STUCK: "It waits for the agent, or for a person",
    TaskStatus.CI_PENDING: "It waits for the checks",
    TaskStatus.CI_FAILED: "It waits for a fix",
    TaskStatus.REVIEW_PENDING: "It waits for a review",
    TaskStatus.CHANGES_REQUESTED: "It waits for the changes that reviewers asked for",
    TaskStatus.CONFLICTED: "It waits for its conflicts to be resolved",
    TaskStatus.MERGEABLE: "It waits to be merged",
    TaskStatus.MERGING: "It waits for the merge",
    TaskStatus.FAILED: "It waits for a person: something failed",
}
_ABOUT = {
    TaskStatus.NEEDS_INPUT: Trigger.AGENT_NEEDS_INPUT,
    TaskStatus.STUCK: Trigger.AGENT_STUCK,
    TaskStatus.CI_FAILED: Trigger.CI_FAILED,
    TaskStatus.CHANGES_REQUESTED: Trigger.CHANGES_REQUESTED,
    TaskStatus.CONFLICTED: Trigger.MERGE_CONFLICTS,
    TaskStatus.MERGEABLE: Trigger.APPROVED_AND_GREEN,
    TaskStatus.FAILED: Trigger.AGENT_EXITED,
    TaskStatus.CLOSED: Trigger.PR_CLOSED,
}


def waits_for(decision: Decision, *, with_reason: bool = True) -> str:
    """Why a task is where it is, in a sentence: what it waits for, what its rule does about that, when somebody looks again by themselves.
    `with_reason`: also what the status gives as its reason, for those who do not show it beside this."""
    lead = _LEADS.get(decision.status, "It waits for nothing any more")
    why = f": {decision.reason}" if with_reason and decision.reason else ""
    about = _ABOUT.get(decision.status)
    rule = next((one for one in decision.reasons if one.rule.trigger is about), None)
    said = f" The rule {rule.rule.title} says: {rule.then}." if rule is not None else ""
    later = f" If nothing changes, it is looked at again at {decision.wake_at:%H:%M} UTC." if decision.wake_at else ""
    return f"{lead}{why}.{said}{later}"
