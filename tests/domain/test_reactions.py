"""The reaction engine against its acceptance rows."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.actions import Interrupt, Merge, RerunChecks, RunCheck, SendToAgent, StopAgent, key_of
from orchestrator.domain.lifecycle import decide
from orchestrator.domain.rules import DEFAULTS, Override, Reply, Rule, Trigger, effective
from orchestrator.domain.snapshot import JobFacts, JobState, MessageFacts, Policy, RequestFacts, Snapshot, TurnEnd
from orchestrator.domain.status import Outcome, TaskStatus
from orchestrator.domain.triggers import held_triggers
from tests.domain.facts import (
    DONE_TURN,
    HEAD,
    LIVE_TURN,
    NOW,
    PULL,
    SESSION,
    TASK,
    Story,
    check,
    comment,
    keys,
    kinds,
    message,
    review,
    snapshot,
)  # fmt: skip


def ruled(trigger: Trigger, **changes: object) -> dict[Trigger, Rule]:
    return {**DEFAULTS, trigger: replace(DEFAULTS[trigger], **changes)}  # type: ignore[arg-type]  # a test names the fields


def red(number: int, head: str = HEAD) -> object:
    return replace(PULL, head_sha=head, checks=(check("failure", number=number),))


def pending(head: str = HEAD) -> object:
    return replace(PULL, head_sha=head, checks=(check(None),))


def asked_for(story: Story, trigger: Trigger) -> list[Interrupt]:
    return [asked for asked in story.asked if asked.trigger is trigger]


# --- CI failed: D1, D4, D9, D14 -----------------------------------------------------------------------------------------------------------


def six_rounds(story: Story) -> None:
    for n in range(1, 7):
        story.see(pull=red(n, head=f"{n:040x}"))
        story.answer(produced=True, pull=pending(head=f"{n + 1:040x}"))


def test_after_two_failed_tries_a_human_is_called_once() -> None:
    story = Story(snapshot())
    six_rounds(story)
    assert [sent.trigger for sent in story.sent] == [Trigger.CI_FAILED, Trigger.CI_FAILED]
    assert [asked.escalation for asked in story.asked] == [True]
    assert "2 tries used up" in story.asked[0].question


def test_a_green_build_clears_the_memory_and_a_later_red_one_begins_anew() -> None:
    story = Story(snapshot())
    six_rounds(story)
    story.see(pull=replace(PULL, head_sha="9" * 40, checks=(check(number=90),)))
    story.see(pull=red(91, head="8" * 40))
    assert len(story.sent) == 3
    assert story.sent[-1].episode == 2


def test_deciding_again_about_the_same_red_build_sends_nothing_more() -> None:
    story = Story(snapshot())
    for _ in range(3):
        story.see(pull=red(1))
    assert len(story.sent) == 1


def test_a_rerun_that_is_red_again_at_the_same_head_is_new_work() -> None:
    story = Story(snapshot())
    story.see(pull=red(1))
    story.answer(produced=False, pull=pending())
    story.see(pull=red(2))
    assert len([sent for sent in story.sent if sent.trigger is Trigger.CI_FAILED]) == 2


def test_a_restart_that_loses_the_memory_goes_on_counting() -> None:
    story = Story(snapshot())
    for n in range(1, 7):
        story.see(pull=red(n, head=f"{n:040x}"))
        story.now = replace(story.now, memory={})
        story.answer(produced=True, pull=pending(head=f"{n + 1:040x}"))
        story.now = replace(story.now, memory={})
    assert len(story.sent) == 2
    assert len(story.asked) == 1


def test_d9_all_of_thirty_failed_checks_are_named() -> None:
    checks = tuple(check("failure", number=n, name=f"suite-{n:02}", log="boom " * 5000) for n in range(30))
    pull = replace(PULL, required_checks=None, checks=checks)
    (sent,) = [action for action in decide(snapshot(pull=pull)).actions if isinstance(action, SendToAgent)]
    assert all(f"suite-{n:02}: failure" in sent.text for n in range(30))
    assert len(sent.text.encode()) < 30_000


def test_a_person_who_says_retry_begins_a_fresh_episode() -> None:
    story = Story(snapshot())
    six_rounds(story)
    story.see(pull=red(6, head="6" * 40))
    story.see(task=replace(TASK, attempt=1))
    assert len(story.sent) == 3
    assert (story.sent[-1].episode, len(story.asked)) == (2, 1)


def test_with_no_retries_a_human_is_called_at_once() -> None:
    story = Story(snapshot(rules=ruled(Trigger.CI_FAILED, retries=0)))
    story.see(pull=red(1))
    assert (story.sent, len(story.asked)) == ([], 1)


def test_a_rule_that_is_not_automatic_sends_nothing() -> None:
    story = Story(snapshot(rules=ruled(Trigger.CI_FAILED, auto=False)))
    decision = story.see(pull=red(1))
    assert (story.sent, story.asked, decision.status) == ([], [], TaskStatus.CI_FAILED)


def test_nobody_is_told_while_the_agent_is_at_work_or_stopped() -> None:
    working = snapshot(pull=red(1), turn=LIVE_TURN)
    stopped = snapshot(pull=red(1), turn=replace(DONE_TURN, end=TurnEnd.STOPPED))
    assert "SendToAgent" not in kinds(decide(working))
    assert "SendToAgent" not in kinds(decide(stopped))
    assert decide(stopped).status is TaskStatus.NEEDS_INPUT


def test_checks_are_rerun_as_often_as_the_rule_allows() -> None:
    rules = ruled(Trigger.CI_FAILED, action=(Reply.RERUN_CI,), retries=1, escalate_after=None)
    own = Policy(required_checks=("test",), own_checks=("test",))
    story = Story(snapshot(rules=rules, policy=own))
    story.see(pull=red(1))
    assert [action for action in story.promised if isinstance(action, RunCheck)] == [
        RunCheck(name="test", head_sha=HEAD, n=2)
    ]
    story.see(pull=replace(PULL, checks=(check("failure", number=2, n=2),)))
    assert [asked.escalation for asked in story.asked] == [True]


def test_where_others_run_the_checks_they_are_asked_to_run_them_again_and_a_person_where_they_do_not() -> None:
    story = Story(snapshot(rules=ruled(Trigger.CI_FAILED, action=(Reply.RERUN_CI,))))
    story.see(pull=red(1))
    (again,) = story.promised
    assert isinstance(again, RerunChecks)
    assert (again.checks, story.asked) == ((1,), [])
    story.settle(key_of(again), JobState.REFUSED, code="not-allowed")
    story.see()
    assert len(story.asked) == 1


# --- Changes requested: D2, D10 -----------------------------------------------------------------------------------------------------------


def objected(**more: object) -> object:
    return replace(PULL, checks=(check(),), reviews=(review("request_changes", body="please test it"),), **more)  # type: ignore[arg-type]


def test_a_review_is_told_at_once_and_escalated_once_after_its_time() -> None:
    story = Story(snapshot())
    decision = story.see(pull=objected())
    assert "please test it" in story.sent[0].text
    assert decision.wake_at == NOW + timedelta(minutes=30)
    story.answer(produced=False)
    for _ in range(36):
        story.wait(minutes=5)
        if story.sent[-1].trigger is Trigger.AGENT_IDLE and any(m.turn is None for m in story.now.messages):
            story.answer(produced=False)
    calls = [asked for asked in story.asked if asked.escalation]
    assert [call.trigger for call in calls] == [Trigger.CHANGES_REQUESTED]
    assert len([sent for sent in story.sent if sent.trigger is Trigger.CHANGES_REQUESTED]) == 1


def test_the_escalation_comes_at_its_deadline_and_not_before() -> None:
    story = Story(snapshot())
    story.see(pull=objected())
    story.wait(minutes=29, seconds=59)
    assert story.asked == []
    story.wait(seconds=1)
    assert len(story.asked) == 1


def test_an_agent_that_answered_and_pushed_stops_the_clock() -> None:
    story = Story(snapshot())
    story.see(pull=objected())
    decision = story.answer(produced=True)
    assert decision.status is TaskStatus.REVIEW_PENDING
    story.wait(hours=3)
    assert story.asked == []


def test_the_clock_stays_stopped_while_the_agent_does_something_else() -> None:
    story = Story(snapshot())
    story.see(pull=objected())
    story.answer(produced=True)
    story.see(turn=replace(LIVE_TURN, n=3, last_progress_at=NOW + timedelta(hours=2)))
    story.wait(minutes=45)
    assert [asked for asked in story.asked if asked.escalation] == []


def test_a_new_comment_restarts_the_clock_and_is_told_alone() -> None:
    story = Story(snapshot())
    story.see(pull=objected())
    story.answer(produced=True)
    story.wait(hours=1)
    story.see(pull=replace(story.now.pull, comments=(comment(number=9, body="and this"),)))  # type: ignore[type-var]
    assert story.sent[-1].comments == (9,)
    assert "please test it" not in story.sent[-1].text
    story.wait(minutes=29)
    assert story.asked == []
    story.wait(minutes=1)
    assert len(story.asked) == 1


def test_after_a_retry_all_open_points_are_told_again() -> None:
    story = Story(snapshot())
    story.see(pull=objected())
    story.answer(produced=False)
    story.see(task=replace(TASK, attempt=1))
    story.answer(produced=False)
    again = [sent for sent in story.sent if sent.trigger is Trigger.CHANGES_REQUESTED]
    assert len(again) == 2
    assert "please test it" in again[1].text


@pytest.mark.parametrize("words", [comment(ours=True), comment(trusted=False), comment(told=True, resolved=True)])
def test_own_untrusted_and_resolved_words_drive_nothing(words: object) -> None:
    assert "SendToAgent" not in kinds(decide(snapshot(pull=replace(PULL, comments=(words,)))))


def test_a_reply_in_an_old_thread_is_forwarded_once() -> None:
    story = Story(snapshot())
    old, reply = comment(number=1), comment(number=2, body="no, the other one")
    story.see(pull=replace(PULL, comments=(old,)))
    story.answer(produced=True)
    for _ in range(2):
        story.see(pull=replace(PULL, comments=(replace(old, told=True), replace(reply, told=len(story.sent) > 1))))
    assert [sent.comments for sent in story.sent] == [(1,), (2,)]


def test_a_bots_threads_are_told_and_do_not_stand_in_the_way_of_a_merge() -> None:
    pull = replace(PULL, checks=(check(),), reviews=(review(),), comments=(comment(bot=True),))
    decision = decide(snapshot(pull=pull))
    assert decision.status is TaskStatus.MERGEABLE
    assert [a.trigger for a in decision.actions if isinstance(a, SendToAgent)] == [Trigger.BUGBOT_COMMENTS]


# --- Conflicts, merging: D3 ---------------------------------------------------------------------------------------------------------------


def test_a_conflict_is_told_with_its_files_and_escalated_in_time() -> None:
    story = Story(snapshot())
    story.see(pull=replace(PULL, mergeable=False, conflict_files=("a.py",)))
    assert "- a.py" in story.sent[0].text
    story.wait(minutes=15)
    assert len(story.asked) == 1


def test_the_clock_of_a_conflict_runs_while_the_agent_resolves_it() -> None:
    story = Story(snapshot())
    story.see(pull=replace(PULL, mergeable=False))
    messages = tuple(replace(m, turn=2) for m in story.now.messages)
    story.see(turn=replace(LIVE_TURN, n=2, last_progress_at=NOW + timedelta(minutes=14)), messages=messages)
    story.wait(minutes=15)
    assert len(asked_for(story, Trigger.MERGE_CONFLICTS)) == 1


AUTO = ruled(Trigger.APPROVED_AND_GREEN, auto=True, action=(Reply.AUTO_MERGE,))
READY = replace(PULL, checks=(check(),), reviews=(review(),))


def test_auto_merge_merges_exactly_that_sha_exactly_once() -> None:
    story = Story(snapshot(rules=AUTO))
    for _ in range(4):
        story.see(pull=READY)
    assert [action.head_sha for action in story.promised if isinstance(action, Merge)] == [HEAD]


def test_without_auto_merge_a_human_is_asked_and_nothing_is_merged() -> None:
    story = Story(snapshot())
    decision = story.see(pull=READY)
    assert decision.status is TaskStatus.MERGEABLE
    assert [asked.question for asked in story.asked] == ["Approved and green: merge it?"]
    assert story.promised == []


def test_the_question_goes_away_when_the_head_moves() -> None:
    story = Story(snapshot())
    story.see(pull=READY)
    story.see(pull=pending("c" * 40))
    assert [asked.open for asked in story.now.interruptions] == [False]


def test_a_person_who_pressed_merge_merges_that_head_and_no_other() -> None:
    pressed = replace(TASK, merge_requested=HEAD)
    assert "Merge" in kinds(decide(snapshot(task=pressed, pull=READY)))
    moved = replace(READY, head_sha="c" * 40, reviews=(review(head="c" * 40),))
    assert "Merge" not in kinds(decide(snapshot(task=pressed, pull=moved)))
    assert "Merge" not in kinds(decide(snapshot(task=pressed, pull=replace(READY, checks=(check("failure"),)))))


def test_a_merge_that_lost_a_race_is_tried_again_three_times_and_then_a_human_is_called() -> None:
    story = Story(snapshot(rules=AUTO))
    story.see(pull=READY)
    for _ in range(5):
        for key in [key for key, job in story.now.jobs.items() if job.state is JobState.PROMISED]:
            story.settle(key, JobState.REFUSED, code="conflict")
        assert story.see().status is not TaskStatus.FAILED or story.asked
        story.wait(minutes=1)
    assert len([action for action in story.promised if isinstance(action, Merge)]) == 4
    assert [asked.escalation for asked in story.asked] == [True]


def test_while_one_merge_of_a_head_is_on_its_way_no_other_is_begun() -> None:
    story = Story(snapshot(rules=AUTO))
    story.see(pull=READY)
    story.see(pull=replace(READY, reviews=(review(), review(number=2, author="bob"))))
    assert len([action for action in story.promised if isinstance(action, Merge)]) == 1


# --- The agent: idle, stuck, asking, dying ------------------------------------------------------------------------------------------------


def test_an_idle_agent_is_told_twice_and_then_a_human_is_called_once() -> None:
    story = Story(snapshot())
    story.see(pull=red(1))
    for _ in range(5):
        story.answer(produced=False)
    assert [sent.trigger for sent in story.sent] == [Trigger.CI_FAILED, Trigger.AGENT_IDLE, Trigger.AGENT_IDLE]
    assert [asked.trigger for asked in story.asked] == [Trigger.AGENT_IDLE]


def test_an_agent_that_was_stopped_is_not_called_idle() -> None:
    story = Story(snapshot())
    story.see(pull=red(1))
    messages = tuple(replace(m, turn=2) for m in story.now.messages)
    story.see(messages=messages, turn=replace(DONE_TURN, n=2, end=TurnEnd.STOPPED, produced=False))
    assert [sent.trigger for sent in story.sent] == [Trigger.CI_FAILED]


def test_a_stuck_agent_is_reported_once_until_it_shows_progress() -> None:
    story = Story(snapshot(pull=None, turn=LIVE_TURN))
    first = story.see()
    assert first.wake_at == NOW + timedelta(minutes=10)
    assert story.wait(minutes=10).status is TaskStatus.STUCK
    story.wait(minutes=10)
    assert len(story.asked) == 1
    story.see(turn=replace(LIVE_TURN, last_progress_at=story.now.now))
    assert [asked.open for asked in story.now.interruptions] == [False]


def test_an_agent_that_hangs_after_its_answer_is_stuck() -> None:
    request = RequestFacts(id="q", kind="question", question="which?", asked_at=NOW, answered=True)
    story = Story(snapshot(pull=None, turn=replace(LIVE_TURN, request=request)))
    assert story.wait(minutes=11).status is TaskStatus.STUCK


def test_a_stuck_agent_is_restarted_at_most_three_times() -> None:
    rules = ruled(Trigger.AGENT_STUCK, action=(Reply.RESTART_AGENT,))
    story = Story(snapshot(pull=None, turn=LIVE_TURN, rules=rules))
    for n in range(1, 7):
        began = story.now.now
        messages = tuple(replace(m, turn=n) for m in story.now.messages)
        story.see(turn=replace(LIVE_TURN, n=n, last_progress_at=began), messages=messages)
        story.now = replace(
            story.now, memory={t: replace(m, held=True, episode=1) for t, m in story.now.memory.items()}
        )
        story.wait(minutes=11)
    assert len([action for action in story.promised if isinstance(action, StopAgent)]) == 3
    assert [asked.escalation for asked in story.asked] == [True]


def test_a_question_of_the_agent_reaches_a_human_once_and_is_settled_by_its_answer() -> None:
    request = RequestFacts(id="q", kind="question", question="which?", asked_at=NOW, answered=False)
    story = Story(snapshot(pull=None, turn=replace(LIVE_TURN, request=request)))
    assert story.see().status is TaskStatus.NEEDS_INPUT
    story.wait(minutes=30)
    assert [asked.evidence for asked in story.asked] == [("which?",)]
    story.see(turn=replace(LIVE_TURN, request=replace(request, answered=True), last_progress_at=story.now.now))
    assert [asked.open for asked in story.now.interruptions] == [False]


def died(n: int, resumes: int) -> object:
    return replace(DONE_TURN, n=n, end=TurnEnd.KILLED, produced=False, resumes=resumes)


def test_an_agent_that_keeps_dying_is_resumed_three_times_and_then_a_human_is_called_once() -> None:
    story = Story(snapshot(pull=None))
    for n in range(1, 6):
        messages = tuple(replace(m, turn=n) for m in story.now.messages)
        decision = story.see(turn=died(n, min(n - 1, 3)), messages=messages)
    assert [sent.trigger for sent in story.sent] == [Trigger.AGENT_EXITED] * 3
    assert decision.status is TaskStatus.FAILED
    assert {asked.trigger for asked in story.asked} == {Trigger.AGENT_EXITED}


def test_a_message_that_the_agent_never_took_is_tried_again_and_then_escalated() -> None:
    story = Story(snapshot(pull=red(1)))
    story.see()
    for n in range(2, 7):
        messages = tuple(replace(m, turn=n, confirmed=False) if m.turn is None else m for m in story.now.messages)
        turn = replace(DONE_TURN, n=n, end=TurnEnd.UNSTARTABLE, produced=False, resumes=min(n - 2, 3))
        decision = story.see(messages=messages, turn=turn)
    assert len([sent for sent in story.sent if sent.trigger is Trigger.AGENT_EXITED]) == 3
    assert decision.status is TaskStatus.FAILED


def held_occasion(facts: Snapshot) -> str:
    return next(held.occasion for held in held_triggers(facts) if held.trigger is Trigger.CI_FAILED)


def test_the_turns_of_a_successor_are_not_taken_for_those_of_its_predecessor() -> None:
    told = (*snapshot().messages, message(Trigger.AGENT_IDLE, "turn-1.2"), message(Trigger.CI_FAILED, f"{HEAD[:16]}.x"))
    first = snapshot(pull=red(1), messages=told, turn=replace(DONE_TURN, n=2, produced=False))
    occasion = held_occasion(first)
    successor = replace(
        first, session=replace(SESSION, id=6, epoch=2), messages=(*told, message(Trigger.CI_FAILED, occasion))
    )
    assert "send:6:agent-idle:1:turn-2.2" in keys(decide(successor))


# --- Hosts and memory: D5, D6 -------------------------------------------------------------------------------------------------------------


def silent(minutes: float) -> Snapshot:
    lost = replace(SESSION, host_silent_since=NOW - timedelta(minutes=minutes))
    return snapshot(pull=None, session=lost, turn=replace(LIVE_TURN, last_progress_at=NOW - timedelta(minutes=minutes)))


def test_a_silent_host_is_held_and_not_judged() -> None:
    decision = decide(silent(14))
    assert decision.actions == ()
    assert (decision.status, "silent" in decision.reason) == (TaskStatus.WORKING, True)
    assert decision.wake_at == NOW - timedelta(minutes=14) + timedelta(minutes=15) * 1.01 + timedelta(seconds=10)


def test_a_host_that_is_gone_for_longer_than_its_runs_live_is_given_up() -> None:
    assert kinds(decide(silent(15.1))) == []
    assert kinds(decide(silent(15.4))) == ["Abandon"]


def test_a_project_that_never_reassigns_waits_for_its_host() -> None:
    never = replace(silent(6000), policy=Policy(reassign_after=None))
    assert (decide(never).actions, decide(never).wake_at) == ((), None)


def test_an_escalation_is_settled_when_its_cause_has_gone_and_not_before() -> None:
    story = Story(snapshot())
    six_rounds(story)
    story.wait(hours=1)
    assert [asked.open for asked in story.now.interruptions if asked.escalation] == [True]
    story.see(pull=replace(PULL, head_sha="9" * 40, checks=(check(),)))
    assert [asked.open for asked in story.now.interruptions if asked.escalation] == [False]


def test_the_call_of_an_earlier_episode_does_not_stand_in_the_next() -> None:
    story = Story(snapshot())
    six_rounds(story)
    story.see(task=replace(story.now.task, attempt=story.now.task.attempt + 1), pull=red(9, head="9" * 40))
    assert [asked.open for asked in story.now.interruptions if asked.escalation] == [False]


def test_an_override_of_retries_alone_keeps_the_action() -> None:
    rule = effective(Trigger.CI_FAILED, [Override(trigger=Trigger.CI_FAILED, retries=5)])
    assert (rule.action, rule.retries, rule.auto) == ((Reply.SEND_TO_AGENT,), 5, True)


def test_later_overrides_win_field_by_field() -> None:
    first = Override(trigger=Trigger.CI_FAILED, retries=5, message="a")
    second = Override(trigger=Trigger.CI_FAILED, message="b")
    other = Override(trigger=Trigger.AGENT_IDLE, retries=9)
    rule = effective(Trigger.CI_FAILED, [first, second, other])
    assert (rule.retries, rule.message) == (5, "b")


def test_a_closed_pull_request_is_reported_once() -> None:
    story = Story(snapshot())
    decision = story.see(pull=replace(PULL, state="closed"))
    story.wait(hours=1)
    assert decision.outcome is Outcome.CLOSED
    assert [asked.trigger for asked in story.asked] == [Trigger.PR_CLOSED]


def test_an_escalating_rule_calls_a_human() -> None:
    story = Story(snapshot(rules=ruled(Trigger.CI_FAILED, action=(Reply.ESCALATE,))))
    story.see(pull=red(1))
    assert [asked.escalation for asked in story.asked] == [True]


def test_jobs_and_messages_of_others_are_not_counted() -> None:
    jobs = {"merge:x": JobFacts(key="merge:x", state=JobState.DONE)}
    others: tuple[MessageFacts, ...] = (
        message(Trigger.CI_FAILED, "old", episode=1),
        message(Trigger.CI_FAILED, "older", episode=1),
    )
    story = Story(snapshot(messages=(*snapshot().messages, *others), jobs=jobs))
    story.see(pull=replace(PULL, checks=(check(),)))
    story.see(pull=red(3))
    assert len(story.sent) == 1
