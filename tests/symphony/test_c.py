"""Symphony, group C: who has an issue, what a session does, and how it goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.actions import Interrupt, Prepare, SendToAgent, StartTurn
from orchestrator.domain.claims import Claim, Phase, claim_of, phase_of
from orchestrator.domain.issues import Standing
from orchestrator.domain.lifecycle import decide
from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import (
    IssueStanding,
    JobFacts,
    JobState,
    MessageFacts,
    Policy,
    RequestFacts,
    Snapshot,
    TurnEnd,
)
from orchestrator.domain.status import Outcome, TaskStatus
from orchestrator.models import Interruption, Turn
from orchestrator.services import tasks
from tests.domain.facts import DONE_TURN, LIVE_TURN, NOW, SESSION, TASK, message, snapshot
from tests.lab import NOTHING, lab
from tests.symphony.lab import apply, begun, script, tracked_lab

ISSUE = IssueStanding(identifier="#7", state="open", standing=Standing.ACTIVE, since=NOW)
LAPSED = replace(ISSUE, standing=Standing.LAPSED, why="it has no label agent")
TRACKED = replace(TASK, issue=ISSUE)
IDLE = replace(DONE_TURN, produced=False, ended_at=NOW)
DIED = replace(DONE_TURN, end=TurnEnd.KILLED, produced=False, ended_at=NOW)
POLICY = Policy(max_turns=3, longest_retry_wait=timedelta(minutes=5), resumes=8)


def facts(**changes: object) -> Snapshot:
    """A task of an issue, at work, without a pull request."""
    usual = {
        "task": TRACKED,
        "policy": POLICY,
        "session": replace(SESSION, commits=0, published_sha=None),
        "pull": None,
    }
    return snapshot(**{**usual, **changes})


def test_c1_an_issue_is_in_exactly_one_state_of_claim() -> None:
    unprepared = replace(SESSION, prepared=False, commits=0)
    waits = {"prepare:5:0": JobFacts(key="prepare:5:0", state=JobState.PROMISED, error="the host is full")}

    assert claim_of(None) is Claim.UNCLAIMED
    assert claim_of(facts(session=None, turn=None)) is Claim.CLAIMED
    assert claim_of(facts(session=unprepared, turn=None)) is Claim.RUNNING
    assert claim_of(facts(session=unprepared, turn=None, jobs=waits)) is Claim.RETRY_QUEUED
    assert claim_of(facts(turn=LIVE_TURN)) is Claim.RUNNING
    assert claim_of(facts(turn=DIED)) is Claim.RETRY_QUEUED
    assert claim_of(facts(task=replace(TRACKED, issue=LAPSED))) is Claim.RELEASED
    assert claim_of(facts(task=replace(TRACKED, outcome=Outcome.MERGED, ended_at=NOW))) is Claim.RELEASED


def test_c2_the_phases_of_an_attempt_follow_from_its_facts() -> None:
    unprepared = replace(SESSION, prepared=False, commits=0)
    failed = {
        "prepare:5:0": JobFacts(key="prepare:5:0", state=JobState.REFUSED, code="template_render_error", error="no")
    }
    stuck = (message(None, "task"), message(Trigger.AGENT_STUCK, "turn-1.1.0", turn=None))
    stopped = replace(DONE_TURN, end=TurnEnd.STOPPED)

    assert phase_of(facts(session=None, turn=None)) is None
    assert phase_of(facts(session=unprepared, turn=None)) is Phase.PREPARING_WORKSPACE
    assert phase_of(facts(session=unprepared, turn=None, jobs=failed)) is Phase.BUILDING_PROMPT
    assert phase_of(facts(turn=replace(LIVE_TURN, started=False))) is Phase.LAUNCHING
    assert phase_of(facts(turn=replace(LIVE_TURN, heard=False))) is Phase.INITIALIZING
    assert phase_of(facts(turn=LIVE_TURN)) is Phase.STREAMING
    assert phase_of(facts(turn=replace(DONE_TURN, published=False))) is Phase.FINISHING
    assert phase_of(facts(turn=DONE_TURN)) is Phase.SUCCEEDED
    assert phase_of(facts(turn=replace(DIED, end=TurnEnd.FAILED))) is Phase.FAILED
    assert phase_of(facts(turn=replace(DIED, detail="its deadline passed"))) is Phase.TIMED_OUT
    assert phase_of(facts(turn=stopped, messages=stuck)) is Phase.STALLED
    assert phase_of(facts(turn=stopped)) is Phase.CANCELED
    assert phase_of(facts(task=replace(TRACKED, issue=LAPSED), turn=LIVE_TURN)) is Phase.CANCELED


def test_c3_a_decision_is_pure_and_deciding_again_asks_for_the_same() -> None:
    """Exceeds: the one authority is a transaction on the task's row; decide has no memory of its own, and its actions have unique keys."""
    for one in (facts(turn=IDLE, now=NOW + timedelta(seconds=2)), facts(turn=DIED, now=NOW + timedelta(minutes=1))):
        assert decide(one) == decide(one)
        assert decide(one).actions


