"""What is answered in review threads, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.actions import AnswerThread
from orchestrator.domain.lifecycle import decide
from orchestrator.domain.snapshot import CommentFacts, Policy, Snapshot, TurnEnd, TurnFacts
from tests.domain.facts import BASE, DONE_TURN, HEAD, PULL, comment, snapshot

TOLD = replace(comment(told=True), told_in=1, told_at=BASE)
THEIRS = Policy(answers_threads=True)


def answers(facts: Snapshot) -> list[AnswerThread]:
    return [action for action in decide(facts).actions if isinstance(action, AnswerThread)]


def about(*comments: CommentFacts, turn: TurnFacts = DONE_TURN, policy: Policy = THEIRS) -> Snapshot:
    return snapshot(pull=replace(PULL, comments=comments), turn=turn, policy=policy)


def test_a_comment_that_the_published_turn_was_told_is_answered_and_settled_by_its_commit() -> None:
    assert answers(about(TOLD)) == [AnswerThread(thread="t1", comment=1, turn=1, settles=True)]


def test_without_a_commit_the_thread_is_answered_and_left_to_its_people() -> None:
    nothing_new = replace(TOLD, told_at=HEAD)
    assert answers(about(nothing_new, turn=replace(DONE_TURN, produced=False))) == [
        AnswerThread(thread="t1", comment=1, turn=1, settles=False)
    ]


def test_a_comment_whose_turn_died_is_answered_by_the_turn_that_went_on_from_there() -> None:
    went_on = replace(DONE_TURN, n=2, resumes=1)
    assert answers(about(TOLD, turn=went_on)) == [AnswerThread(thread="t1", comment=1, turn=2, settles=True)]


def test_a_commit_that_the_turn_made_before_it_died_settles_the_thread_when_the_next_adds_none() -> None:
    went_on = replace(DONE_TURN, n=2, resumes=1, produced=False)
    assert answers(about(TOLD, turn=went_on)) == [AnswerThread(thread="t1", comment=1, turn=2, settles=True)]


def test_only_the_newest_words_of_a_thread_are_answered() -> None:
    reply = replace(comment(number=2, told=True), thread="t1", told_in=1)
    assert [one.comment for one in answers(about(TOLD, reply))] == [2]
    ours = replace(comment(number=3, ours=True, trusted=False), thread="t1")
    assert answers(about(TOLD, reply, ours)) == []


@pytest.mark.parametrize(
    "spoken",
    [
        replace(TOLD, told=False, told_in=None),
        replace(TOLD, told_in=0),
        replace(TOLD, told_in=2),
        replace(TOLD, resolved=True),
        replace(TOLD, trusted=False),
        replace(TOLD, bot=True),
    ],
)
def test_what_was_not_told_in_this_turn_or_needs_no_answer_gets_none(spoken: CommentFacts) -> None:
    assert answers(about(spoken)) == []


@pytest.mark.parametrize(
    "turn",
    [
        replace(DONE_TURN, end=None, published=False),
        replace(DONE_TURN, published=False),
        replace(DONE_TURN, end=TurnEnd.KILLED),
    ],
)
def test_nothing_is_answered_before_the_turn_is_over_and_published(turn: TurnFacts) -> None:
    assert answers(about(TOLD, turn=turn)) == []


def test_the_built_in_forge_answers_no_threads() -> None:
    assert answers(about(TOLD, policy=Policy())) == []
