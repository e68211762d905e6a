"""Whose a red build is: told to the agent, named as inherited, run once more, waited on; and when the breaker opens."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.actions import Interrupt, RerunChecks, RunBaseCheck, RunCheck, SendToAgent, key_of
from orchestrator.domain.flakes import HALF_LIFE, is_known, seen_again
from orchestrator.domain.lifecycle import Decision, decide
from orchestrator.domain.rules import DEFAULTS, Trigger
from orchestrator.domain.snapshot import (
    AttemptFacts,
    BaseFacts,
    CheckFacts,
    FailureFacts,
    IncidentFacts,
    JobState,
    Policy,
    PullFacts,
    Snapshot,
)
from orchestrator.domain.status import TaskStatus
from tests.domain.facts import BASE, DONE_TURN, HEAD, NOW, PULL, TASK, Story, check, snapshot

OWN = Policy(required_checks=("test",), own_checks=("test",))
FAR = {Trigger.CI_FAILED: replace(DEFAULTS[Trigger.CI_FAILED], retries=9, escalate_after=None)}


def failing(name: str = "test", *, fingerprint: str = "f", number: int = 1, **more: object) -> CheckFacts:
    made = replace(check("failure", name=name, number=number, log="boom"), fingerprint=fingerprint, headline="boom")
    return replace(made, **more)  # type: ignore[arg-type]  # a test names the fields


def on_base(
    conclusion: str | None = "failure", *, name: str = "test", fingerprint: str = "f", sha: str = BASE, n: int = 1
) -> BaseFacts:
    status = "completed" if conclusion is not None else "in_progress"
    return BaseFacts(name=name, sha=sha, n=n, status=status, conclusion=conclusion, fingerprint=fingerprint)


def red(*checks: CheckFacts, **more: object) -> PullFacts:
    changes: dict[str, object] = {
        "base_branch": "main",
        "required_checks": None,
        "checks": checks or (failing(),),
        **more,
    }
    return replace(PULL, **changes)  # type: ignore[arg-type]  # a test names the fields


def told(decision: Decision) -> str:
    return "".join(action.text for action in decision.actions if isinstance(action, SendToAgent))


# --- inherited ----------------------------------------------------------------------------------------------------------------------------


def test_a_failure_that_the_base_has_too_is_waited_for_and_not_told() -> None:
    decision = decide(snapshot(pull=red(base=(on_base(),))))
    assert told(decision) == ""
    assert (decision.status, decision.reason) == (TaskStatus.CI_FAILED, "waits for main: test fails there too")
    assert decision.evidence == ("test: failure, inherited",)
    assert decision.wake_at == NOW + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("here", "there", "inherited"),
    [("f", "f", True), ("f", "g", False), ("", "f", True), ("f", "", True), ("", "", True)],
)
def test_fingerprints_are_compared_where_both_are_known_and_names_otherwise(
    here: str, there: str, inherited: bool
) -> None:
    pull = red(failing(fingerprint=here), base=(on_base(fingerprint=there),))
    assert (told(decide(snapshot(pull=pull))) == "") is inherited


def test_a_check_of_ours_that_says_nothing_and_was_never_green_is_no_measure() -> None:
    silent = red(failing(fingerprint="", green_once=False), base=(on_base(fingerprint=""),))
    assert told(decide(snapshot(pull=silent, policy=OWN)))
    assert not told(decide(snapshot(pull=silent)))


def test_no_try_is_used_up_while_it_waits_and_the_agent_is_told_to_rebase_once_the_base_is_green() -> None:
    story = Story(snapshot())
    for n in range(6):
        story.see(pull=red(failing(number=n), head_sha=f"{n:040x}", base=(on_base(),)))
    assert (story.sent, story.asked) == ([], [])
    mended = replace(story.now.pull or PULL, base_sha="d" * 40, base=(on_base(), on_base("success", sha="d" * 40)))
    story.see(pull=mended)
    assert len(story.sent) == 1
    assert f"main had the same failure and is green at {'d' * 40}" in story.sent[0].text


def test_while_the_next_commit_of_the_base_is_judged_the_last_one_counts() -> None:
    moved = red(base_sha="d" * 40, base=(on_base(), on_base(None, sha="d" * 40)))
    assert told(decide(snapshot(pull=moved))) == ""


def test_of_several_failures_the_agents_own_are_told_and_the_others_named() -> None:
    pull = red(failing("lint"), failing("unit", number=2, fingerprint="u"), base=(on_base(name="lint"),))
    text = told(decide(snapshot(pull=pull)))
    assert "Checks failed at" in text
    assert f"{HEAD}: unit. Find" in text
    assert "Inherited, not yours to fix, since main fails there too: lint." in text
    assert "lint: failure" not in text


@pytest.mark.parametrize(
    ("title", "about"),
    [
        ("Fix the failing tests", True),
        ("CI is red on main", True),
        ("Make test pass again", True),
        ("Repair test", True),
        ("Tests are flaky", True),
        ("Add a contest page", False),
        ("Fix issue #42", False),
        ("Add search", False),
    ],
)
def test_a_task_that_is_about_the_failure_is_told_of_it(title: str, about: bool) -> None:
    facts = snapshot(pull=red(base=(on_base(),)), task=replace(TASK, title=title))
    assert bool(told(decide(facts))) is about


def test_the_base_is_asked_about_our_own_failed_checks_before_the_agent_is_told() -> None:
    story = Story(snapshot(policy=OWN))
    decision = story.see(pull=red())
    assert story.promised == [RunBaseCheck(name="test", base_sha=BASE, n=1)]
    assert decision.reason == "asks whether main fails there too: test"
    story.see(pull=red(base=(on_base(None),)))
    assert (len(story.promised), story.sent) == (1, [])
    story.see(pull=red(base=(on_base("success"),)))
    assert len(story.sent) == 1


def test_a_run_on_the_base_that_was_lost_is_made_again_and_one_that_cannot_be_made_is_not_waited_for() -> None:
    story = Story(snapshot(policy=OWN))
    for n in range(1, 4):
        story.see(pull=red(base=(on_base("cancelled", n=n),)))
    assert [action.n for action in story.promised if isinstance(action, RunBaseCheck)] == [2, 3]
    assert len(story.sent) == 1
    other = Story(snapshot(policy=OWN))
    other.see(pull=red())
    other.settle(key_of(other.promised[0]), JobState.REFUSED, code="no-local-host")
    assert other.see().status is not TaskStatus.FAILED
    assert len(other.sent) == 1


# --- incidents ----------------------------------------------------------------------------------------------------------------------------


def incident(*, on_base: bool = False, released: bool = False) -> IncidentFacts:
    return IncidentFacts(number=3, check="test", fingerprint="f", pulls=5, on_base=on_base, released=released)


def test_a_failure_of_many_is_waited_on() -> None:
    decision = decide(snapshot(pull=red(incidents=(incident(),))))
    assert told(decision) == ""
    assert decision.reason == "waits on incident #3: test fails on 5 pull requests the same way"


def test_a_failure_in_another_way_is_not_of_the_incident() -> None:
    assert told(decide(snapshot(pull=red(failing(fingerprint="g"), incidents=(incident(),)))))


@pytest.mark.parametrize("on_the_base", [True, False])
def test_when_a_person_lets_agents_try_they_are_told(on_the_base: bool) -> None:
    pull = red(base=(on_base(),) if on_the_base else (), incidents=(incident(on_base=on_the_base, released=True),))
    assert told(decide(snapshot(pull=pull)))


# --- flakes -------------------------------------------------------------------------------------------------------------------------------


def test_failures_that_are_all_known_to_go_away_are_run_once_more_before_the_agent_is_told() -> None:
    story = Story(snapshot())
    decision = story.see(pull=red(failing(flaky=True)))
    (again,) = story.promised
    assert isinstance(again, RerunChecks)
    assert (again.checks, story.sent) == ((1,), [])
    assert "run once more: test" in decision.reason
    story.see(pull=red(failing(flaky=True, number=2, n=2, reds=2)))
    assert sum(isinstance(action, RerunChecks) for action in story.promised) == 1
    assert len(story.sent) == 1


def test_ours_are_run_again_by_us_before_the_base_is_asked() -> None:
    story = Story(snapshot(policy=OWN))
    story.see(pull=red(failing(flaky=True)))
    assert story.promised == [RunCheck(name="test", head_sha=HEAD, n=2)]


def test_a_flake_beside_a_real_failure_is_told_with_it() -> None:
    assert told(decide(snapshot(pull=red(failing(flaky=True), failing("unit", number=2)))))


def test_where_the_forge_refuses_to_run_it_again_the_agent_is_told() -> None:
    story = Story(snapshot())
    story.see(pull=red(failing(flaky=True)))
    story.settle(key_of(story.promised[0]), JobState.REFUSED, code="not-allowed")
    decision = story.see()
    assert len(story.sent) == 1
    assert decision.status is not TaskStatus.FAILED


def test_a_rerun_of_which_nothing_is_seen_is_not_waited_for_for_ever() -> None:
    story = Story(snapshot())
    story.see(pull=red(failing(flaky=True)))
    story.settle(key_of(story.promised[0]), JobState.DONE)
    story.wait(minutes=9)
    assert story.sent == []
    story.wait(minutes=2)
    assert len(story.sent) == 1


def test_a_flake_is_forgotten_when_it_does_not_come_back() -> None:
    once = seen_again(0.0, last_at=NOW, now=NOW)
    twice = seen_again(once, last_at=NOW, now=NOW)
    assert is_known(once, last_at=NOW, now=NOW + HALF_LIFE * 0.99)
    assert not is_known(once, last_at=NOW, now=NOW + HALF_LIFE * 1.01)
    assert is_known(twice, last_at=NOW, now=NOW + HALF_LIFE * 1.99)
    assert not is_known(twice, last_at=NOW, now=NOW + HALF_LIFE * 2.01)


# --- the breaker --------------------------------------------------------------------------------------------------------------------------


def attempt(n: int, *failures: tuple[str, str]) -> AttemptFacts:
    found = tuple(FailureFacts(name=name, fingerprint=mark, headline=f"{name} {mark}") for name, mark in failures)
    return AttemptFacts(head_sha=f"{n:040x}", failures=found, said=f"I did thing {n}")


def rounds(story: Story, *marks: str, first: int = 1) -> Snapshot:
    """For each mark: a head that is red by it, and the agent's next turn."""
    for n, mark in enumerate(marks, start=first):
        before = story.now.pull.attempts if story.now.pull is not None else ()
        pull = red(
            failing(fingerprint=mark, number=n), head_sha=f"{n:040x}", attempts=(*before, attempt(n, ("test", mark)))
        )
        story.see(pull=pull)
        story.answer(produced=True, pull=replace(pull, checks=(check(None),)))
    return story.now