def test_c4_after_a_turn_without_a_change_the_conversation_goes_on_with_guidance_alone() -> None:
    (told,) = decide(facts(turn=IDLE, now=NOW + timedelta(seconds=1))).actions

    assert isinstance(told, SendToAgent)
    assert "the issue #7 still is open" in told.text
    assert "Task:" not in told.text


def test_c4_an_agent_that_says_again_that_nothing_is_left_is_believed() -> None:
    """Differs: the specification goes on until max_turns while the issue is open, which costs a turn each time and changes nothing."""
    again = (message(None, "task"), message(None, "continue", turn=2))
    decision = decide(facts(turn=replace(IDLE, n=2), messages=again, now=NOW + timedelta(minutes=1)))

    assert decision.outcome is Outcome.DONE


def test_c4_no_session_has_more_turns_than_it_may_and_a_person_is_asked_once() -> None:
    waiting: tuple[MessageFacts, ...] = (message(None, "task"), message(Trigger.CI_FAILED, "x", turn=None))
    spent = facts(turn=replace(DONE_TURN, n=3), messages=waiting)
    decision = decide(spent)

    assert [type(action) for action in decision.actions] == [Interrupt]
    assert decision.status is TaskStatus.NEEDS_INPUT
    granted = decide(replace(spent, task=replace(TRACKED, attempt=1)))
    assert [type(action) for action in granted.actions] == [StartTurn]


@pytest.mark.django_db(transaction=True)
def test_c4_the_issue_is_looked_at_again_and_the_agent_goes_on_in_its_conversation_up_to_max_turns() -> None:
    with tracked_lab(NOTHING, "agent: {max_turns: 2}") as lab:
        task = begun(lab)
        lab.here.later(timedelta(seconds=2))
        lab.here.reach(task, TaskStatus.DONE)

        first, second = Turn.objects.order_by("n")
        assert "Work on #1: Fix it" in first.prompt
        assert "Work on" not in second.prompt
        assert "the issue #1 still is open" in second.prompt


@pytest.mark.django_db(transaction=True)
def test_c4_a_person_gives_a_session_that_has_had_its_turns_as_many_more() -> None:
    with lab(**script("exit 1")) as here:
        apply(here.project, "agent: {max_turns: 1}")
        task = here.submit()
        here.later(timedelta(minutes=5))
        here.until(lambda: Interruption.objects.filter(cause__startswith="max-turns").exists(), "asked")
        assert Turn.objects.count() == 1
        tasks.retry(task=task, actor=here.me)
        here.until(lambda: Turn.objects.count() == 2, "a second turn")


def test_c5_the_continuation_comes_a_second_after_the_end_of_the_turn() -> None:
    early = decide(facts(turn=IDLE, now=NOW + timedelta(milliseconds=900)))

    assert (early.actions, early.outcome) == ((), None)
    assert early.wake_at == NOW + timedelta(seconds=1)


def test_c6_what_waits_for_a_person_is_a_row_and_not_a_memory() -> None:
    """Exceeds: a question of the agent is an interruption in the database, told, reminded and answered; see test_answers."""
    asked = RequestFacts(id="q", kind="question", question="Which?", asked_at=NOW, answered=False)
    asking = replace(DONE_TURN, request=asked)
    decision = decide(facts(turn=asking))

    assert decision.status is TaskStatus.NEEDS_INPUT
    assert any(isinstance(action, Interrupt) for action in decision.actions)


def test_c1_a_lapsed_issue_begins_nothing() -> None:
    waiting = facts(task=replace(TRACKED, issue=LAPSED), session=replace(SESSION, prepared=False), turn=None)

    assert not any(isinstance(action, Prepare) for action in decide(waiting).actions)
    assert "it has no label agent" in decide(waiting).reason
