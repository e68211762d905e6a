"""Rules that can never do what they say, or that fight each other, are found, and the reason is told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.domain.conflicts import Conflict, Setting, conflicts_of
from orchestrator.domain.rules import Override, Priority, Reply, Trigger, effective

ALL = frozenset(Priority)
SEND, NOTIFY, MERGE = Reply.SEND_TO_AGENT, Reply.NOTIFY, Reply.AUTO_MERGE
_CAMEL = {"escalate_after": "escalateAfter", "include_summary": "includeSummary"}


def found(trigger: Trigger, fields: Mapping[str, Any], **more: Any) -> tuple[Conflict, ...]:
    """The conflicts of one rule with these fields set, where everything else is at its default."""
    override = Override(trigger=trigger, **fields)
    said = frozenset(_CAMEL.get(name, name) for name in fields)
    rules = {one: effective(one, [override]) for one in Trigger}
    return conflicts_of(Setting(**{"rules": rules, "said": {trigger: said}, "routed": ALL, **more}))


def why(trigger: Trigger, fields: Mapping[str, Any], **more: Any) -> str:
    """The one reason that is told."""
    (one,) = found(trigger, fields, **more)
    assert one.trigger is trigger
    return f"{one.field}: {one.why}"


@pytest.mark.parametrize("routed", [ALL, frozenset[Priority]()])
@pytest.mark.parametrize("forge", [None, "local", "github"])
def test_the_defaults_have_no_conflict(routed: frozenset[Priority], forge: str | None) -> None:
    rules = {trigger: effective(trigger, []) for trigger in Trigger}

    assert conflicts_of(Setting(rules=rules, routed=routed, forge=forge)) == ()


@pytest.mark.parametrize(
    ("trigger", "fields"),
    [
        (Trigger.CI_FAILED, {"retries": 3, "escalate_after": 3}),
        (Trigger.CI_FAILED, {"retries": 3, "escalate_after": timedelta(hours=1)}),
        (Trigger.AGENT_STUCK, {"threshold": timedelta(minutes=20), "action": (NOTIFY, Reply.RESTART_AGENT)}),
        (Trigger.CHANGES_REQUESTED, {"message": "Be polite."}),
        (Trigger.CI_FAILED, {"retries": 0, "action": (Reply.ESCALATE,), "escalate_after": timedelta(hours=1)}),
        (Trigger.APPROVED_AND_GREEN, {"auto": False, "action": (NOTIFY,)}),
    ],
)
def test_rules_that_do_what_they_say_are_left_in_peace(trigger: Trigger, fields: Mapping[str, Any]) -> None:
    assert found(trigger, fields) == ()


def test_no_tries_mean_that_nothing_is_ever_sent() -> None:
    assert why(Trigger.CI_FAILED, {"retries": 0}).startswith("retries: retries: 0 means that nothing is ever sent")
    told = why(Trigger.AGENT_IDLE, {"retries": 0, "action": (Reply.RESTART_AGENT,)})
    assert "action: escalate" in told


def test_a_number_to_escalate_after_that_the_retries_never_reach() -> None:
    assert "escalateAfter: 5 is never reached: retries: 2" in why(Trigger.CI_FAILED, {"escalate_after": 5})


def test_retries_that_an_inherited_escalate_after_cuts_short() -> None:
    told = why(Trigger.CI_FAILED, {"retries": 5})

    assert told.startswith("retries: retries: 5 are never all made: escalateAfter: 2 calls a human first")
    assert "write escalateAfter: 5" in told


def test_auto_merge_with_auto_off_never_merges_by_itself() -> None:
    assert why(Trigger.APPROVED_AND_GREEN, {"action": (MERGE,)}).startswith("auto: auto-merge never merges by itself")


def test_auto_merge_where_the_checks_are_unknown_or_not_asked_for() -> None:
    fields = {"auto": True, "action": (MERGE,)}

    assert "no check is required or reported" in why(Trigger.APPROVED_AND_GREEN, fields, forge="github")
    assert "requiredChecks: []" in why(Trigger.APPROVED_AND_GREEN, fields, forge="local", required_checks=())
    assert found(Trigger.APPROVED_AND_GREEN, fields, forge="github", required_checks=("ci",)) == ()


def test_auto_merge_without_any_approval() -> None:
    fields = {"auto": True, "action": (MERGE,)}

    told = why(Trigger.APPROVED_AND_GREEN, fields, forge="github", required_checks=("ci",), approvals=0)
    assert "nobody has looked at: requiredApprovals: 0" in told


def test_a_notification_that_no_channel_is_sent() -> None:
    urgent = frozenset({Priority.URGENT, Priority.INFO, Priority.WARNING})

    told = [one.why for one in found(Trigger.AGENT_STUCK, {"priority": Priority.ACTION}, routed=urgent)]
    assert all("no channel is sent the priority action; write notificationRouting" in one for one in told)
    assert len(told) == 3  # that one, and the two that have this priority by default
    assert "no channel" in why(Trigger.AGENT_STUCK, {"action": (NOTIFY,)}, routed=frozenset())


def test_what_is_left_to_a_person_whom_nobody_tells() -> None:
    assert "without notify nobody is told" in why(Trigger.CI_FAILED, {"auto": False})


def test_a_threshold_where_nothing_waits_for_one() -> None:
    told = why(Trigger.CI_FAILED, {"threshold": timedelta(minutes=5)})
    assert told == "threshold: threshold has no effect here: only agent-stuck waits for one"


def test_a_message_on_an_action_that_says_nothing() -> None:
    told = why(Trigger.APPROVED_AND_GREEN, {"auto": True, "action": (MERGE,), "message": "Nice."})
    assert told.startswith("message: message has no effect")


def test_bots_do_not_comment_in_the_built_in_forge() -> None:
    assert "never fires" in why(Trigger.BUGBOT_COMMENTS, {"escalate_after": timedelta(hours=1)}, forge="local")
    assert found(Trigger.BUGBOT_COMMENTS, {"escalate_after": timedelta(hours=1)}, forge="github") == ()


@pytest.mark.parametrize(
    ("trigger", "action", "named"),
    [
        (Trigger.CI_FAILED, (Reply.STOP_AGENT, SEND), "stop-agent and send-to-agent fight each other"),
        (Trigger.CI_FAILED, (Reply.PAUSE, SEND), "pause and send-to-agent fight each other"),
        (Trigger.AGENT_IDLE, (Reply.STOP_AGENT, Reply.RESTART_AGENT), "stop-agent and restart-agent fight"),
        (Trigger.AGENT_STUCK, (SEND,), "words wait until the agent is at rest"),
        (Trigger.ALL_COMPLETE, (SEND,), "every task has ended by then"),
        (Trigger.PR_CLOSED, (Reply.RESTART_AGENT,), "the task has ended with its pull request"),
        (Trigger.CI_FAILED, (MERGE,), "only what is approved and green is merged"),
        (Trigger.AGENT_EXITED, (Reply.RERUN_CI,), "only failed checks are run again"),
    ],
)
def test_actions_that_never_happen_or_undo_each_other(trigger: Trigger, action: tuple[Reply, ...], named: str) -> None:
    assert named in why(trigger, {"action": action})


def test_what_is_paused_and_merged_all_the_same() -> None:
    told = [one.why for one in found(Trigger.APPROVED_AND_GREEN, {"auto": True, "action": (Reply.PAUSE, MERGE)})]
    assert [one for one in told if one.startswith("pause and auto-merge fight")]


def test_a_silence_longer_than_any_session_lives() -> None:
    assert "hardly ever fires" in why(Trigger.AGENT_STUCK, {"threshold": timedelta(days=2)})
    assert found(Trigger.AGENT_STUCK, {"threshold": timedelta(days=1)}) == ()
