"""Jobs that were tried and could not be done yet: what they wait for is said, and when it takes too long a human is called."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from orchestrator.domain.actions import Action, Interrupt, key_of
from orchestrator.domain.rules import Priority
from orchestrator.domain.snapshot import JobFacts, JobState, Snapshot

UNDER_WAY = "under_way"  # the code of a job whose outside is at it, such as a merge queue: it takes as long as it takes
_WORDS = {
    "issue": "its issue",
    "prepare": "its workspace",
    "turn": "the agent's start",
    "say": "a message to the agent",
    "hang-up": "the end of the agent's turn",
    "stop": "the agent's stop",
    "publish": "the push",
    "open-pr": "the pull request",
    "check": "a check",
    "base-check": "a check of the base branch",
    "rerun": "running failed checks again",
    "merge": "the merge",
    "end": "the clean-up",
    "delete-branch": "the branch's deletion",
    "answer": "an answer in a review thread",
    "close": "closing the pull request",
}


def waiting_job(snapshot: Snapshot, actions: Iterable[Action]) -> JobFacts | None:
    """The first job that is asked for, was tried and is to be tried again."""
    for action in actions:
        job = snapshot.jobs.get(key_of(action))
        if job is not None and job.error and job.state in {JobState.PROMISED, JobState.CLAIMED}:
            return job
    return None


def words_of(job: JobFacts) -> str:
    """What waits, and for what."""
    verb = job.key.partition(":")[0]
    return f"{_WORDS.get(verb, verb)} waits: {job.error}"


def called_at(job: JobFacts | None, snapshot: Snapshot) -> datetime | None:
    """When a human is called because it still waits."""
    if job is None or job.promised_at is None or job.code == UNDER_WAY:
        return None
    return job.promised_at + snapshot.policy.patience


def call(job: JobFacts | None, snapshot: Snapshot) -> tuple[Interrupt, ...]:
    """One call for one job, once it has waited for too long."""
    due = called_at(job, snapshot)
    if job is None or due is None or snapshot.now < due:
        return ()
    return (
        Interrupt(
            trigger=None,
            cause=f"waits:{job.key}",
            priority=Priority.URGENT,
            escalation=True,
            question=f"{words_of(job)}. It is tried again until it works.",
            evidence=(f"tried {job.attempts} times",),
        ),
    )
