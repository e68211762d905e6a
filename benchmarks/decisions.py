"""P19: what it costs to decide on a task with 200 events behind it: messages, jobs, checks, reviews and comments.

Pure: no database, no service. The task is red after two tries and waits for a person, with a review on top: all of its facts are looked at.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from benchmarks.measure import Asked, Goal, Series, interleaved, run
from orchestrator.domain.lifecycle import decide
from orchestrator.domain.rules import DEFAULTS, Trigger
from orchestrator.domain.snapshot import (
    CheckFacts,
    CommentFacts,
    InterruptionFacts,
    JobFacts,
    JobState,
    Memory,
    MessageFacts,
    Policy,
    PullFacts,
    ReviewFacts,
    SessionFacts,
    Snapshot,
    TaskFacts,
    TurnEnd,
    TurnFacts,
)

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
MESSAGES, JOBS, CHECKS, REVIEWS, COMMENTS = 50, 90, 20, 10, 30
HEAD = "4f2d9c1ab37e58d06c1b9ffa2e7d3c5580e6a1b2"


def with_a_past() -> Snapshot:
    """A task that has been through a lot."""
    return Snapshot(
        now=NOW,
        task=TaskFacts(id=1, number=1, title="t", body="", created_at=NOW, branch="app/1-t", attempt=0),
        policy=Policy(required_checks=tuple(f"check {n}" for n in range(CHECKS))),
        rules=DEFAULTS,
        session=SessionFacts(
            id=1, epoch=1, host="local", agent="command", created_at=NOW, prepared=True, ended=False, published_sha=HEAD, commits=9,
            host_silent_since=None,
        ),
        turn=TurnFacts(
            n=MESSAGES, created_at=NOW, started=True, end=TurnEnd.FINISHED, last_progress_at=NOW, published=True, produced=True, resumes=0
        ),
        pull=PullFacts(
            number=1, url="", state="open", head_sha=HEAD, base_sha=HEAD, head_since=NOW - timedelta(hours=1), mergeable=True,
            conflict_files=(), required_checks=None, checks=tuple(map(_check, range(CHECKS))),
            reviews=tuple(map(_review, range(REVIEWS))), comments=tuple(map(_comment, range(COMMENTS))), observed_at=NOW,
        ),
        messages=tuple(map(_message, range(MESSAGES))),
        jobs={f"turn:1:{n}:0": JobFacts(key=f"turn:1:{n}:0", state=JobState.DONE, attempts=1) for n in range(JOBS)},
        memory={Trigger.CI_FAILED: Memory(trigger=Trigger.CI_FAILED, episode=1, held=True, since=NOW, escalated=True)},
        interruptions=(InterruptionFacts(cause="ci-failed:escalation-1", open=True, escalation=True),),
        nonce="n",
    )  # fmt: skip


def _check(n: int) -> CheckFacts:
    return CheckFacts(id=n, name=f"check {n}", n=1, status="completed", conclusion="failure" if n < 3 else "success")


def _review(n: int) -> ReviewFacts:
    return ReviewFacts(
        id=n, author=f"a{n}", decision="comment", head_sha=HEAD, body="words", trusted=True, bot=False, told=True
    )


def _comment(n: int) -> CommentFacts:
    return CommentFacts(
        id=n, thread=f"t{n}", author="ada", body="words", path="a.py", line=n, resolved=True, trusted=True, bot=False, ours=False,
        told=True, told_in=1,
    )  # fmt: skip


def _message(n: int) -> MessageFacts:
    return MessageFacts(
        id=str(n), session=1, trigger=Trigger.CI_FAILED if n % 2 else None, occasion=f"o{n}", episode=n % 2, created_at=NOW, turn=n + 1,
        confirmed=True, key=f"k{n}",
    )  # fmt: skip


def microseconds(snapshot: Snapshot, times: int) -> float:
    """Of the processor, for one decision on a snapshot that nobody has looked at, on average: nothing is waited for, so what neighbours take
    is left out."""
    fresh = [replace(snapshot) for _ in range(times)]
    began = time.process_time()
    for one in fresh:
        decide(one)
    return (time.process_time() - began) / times * 1_000_000


def program(asked: Asked) -> list[Series]:
    """One decision."""
    events = MESSAGES + JOBS + CHECKS + REVIEWS + COMMENTS
    series = Series(quantity="P19", what=f"one decision on a task with {events} events, processor time", unit="us",
                    goal=Goal(text="< 100 us", at_most=100))  # fmt: skip
    snapshot, times = with_a_past(), asked.size(2000, 10)
    decide(snapshot)
    return [interleaved(series, rounds=asked.rounds(), ours=lambda: microseconds(snapshot, times))]


if __name__ == "__main__":
    run(program)
