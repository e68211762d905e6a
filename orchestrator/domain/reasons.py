"""Why: what was seen, which rule it met, and what followed or why nothing did, in a line that people read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from orchestrator.domain.prompts import one_line
from orchestrator.domain.rules import Rule, Trigger

SHOWN = 3  # pieces of evidence in a line; the others are counted

_UNJUDGED = {
    Trigger.CI_FAILED: "the checks of the new head have not come to their end",
    Trigger.CHANGES_REQUESTED: "the agent has answered: the next word is the reviewer's",
    Trigger.BUGBOT_COMMENTS: "the agent has answered: the next word is the bot's",
    Trigger.MERGE_CONFLICTS: "whether it conflicts is not known at the moment",
    Trigger.AGENT_IDLE: "the agent is at work, or waits for a person",
    Trigger.AGENT_STUCK: "the host is silent, so nobody can tell",
    Trigger.AGENT_EXITED: "the agent is resumed first",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Facts seen -> rule -> what is done, or why nothing is."""

    seen: str
    rule: Rule
    then: str

    def __str__(self) -> str:
        return f"{self.seen} -> {self.rule.title} -> {self.then}"


def seen_in(evidence: Sequence[str], trigger: Trigger) -> str:
    """The evidence of a trigger in one line, however much there is of it."""
    told = [one_line(line) for line in islice((line for line in evidence if line), SHOWN)]
    left = sum(bool(line) for line in evidence) - len(told)
    return "; ".join([*told, *([f"{left} more"] if left else [])]) or f"{trigger} holds"


def unjudged(trigger: Trigger) -> str:
    """Why a trigger that held neither holds nor has cleared."""
    return _UNJUDGED.get(trigger, "it cannot be judged at the moment")
