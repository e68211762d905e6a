"""The way of a task, step by step, and the ways in which it ends."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.actions import (
    Abandon,
    ClosePullRequest,
    DeleteBranch,
    EndSession,
    HangUp,
    OpenPullRequest,
    Prepare,
    Publish,
    RunCheck,
    Say,
    StartTurn,
)
from orchestrator.domain.lifecycle import decide, outcome_of
from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import JobFacts, JobState, Policy, RequestFacts, TurnEnd
from orchestrator.domain.status import Attention, Outcome, TaskStatus, attention_of
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
    keys,
    kinds,
    message,
    review,
    snapshot,
)  # fmt: skip

READY = replace(PULL, checks=(check(),), reviews=(review(),))
WAITING = (message(None, "task", turn=None),)
ASKS = RequestFacts(id="q", kind="question", question="which?", asked_at=NOW, answered=False)


def test_a_task_without_a_session_is_queued_with_the_reason_of_placement() -> None:
    decision = decide(
        snapshot(session=None, turn=None, pull=None, task=replace(TASK, waiting_for="all hosts are full"), messages=())
    )
    assert (decision.status, decision.reason, decision.actions) == (TaskStatus.QUEUED, "all hosts are full", ())


def test_a_placed_session_is_prepared() -> None:
    decision = decide(snapshot(session=replace(SESSION, prepared=False), turn=None, pull=None, messages=WAITING))
    assert decision.actions == (Prepare(session=5, attempt=0),)
    assert decision.status is TaskStatus.STARTING


def test_a_prepared_session_starts_its_first_turn_over_the_words_that_wait() -> None:
    decision = decide(snapshot(turn=None, pull=None, messages=WAITING))
    assert decision.actions == (StartTurn(session=5, turn=1, attempt=0),)


def test_a_turn_that_was_not_started_yet_is_started_and_not_another() -> None:
    decision = decide(snapshot(turn=replace(LIVE_TURN, started=False), pull=None))
    assert decision.actions == (StartTurn(session=5, turn=1, attempt=0),)


def test_while_the_agent_works_nothing_is_done() -> None:
    decision = decide(snapshot(turn=LIVE_TURN, pull=None))
    assert (decision.actions, decision.status) == ((), TaskStatus.WORKING)


def test_a_persons_words_are_said_to_an_agent_at_work_and_a_rules_are_not() -> None:
    person = replace(message(None, "p", turn=None), by_a_person=True)
    rule = message(Trigger.CI_FAILED, "c", turn=None)
    decision = decide(snapshot(turn=LIVE_TURN, pull=None, messages=(person, rule)))
    assert decision.actions == (Say(session=5, turn=1, message=person.id),)


def test_an_agent_that_is_done_is_hung_up_on_once_it_has_read_everything() -> None:
    done = replace(LIVE_TURN, done_at=NOW)
    unread = replace(message(None, "p"), by_a_person=True, confirmed=False)
    waiting = replace(message(None, "q", turn=None), by_a_person=True)
    assert decide(snapshot(turn=done, pull=None, messages=(unread, waiting))).actions == ()
    read = replace(unread, confirmed=True)
    hang_up = HangUp(session=5, turn=1, occasion=NOW.isoformat())
    assert decide(snapshot(turn=done, pull=None, messages=(read, waiting))).actions == (hang_up,)


@pytest.mark.parametrize("end", list(TurnEnd))
def test_whatever_way_a_turn_ends_its_work_is_published(end: TurnEnd) -> None:
    decision = decide(snapshot(turn=replace(LIVE_TURN, end=end), pull=None))
    assert decision.actions == (Publish(session=5, turn=1, attempt=0),)


def test_published_commits_become_a_pull_request() -> None:
    assert decide(snapshot(pull=None)).actions == (OpenPullRequest(head_sha=HEAD, attempt=0),)


def test_an_agent_that_asks_or_was_stopped_gets_no_pull_request_yet() -> None:
    assert "OpenPullRequest" not in kinds(decide(snapshot(pull=None, turn=replace(DONE_TURN, request=ASKS))))
    stopped = decide(snapshot(pull=None, turn=replace(DONE_TURN, end=TurnEnd.STOPPED)))
    assert (stopped.actions, stopped.status) == ((), TaskStatus.NEEDS_INPUT)


def test_words_that_came_meanwhile_are_told_before_the_pull_request_is_opened() -> None:
    messages = (message(None, "task"), message(None, "and this", turn=None))
    assert decide(snapshot(pull=None, messages=messages)).actions == (StartTurn(session=5, turn=2, attempt=0),)


def test_the_built_in_forge_runs_each_of_its_checks_once_per_head() -> None:
    own = Policy(required_checks=("lint", "test"), own_checks=("lint", "test"))
    decision = decide(snapshot(policy=own, pull=replace(PULL, checks=(check(None, name="lint"),))))
    assert decision.actions == (RunCheck(name="test", head_sha=HEAD, n=1),)
    assert (decision.status, decision.reason) == (TaskStatus.CI_PENDING, "not reported yet: test")


def test_green_without_a_review_waits_for_one() -> None:
    decision = decide(snapshot(pull=replace(PULL, checks=(check(),))))
    assert (decision.status, decision.reason) == (TaskStatus.REVIEW_PENDING, "waits for a review")


def test_words_of_people_without_write_access_are_shown_as_ignored() -> None:
    decision = decide(snapshot(pull=replace(PULL, checks=(check(),), reviews=(review(trusted=False),))))
    assert decision.evidence == ("1 words by people without write access are ignored",)


def test_approved_but_not_known_to_merge_is_pending() -> None:
    assert decide(snapshot(pull=replace(READY, mergeable=None))).status is TaskStatus.CI_PENDING


def test_a_merge_on_its_way_shows_as_merging() -> None:
    jobs = {f"merge:{HEAD}:x.y.0": JobFacts(key=f"merge:{HEAD}:x.y.0", state=JobState.CLAIMED)}
    assert decide(snapshot(pull=READY, jobs=jobs)).status is TaskStatus.MERGING


def test_a_merged_task_is_taken_down_once() -> None:
    story = Story(snapshot())
    decision = story.see(pull=replace(READY, state="merged"))
    story.wait(minutes=10)
    assert (decision.status, decision.outcome) == (TaskStatus.MERGED, Outcome.MERGED)
    assert story.promised == [EndSession(session=5), DeleteBranch(branch="ao/1-t", head_sha=HEAD)]


def test_an_agent_still_at_work_when_its_change_is_merged_has_the_grace_of_the_project() -> None:
    story = Story(snapshot(turn=LIVE_TURN))
    decision = story.see(pull=replace(READY, state="merged"))
    assert decision.wake_at == NOW + timedelta(minutes=5)
    assert EndSession(session=5) not in story.promised
    story.wait(minutes=5)
    assert EndSession(session=5) in story.promised


def test_a_project_that_keeps_its_branches_keeps_them() -> None:
    decision = decide(snapshot(pull=replace(READY, state="merged"), policy=Policy(auto_cleanup=False)))
    assert kinds(decision) == ["EndSession"]


def test_a_clean_up_that_was_given_up_is_shown_to_a_human_once() -> None:
    story = Story(snapshot())
    story.see(pull=replace(READY, state="merged"))
    story.settle("end:5", JobState.QUARANTINED)
    story.see()
    story.wait(minutes=1)
    assert [asked.cause for asked in story.asked] == ["job:end:5"]
    assert story.now.interruptions[-1].open


def test_what_a_session_left_on_its_host_is_told_although_the_task_goes_on_with_a_successor() -> None:
    given_up = JobFacts(key="end:4", state=JobState.QUARANTINED)
    story = Story(snapshot(jobs={given_up.key: given_up}))
    before = decide(snapshot())
    for _ in range(2):
        assert story.see().status is before.status
    assert [asked.cause for asked in story.asked] == ["job:end:4"]
    # Once it was taken down after all, nobody is asked any more.
    story.settle("end:4", JobState.DONE)
    story.see()
    assert not story.now.interruptions[-1].open


def test_a_branch_that_somebody_moved_after_the_merge_is_theirs() -> None:
    story = Story(snapshot())
    story.see(pull=replace(READY, state="merged"))
    story.settle(f"delete-branch:{HEAD}:ao/1-t", JobState.REFUSED, code="head-moved")
    story.see()
    assert story.asked == []


def test_an_agent_that_finds_nothing_to_do_is_done_and_says_why() -> None:
    idle = replace(DONE_TURN, produced=False, last_words="looked around\nall is well")
    decision = decide(snapshot(pull=None, session=replace(SESSION, commits=0, published_sha=None), turn=idle))
    assert (decision.status, decision.reason) == (TaskStatus.DONE, "no change was needed: all is well")


def test_an_agent_that_still_asks_is_not_done() -> None:
    asking = replace(DONE_TURN, produced=False, request=ASKS)
    assert outcome_of(snapshot(pull=None, session=replace(SESSION, commits=0), turn=asking)) is None


def test_an_error_without_a_commit_waits_for_a_person() -> None:
    failed = replace(DONE_TURN, end=TurnEnd.FAILED, produced=True)
    decision = decide(snapshot(pull=None, session=replace(SESSION, commits=0, published_sha=None), turn=failed))
    assert decision.status is TaskStatus.NEEDS_INPUT


CANCELLED = replace(TASK, cancel_requested_at=NOW)


@pytest.mark.parametrize(
    "facts",
    [
        snapshot(session=None, turn=None, pull=None),
        snapshot(session=replace(SESSION, prepared=False), turn=None, pull=None),
        snapshot(turn=LIVE_TURN, pull=None),
        snapshot(turn=replace(LIVE_TURN, end=TurnEnd.FINISHED), pull=None),
        snapshot(pull=READY),
        snapshot(pull=replace(PULL, mergeable=False)),
    ],
)
def test_a_task_is_cancelled_at_each_of_its_steps(facts: object) -> None:
    story = Story(replace(facts, task=CANCELLED))  # type: ignore[type-var]
    decision = story.see()
    assert decision.outcome is Outcome.CANCELLED
    assert {type(action) for action in story.promised} <= {EndSession, ClosePullRequest}


def merge_job(state: JobState, attempts: int = 0) -> dict[str, JobFacts]:
    return {f"merge:{HEAD}:x.y.0": JobFacts(key=f"merge:{HEAD}:x.y.0", state=state, attempts=attempts)}


def test_a_cancel_waits_for_a_merge_that_may_have_happened() -> None:
    for jobs in (merge_job(JobState.CLAIMED), merge_job(JobState.PROMISED, attempts=1)):
        decision = decide(snapshot(pull=READY, task=CANCELLED, jobs=jobs))
        assert (decision.outcome, decision.actions, decision.status) == (None, (), TaskStatus.MERGING)


def test_a_cancel_overtakes_a_merge_that_nobody_has_begun() -> None:
    assert outcome_of(snapshot(pull=READY, task=CANCELLED, jobs=merge_job(JobState.PROMISED))) is Outcome.CANCELLED
    assert outcome_of(snapshot(pull=READY, task=CANCELLED, jobs=merge_job(JobState.REFUSED))) is Outcome.CANCELLED


def test_a_merge_that_happened_wins_over_a_cancel() -> None:
    assert outcome_of(snapshot(pull=replace(READY, state="merged"), task=CANCELLED)) is Outcome.MERGED


def test_what_ended_stays_ended() -> None:
    ended = replace(TASK, outcome=Outcome.CANCELLED, ended_at=NOW)
    assert outcome_of(snapshot(pull=replace(READY, state="merged"), task=ended)) is Outcome.CANCELLED


def test_a_job_that_was_given_up_stops_the_task_and_calls_a_human_once() -> None:
    story = Story(snapshot(pull=None))
    story.see()
    story.settle(f"open-pr:{HEAD}:0", JobState.REFUSED, code="forbidden")
    for _ in range(2):
        assert story.see().status is TaskStatus.FAILED
    assert [(asked.cause, asked.escalation) for asked in story.asked] == [(f"job:open-pr:{HEAD}:0", True)]


@pytest.mark.parametrize("code", ["", "head-moved", "conflict", "overtaken"])
def test_a_push_that_was_refused_is_never_silent(code: str) -> None:
    story = Story(snapshot(turn=replace(LIVE_TURN, end=TurnEnd.FINISHED), pull=None))
    story.see()
    story.settle("publish:5:1:0", JobState.REFUSED, code=code)
    assert story.see().status is TaskStatus.FAILED
    assert len(story.asked) == 1


def test_a_retry_tries_a_refused_job_again_under_a_new_key() -> None:
    story = Story(snapshot(pull=None))
    story.see()
    story.settle(f"open-pr:{HEAD}:0", JobState.QUARANTINED)
    decision = story.see(task=replace(TASK, attempt=1))
    assert decision.status is not TaskStatus.FAILED
    assert f"open-pr:{HEAD}:1" in keys(decision)


def test_a_retry_runs_a_check_again_that_could_not_be_begun() -> None:
    own = Policy(required_checks=("test",), own_checks=("test",))
    story = Story(snapshot(policy=own))
    story.see()
    story.settle(f"check:{HEAD}:1:test", JobState.REFUSED, code="no-sandbox")
    assert story.see().status is TaskStatus.FAILED
    assert f"check:{HEAD}:2:test" in keys(story.see(task=replace(TASK, attempt=1)))


def test_a_paused_task_finishes_its_turn_and_starts_no_other() -> None:
    paused = replace(TASK, paused=True)
    waiting = snapshot(task=paused, messages=WAITING)
    assert "StartTurn" not in kinds(decide(waiting))
    assert "paused" in decide(waiting).reason
    ended = replace(LIVE_TURN, end=TurnEnd.FINISHED)
    assert "Publish" in kinds(decide(snapshot(task=paused, turn=ended, pull=None)))


def test_a_session_that_was_given_up_leaves_its_task_queued_and_its_agent_unjudged() -> None:
    gone = replace(SESSION, ended=True)
    decision = decide(
        snapshot(session=gone, turn=replace(LIVE_TURN, last_progress_at=NOW - timedelta(days=1)), pull=None)
    )
    assert (decision.status, decision.actions) == (TaskStatus.QUEUED, ())


def test_a_change_that_is_ready_is_merged_even_while_its_task_waits_for_a_host() -> None:
    gone = replace(SESSION, ended=True)
    decision = decide(snapshot(session=gone, turn=LIVE_TURN, pull=READY, task=replace(TASK, merge_requested=HEAD)))
    assert "Merge" in kinds(decision)


def test_giving_up_a_host_names_it() -> None:
    lost = replace(SESSION, host_silent_since=NOW - timedelta(hours=1))
    (action,) = decide(snapshot(session=lost, turn=LIVE_TURN, pull=None)).actions
    assert action == Abandon(session=5, reason="the host h1 has not been seen since 11:00 UTC")


def test_an_open_escalation_asks_for_a_person_whatever_the_status() -> None:
    assert attention_of(TaskStatus.MERGED, escalated=True) is Attention.RESPOND
    assert attention_of(TaskStatus.MERGED, escalated=False) is Attention.DONE
    assert attention_of(TaskStatus.STUCK, escalated=False) is Attention.RESPOND
    assert attention_of(TaskStatus.MERGEABLE, escalated=False) is Attention.MERGE
    assert attention_of(TaskStatus.REVIEW_PENDING, escalated=False) is Attention.REVIEW
    assert attention_of(TaskStatus.CI_PENDING, escalated=False) is Attention.PENDING
    assert attention_of(TaskStatus.CI_FAILED, escalated=False) is Attention.WORKING
