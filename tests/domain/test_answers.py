"""What is answered in review threads, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.actions import AnswerThread, SendToAgent
from orchestrator.domain.answers import Answer, answers_in
from orchestrator.domain.lifecycle import decide
from orchestrator.domain.snapshot import CommentFacts, Policy, Snapshot, TurnEnd, TurnFacts
from tests.domain.facts import BASE, DONE_TURN, HEAD, PULL, Story, check, comment, review, snapshot

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


LAST_WORDS = """Both points are done.

- **thread PRRT_1**: renamed it
  and its test.
- `thread PRRT_2`: resolved: it is meant like this.
* Thread PRRT_3: [open] - needs a decision

Thread of thought: nothing.
thread PRRT_1: renamed it, and its test as well
"""


def test_an_agent_answers_threads_in_lines_of_its_last_message() -> None:
    assert answers_in(LAST_WORDS) == {
        "PRRT_1": Answer(words="renamed it, and its test as well"),
        "PRRT_2": Answer(words="it is meant like this.", settled=True),
        "PRRT_3": Answer(words="needs a decision", settled=False),
    }
    assert answers_in("thread PRRT_1: renamed it\n  and its test.\n\nBye")["PRRT_1"].words == "renamed it and its test."


@pytest.mark.parametrize("words", ["", "I am done.", "threads: 2", "the thread: x", "thread a b: c"])
def test_other_words_answer_no_thread(words: str) -> None:
    assert answers_in(words) == {}


@pytest.mark.parametrize(
    ("words", "produced", "settles"),
    [
        ("thread t1: done", True, True),
        ("thread t1: done", False, False),
        ("thread t1: resolved: it was right", False, True),
        ("thread t1: open: I do not know", True, False),
        ("thread t2: open", True, True),
    ],
)
def test_a_thread_is_settled_by_a_commit_or_where_the_agent_says_so(words: str, produced: bool, settles: bool) -> None:
    told = replace(TOLD, told_at=BASE if produced else HEAD)
    turn = replace(DONE_TURN, produced=produced, last_words=words)
    assert [one.settles for one in answers(about(told, turn=turn))] == [settles]


def test_words_that_were_changed_are_told_again_as_changed_and_answered_again() -> None:
    story = Story(about(comment()))
    story.see()
    story.answer(produced=True)
    edited = replace(comment(body="rename that"), edits=1)
    story.see(pull=replace(PULL, comments=(edited,)))
    first, second = (sent.text for sent in story.sent if isinstance(sent, SendToAgent))
    assert "changed" not in first
    assert "ann on a.py:3 (thread t1), who has changed this since you were told:" in second
    again = replace(edited, told=True, told_in=1)
    assert [one.key for one in answers(about(again))] == ["answer:1.1"]


def test_the_way_to_answer_is_told_where_threads_are_answered() -> None:
    (told,) = (action for action in decide(about(comment())).actions if isinstance(action, SendToAgent))
    assert "`thread ID: what you did, or why not`" in told.text
    (here,) = (a for a in decide(about(comment(), policy=Policy())).actions if isinstance(a, SendToAgent))
    assert "thread ID" not in here.text


def test_an_approval_whose_words_were_changed_is_taken_back_until_the_next() -> None:
    green = replace(PULL, checks=(check(),))
    edited = replace(review(), edits=1)
    assert decide(snapshot(pull=replace(green, reviews=(review(),)))).status == "mergeable"
    assert decide(snapshot(pull=replace(green, reviews=(edited,)))).status == "review_pending"
    assert decide(snapshot(pull=replace(green, reviews=(edited, review(number=2))))).status == "mergeable"