def asked(story: Story) -> list[Interrupt]:
    return [one for one in story.asked if one.trigger is Trigger.CI_FAILED]


def test_the_same_failure_three_times_opens_the_breaker_although_tries_are_left() -> None:
    story = Story(snapshot(rules={**DEFAULTS, **FAR}))
    rounds(story, "f", "f", "f")
    assert len(story.sent) == 2
    (one,) = asked(story)
    assert one.escalation
    assert "test failed in the same way 3 times in a row" in one.question
    assert [line for line in one.evidence if line.startswith("attempt")] == [
        f"attempt {n} at {n:010x}: test (test f); the agent said: I did thing {n}".replace(
            f"{n:010x}", f"{n:040x}"[:10]
        )
        for n in (1, 2, 3)
    ]
    rounds(story, "f", first=4)
    assert (len(story.sent), len(asked(story))) == (2, 1)


@pytest.mark.parametrize("marks", [("f", "g", "f", "g"), ("", "", "", ""), ("f", "f", "g", "g")])
def test_other_failures_do_not_open_it(marks: tuple[str, ...]) -> None:
    story = Story(snapshot(rules={**DEFAULTS, **FAR}))
    rounds(story, *marks)
    assert (len(story.sent), asked(story)) == (4, [])


def test_after_a_persons_retry_it_starts_anew() -> None:
    story = Story(snapshot(rules={**DEFAULTS, **FAR}))
    rounds(story, "f", "f", "f")
    story.see(task=replace(TASK, attempt=1))
    rounds(story, "f", first=4)
    assert (len(story.sent), len(asked(story))) == (3, 1)
    rounds(story, "f", "f", first=5)
    assert len(asked(story)) == 2


def test_what_the_base_fails_by_does_not_open_it() -> None:
    story = Story(snapshot(rules={**DEFAULTS, **FAR}))
    for n, mark in enumerate("abcd", start=1):
        before = story.now.pull.attempts if story.now.pull is not None else ()
        pull = red(
            failing("lint", number=n),
            failing("unit", number=100 + n, fingerprint=mark),
            head_sha=f"{n:040x}",
            base=(on_base(name="lint"),),
            attempts=(*before, attempt(n, ("lint", "f"), ("unit", mark))),
        )
        story.see(pull=pull)
        story.answer(produced=True, pull=replace(pull, checks=(check(None, name="lint"), check(None, name="unit"))))
    assert (len(story.sent), asked(story)) == (4, [])


def test_a_live_agent_is_not_disturbed_by_any_of_this() -> None:
    live = replace(DONE_TURN, end=None, published=False)
    for pull in (red(base=(on_base(),)), red(failing(flaky=True)), red(incidents=(incident(),))):
        assert told(decide(snapshot(pull=pull, turn=live))) == ""
