"""Progress: a new head, fewer failed checks, threads resolved, a conflict cleared; and agents that are busy without any."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from orchestrator.domain.budgets import Used
from orchestrator.domain.lifecycle import decide
from orchestrator.domain.progress import progress_of
from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import Progress, PullFacts, Snapshot, TurnUse
from orchestrator.domain.status import TaskStatus
from tests.domain.facts import HEAD, LIVE_TURN, NOW, PULL, TASK, Story, check, comment, message, snapshot

BEFORE = Progress(
    at=NOW - timedelta(hours=2), what=f"head {HEAD[:10]}", head=HEAD, failed=2, threads=2, conflicted=True
)
RED = (check("failure", number=1, name="test"), check("failure", number=2, name="lint"))
STANDS = replace(
    PULL, required_checks=("test", "lint"), checks=RED, comments=(comment(number=1), comment(number=2)), mergeable=False
)


def seen(pull: PullFacts | None) -> Progress:
    return progress_of(snapshot(task=replace(TASK, progress=BEFORE), pull=pull))


def test_what_stands_as_it_stood_is_no_progress() -> None:
    assert seen(STANDS) == BEFORE


@pytest.mark.parametrize(
    ("pull", "what"),
    [
        (replace(STANDS, head_sha="c" * 40), "head cccccccccc"),
        (replace(STANDS, checks=(RED[0], check(number=2, name="lint"))), "1 failed checks, 2 before"),
        (replace(STANDS, comments=(comment(number=1),)), "1 threads resolved"),
        (replace(STANDS, mergeable=True), "the conflict is cleared"),
    ],
)
def test_each_step_is_named_with_its_time(pull: PullFacts, what: str) -> None:
    assert (seen(pull).at, seen(pull).what) == (NOW, what)


@pytest.mark.parametrize(
    "pull",
    [
        replace(STANDS, checks=(*RED[:1], check(None, number=2, name="lint"))),
        replace(STANDS, mergeable=None),
        None,
    ],
)
def test_what_is_not_known_yet_is_neither_better_nor_worse(pull: PullFacts | None) -> None:
    assert seen(pull) == BEFORE


def test_what_got_worse_is_remembered_and_counts_when_it_gets_better() -> None:
    three = (*RED, check("failure", number=3, name="types"))
    worse = seen(replace(STANDS, required_checks=("test", "lint", "types"), checks=three))
    assert (worse.at, worse.failed) == (BEFORE.at, 3)
    assert progress_of(snapshot(task=replace(TASK, progress=worse), pull=STANDS)).what == "2 failed checks, 3 before"


def busy(*minutes: int, since: timedelta = timedelta(hours=1), task: Progress = BEFORE) -> Snapshot:
    """An agent that works in the last of these turns, each of which took so long, and said something just now."""
    turns = tuple(
        TurnUse(
            began_at=NOW - since + timedelta(minutes=n),
            used=Used(cost=Decimal("0.40"), tokens=1000, time=timedelta(minutes=long)),
            running=n == len(minutes) - 1,
        )
        for n, long in enumerate(minutes)
    )
    return snapshot(
        task=replace(TASK, progress=task), pull=STANDS, turn=replace(LIVE_TURN, n=len(minutes)), turns=turns
    )


def test_several_turns_without_progress_are_stuck_however_busy() -> None:
    decision = decide(busy(20, 20, 1))
    assert decision.status is TaskStatus.STUCK
    assert decision.evidence == (
        f"3 turns, 41m, 3,000 tokens, 1.20 USD since the last progress (head {HEAD[:10]} at 10:00 UTC)",
    )


@pytest.mark.parametrize("minutes", [(20, 20), (3, 3, 3)])
def test_few_turns_or_little_time_are_not(minutes: tuple[int, ...]) -> None:
    decision = decide(busy(*minutes))
    assert decision.status is TaskStatus.WORKING


def test_it_is_looked_at_again_when_the_time_will_have_passed() -> None:
    assert decide(busy(3, 3, 3)).wake_at == NOW + timedelta(minutes=1)


def test_a_human_is_told_once_for_each_standstill() -> None:
    story = Story(busy(20, 20, 1))
    story.see()
    story.see(turns=busy(20, 20, 5).turns)
    assert len([asked for asked in story.asked if asked.trigger is Trigger.AGENT_STUCK]) == 1
    assert all(asked.open for asked in story.now.interruptions)


def test_progress_answers_the_question() -> None:
    story = Story(busy(20, 20, 1))
    story.see()
    story.see(pull=replace(STANDS, head_sha="c" * 40))
    assert not any(asked.open for asked in story.now.interruptions)


def test_what_a_person_asks_for_is_no_lack_of_progress() -> None:
    asked = replace(message(None, "person", turn=2), created_at=NOW - timedelta(minutes=30), by_a_person=True)
    assert decide(replace(busy(20, 20, 1), messages=(asked,))).status is TaskStatus.WORKING
