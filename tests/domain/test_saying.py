"""Rules and standings as sentences; reasons as lines."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.lifecycle import decide
from orchestrator.domain.rules import DEFAULTS, Priority, Reply, Rule, Trigger
from orchestrator.domain.saying import rule_in_words, waits_for
from orchestrator.domain.snapshot import Memory
from tests.domain.facts import DONE_TURN, NOW, PULL, check, message, review, snapshot

RED = replace(PULL, checks=(check("failure"),))


@pytest.mark.parametrize(
    ("trigger", "auto", "action", "priority", "retries", "escalate_after"),
    [
        ("ci-failed", True, "send-to-agent", "warning", 2, 2),
        ("changes-requested", True, "send-to-agent", "warning", None, timedelta(minutes=30)),
        ("bugbot-comments", True, "send-to-agent", "info", None, timedelta(minutes=30)),
        ("merge-conflicts", True, "send-to-agent", "warning", None, timedelta(minutes=15)),
        ("approved-and-green", False, "notify", "action", None, None),
        ("pr-closed", True, "notify", "action", None, None),
        ("agent-idle", True, "send-to-agent", "info", 2, timedelta(minutes=15)),
        ("agent-stuck", True, "notify", "urgent", None, None),
        ("agent-needs-input", True, "notify", "urgent", None, None),
        ("agent-exited", True, "notify", "urgent", None, None),
        ("all-complete", True, "notify", "info", None, None),
    ],
)
def test_the_defaults_are_those_that_were_promised(
    trigger: str, auto: bool, action: str, priority: str, retries: int | None, escalate_after: object
) -> None:
    rule = DEFAULTS[Trigger(trigger)]
    assert (rule.auto, rule.action, rule.priority) == (auto, (Reply(action),), Priority(priority))
    assert (rule.retries, rule.escalate_after) == (retries, escalate_after)
    assert rule.version == 0


def test_every_rule_can_be_said() -> None:
    said = [rule_in_words(rule) for rule in DEFAULTS.values()]
    assert len(set(said)) == len(Trigger)
    assert said[0] == (
        "When the checks of the head have settled and one of them failed, the agent is told; after 2 tries without success a person is"
        " called."
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"retries": 1}, "after 1 try without success a person is called."),
        ({"retries": 0}, "the agent is told; at once without success"),
        (
            {"escalate_after": timedelta(hours=1)},
            "after 2 tries or after 1h without success a person is called, whichever",
        ),
        ({"auto": False}, "a person decides at the task's card; after 2 tries"),
        ({"auto": False, "action": (Reply.NOTIFY,)}, "a person decides at the task's card, and people are told"),
        ({"action": (Reply.STOP_AGENT, Reply.NOTIFY)}, "the agent is stopped and people are told"),
    ],
)
def test_a_rule_that_was_changed_says_so(fields: dict[str, object], words: str) -> None:
    rule: Rule = replace(DEFAULTS[Trigger.CI_FAILED], **fields)  # type: ignore[arg-type]  # fields by name
    assert words in rule_in_words(rule)


def test_a_line_says_what_was_seen_the_rule_with_its_version_and_what_followed() -> None:
    rules = {**DEFAULTS, Trigger.CI_FAILED: replace(DEFAULTS[Trigger.CI_FAILED], version=3)}
    assert (
        "test: failure -> ci-failed (version 3) -> send-to-agent (try 1 of 2)"
        in decide(snapshot(rules=rules, pull=RED)).why
    )


def test_a_quiet_trigger_says_why_it_is_quiet() -> None:
    escalated = Memory(trigger=Trigger.CI_FAILED, episode=1, held=True, since=NOW, escalated=True)
    (line,) = [
        one for one in decide(snapshot(pull=RED, memory={Trigger.CI_FAILED: escalated})).why if "ci-failed" in one
    ]
    assert line.endswith("-> nothing: a human was called; nothing more until it clears or somebody says retry")


def test_much_evidence_is_counted() -> None:
    pull = replace(
        PULL, required_checks=None, checks=tuple(check("failure", number=n, name=f"c{n}") for n in range(30))
    )
    (line,) = [one for one in decide(snapshot(pull=pull)).why if "ci-failed" in one]
    assert line.startswith("c0: failure; c1: failure; c2: failure; 27 more -> ci-failed -> ")


def test_what_a_task_waits_for_is_one_sentence() -> None:
    asked = replace(PULL, checks=(check(),), reviews=(review("request_changes", told=True),))
    held = Memory(
        trigger=Trigger.CHANGES_REQUESTED, episode=1, held=True, since=NOW, deadline_at=NOW + timedelta(minutes=30)
    )
    facts = snapshot(
        pull=asked,
        turn=replace(DONE_TURN, produced=False),
        memory={Trigger.CHANGES_REQUESTED: held},
        messages=(message(None, "task"), message(Trigger.CHANGES_REQUESTED, "o")),
    )
    told = waits_for(decide(facts))
    assert told.startswith(
        "It waits for the changes that reviewers asked for: changes are requested. The rule changes-req"
    )
    assert "a human is called at 12:30 UTC" in told
    assert told.count(": changes are requested") == 1
    assert ": changes are requested" not in waits_for(decide(facts), with_reason=False)
