"""A job that waits says for what, and calls a human once when it waits too long."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from orchestrator.domain.lifecycle import decide
from orchestrator.domain.snapshot import JobFacts, JobState, Snapshot
from orchestrator.domain.status import Outcome, TaskStatus
from orchestrator.domain.waiting import UNDER_WAY
from tests.domain.facts import NOW, SESSION, TASK, Story, snapshot

START = "prepare:5:0"


def _waiting(state: JobState = JobState.PROMISED, error: str = "no route to host") -> Snapshot:
    job = JobFacts(key=START, state=state, error=error, attempts=2, promised_at=NOW)
    return snapshot(session=replace(SESSION, prepared=False), turn=None, pull=None, jobs={START: job})


def test_the_reason_is_what_the_job_waits_for_and_the_status_is_kept() -> None:
    for state in (JobState.PROMISED, JobState.CLAIMED):
        decision = decide(_waiting(state))
        assert (decision.status, decision.reason) == (TaskStatus.STARTING, "its workspace waits: no route to host")


def test_a_job_that_was_not_tried_yet_waits_for_nothing() -> None:
    assert decide(_waiting(error="")).reason == "the workspace is being made"


def test_a_human_is_called_once_after_the_patience_and_it_is_looked_at_then() -> None:
    story = Story(now=_waiting())
    assert story.see().wake_at == NOW + timedelta(minutes=10)
    assert not story.asked
    for _ in range(3):
        story.wait(minutes=11)
    (asked,) = story.asked
    assert asked.escalation
    assert "no route to host" in asked.question


def test_a_clean_up_that_waits_is_said_of_a_task_that_has_ended() -> None:
    key = "end:5"
    job = JobFacts(key=key, state=JobState.PROMISED, error="no route to host", attempts=1, promised_at=NOW)
    ended = replace(TASK, outcome=Outcome.CANCELLED, ended_at=NOW)
    decision = decide(snapshot(task=ended, pull=None, jobs={key: job}))
    assert (decision.status, decision.reason) == (
        TaskStatus.CANCELLED,
        "cancelled; the clean-up waits: no route to host",
    )


def test_what_the_outside_is_at_calls_nobody_however_long_it_takes() -> None:
    waits = _waiting()
    job = replace(waits.jobs[START], code=UNDER_WAY)
    story = Story(now=replace(waits, jobs={START: job}))
    for _ in range(3):
        story.wait(hours=2)
    assert not story.asked
