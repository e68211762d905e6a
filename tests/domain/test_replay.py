"""Another rule set over recorded facts: the same rules differ in nothing, others in exactly what they say."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from orchestrator.domain.course import after, course_of, new_in
from orchestrator.domain.lifecycle import decide
from orchestrator.domain.replay import Compared, Effect, Kind, RulesAt, compare, counted, course
from orchestrator.domain.rules import DEFAULTS, Override, Reply, Rule, Trigger, laid_over
from orchestrator.domain.snapshot import Snapshot
from tests.domain.facts import DONE_TURN, HEAD, LIVE_TURN, NOW, PULL, SESSION, check, review, snapshot

SHAS = [letter * 40 for letter in "cdef"]


def otherwise(trigger: Trigger, **fields: object) -> RulesAt:
    """The rules that held, with these fields of one trigger laid over them."""
    override = Override(trigger=trigger, **fields)  # type: ignore[arg-type]  # fields by name
    return lambda facts: {name: laid_over(rule, [override]) for name, rule in facts.rules.items()}


class Recorder:
    """Facts that change one after the other, decided on and kept as the service does it."""

    def __init__(self, first: Snapshot) -> None:
        self.facts = first
        self.records: list[Snapshot] = []

    def see(self, minute: float, **facts: object) -> None:
        """At this minute the facts are these; messages that wait are carried by the turn that is told."""
        self.facts = replace(self.facts, now=NOW + timedelta(minutes=minute), **facts)  # type: ignore[arg-type]  # facts by name
        for step in course_of(self.facts).steps:
            self.records.append(step.snapshot)
            self.facts = after(step)

    def turn(self, minute: float, n: int, *, produced: bool = True) -> None:
        """The agent takes what waits, works, and is done a minute later."""
        carried = tuple(m if m.turn is not None else replace(m, turn=n, confirmed=True) for m in self.facts.messages)
        at = NOW + timedelta(minutes=minute)
        self.see(minute, messages=carried, turn=replace(LIVE_TURN, n=n, created_at=at, last_progress_at=at))
        self.see(minute + 1, turn=replace(DONE_TURN, n=n, created_at=at, last_progress_at=at, produced=produced))


def checked(conclusion: str, *, sha: str = HEAD, number: int = 1) -> object:
    return replace(PULL, head_sha=sha, checks=(check(conclusion, number=number),))


def red_twice_then_green() -> list[Snapshot]:
    """Red, told, red again, told again, green."""
    story = Recorder(snapshot(session=SESSION, turn=DONE_TURN, pull=PULL))
    story.see(0, pull=checked("failure"))
    story.turn(1, 2)
    story.see(5, pull=checked("failure", sha=SHAS[0], number=2))
    story.turn(6, 3)
    story.see(10, pull=checked("success", sha=SHAS[1], number=3))
    return story.records


def told(compared: Compared) -> list[str]:
    return [f"{(one.at - NOW).total_seconds() / 60:g} {one.trigger}: {one}" for one in compared.differences]


def test_the_rules_that_held_differ_in_nothing() -> None:
    compared = compare(red_twice_then_green(), lambda facts: facts.rules)

    assert compared.differences == ()
    assert compared.parts_at is None
    assert counted(compared.was) == {Kind.MESSAGE: 2}


def test_one_try_less_is_an_escalation_instead_of_the_second_message() -> None:
    compared = compare(red_twice_then_green(), otherwise(Trigger.CI_FAILED, retries=1))

    assert told(compared) == ["5 ci-failed: an escalation instead of message 2"]
    assert compared.parts_at == NOW + timedelta(minutes=5)
    assert counted(compared.was) == {Kind.MESSAGE: 2}
    assert counted(compared.now) == {Kind.MESSAGE: 1, Kind.ESCALATION: 1}


def test_what_was_not_sent_is_not_counted_as_sent() -> None:
    """The second message of the record carried a second try; a rule with auto off has none, and asks nobody twice."""
    compared = compare(red_twice_then_green(), otherwise(Trigger.CI_FAILED, auto=False, action=(Reply.NOTIFY,)))

    assert counted(compared.now) == {Kind.QUESTION: 2}
    assert told(compared) == [
        "0 ci-failed: a question instead of message 1",
        "5 ci-failed: a question instead of message 2",
    ]


def test_more_tries_go_on_telling_as_far_as_the_facts_go() -> None:
    story = Recorder(snapshot(session=SESSION, turn=DONE_TURN, pull=PULL))
    for n, sha in enumerate(SHAS):
        story.see(10 * n, pull=checked("failure", sha=sha, number=n + 1))
        story.turn(10 * n + 1, n + 2)

    compared = compare(story.records, otherwise(Trigger.CI_FAILED, retries=3, escalate_after=3))

    assert told(compared) == [
        "20 ci-failed: an escalation 10m later",
        "20 ci-failed: message 3",
    ]


def test_a_deadline_that_nobody_recorded_is_found_between_two_records() -> None:
    story = Recorder(snapshot(session=SESSION, turn=DONE_TURN, pull=PULL))
    story.see(0, pull=replace(PULL, checks=(check(),), reviews=(review("request_changes"),)))
    story.turn(1, 2, produced=False)
    story.see(31)
    story.see(60)

    compared = compare(story.records, otherwise(Trigger.CHANGES_REQUESTED, escalate_after=timedelta(minutes=10)))

    ours = [line for line in told(compared) if "changes-requested" in line]
    assert ours == ["10 changes-requested: an escalation 20m earlier"]


def test_a_merge_by_itself_ends_the_course_and_nothing_after_it_is_counted() -> None:
    story = Recorder(snapshot(session=SESSION, turn=DONE_TURN, pull=PULL))
    story.see(0, pull=replace(PULL, checks=(check(),), reviews=(review(),)))
    story.see(30, pull=checked("failure", sha=SHAS[0], number=2))

    compared = compare(story.records, otherwise(Trigger.APPROVED_AND_GREEN, auto=True, action=(Reply.AUTO_MERGE,)))

    assert told(compared) == [
        "0 approved-and-green: a merge by itself instead of a question",
        "30 ci-failed: no message 1",
    ]
    assert counted(compared.now) == {Kind.MERGE: 1}


@pytest.mark.parametrize("progress", [9, 19])
def test_no_alarm_is_invented_about_an_agent_whose_progress_nobody_recorded(progress: int) -> None:
    """The agent may have shown progress all the time; only a silence that lasted until the next record is one."""
    at_work = replace(LIVE_TURN, last_progress_at=NOW)
    seen = replace(at_work, last_progress_at=NOW + timedelta(minutes=progress))
    records = [
        snapshot(session=SESSION, turn=at_work),
        replace(snapshot(session=SESSION, turn=seen), now=NOW + timedelta(minutes=20)),
    ]

    effects = course(records, otherwise(Trigger.AGENT_STUCK, threshold=timedelta(minutes=5)))

    stuck = [(effect.at - NOW).total_seconds() / 60 for effect in effects]
    assert stuck == ([14.0] if progress == 9 else [])


def test_a_difference_reads_as_a_sentence() -> None:
    def effect(kind: Kind, name: str, at: datetime = NOW) -> Effect:
        return Effect(at=at, trigger=Trigger.CI_FAILED, kind=kind, name=name, n=2)

    words = [str(effect(kind, "x")) for kind in Kind]
    assert words == [
        "message 2",
        "a question",
        "an escalation",
        "a merge by itself",
        "a stop of the agent",
        "another run of a check",
    ]


def test_deciding_the_course_again_on_what_was_written_down_adds_nothing() -> None:
    facts = snapshot(session=SESSION, turn=DONE_TURN, pull=replace(PULL, checks=(check("failure"),)))
    rest = after(course_of(facts).steps[-1])

    assert new_in(rest, decide(rest)) == ()


def test_rules_are_laid_over_field_by_field_and_keep_their_version() -> None:
    rule: Rule = replace(DEFAULTS[Trigger.CI_FAILED], version=3)
    changed = laid_over(rule, [Override(trigger=Trigger.CI_FAILED, retries=1)])

    assert (changed.retries, changed.action, changed.version) == (1, rule.action, 3)
