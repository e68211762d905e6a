"""What came of a job is settled once, by whoever holds the newest claim."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from django.db import transaction

from orchestrator import doorbell
from orchestrator.domain.actions import CARRIED_OUT, Action
from orchestrator.domain.backoff import backoff
from orchestrator.domain.prompts import plain
from orchestrator.domain.snapshot import JobState
from orchestrator.domain.waiting import UNDER_WAY
from orchestrator.models import Claim, Job, Task

EFFECTS = "effects"  # the queue of what is done at forges and for people
_BY_VERB = {action.__name__: action for action in CARRIED_OUT}

QUARANTINE_AFTER = 3  # unexpected failures; a worker that dies over a job counts like one that raises


def action_of(job: Job) -> Action:
    """The action that a job promises. Raises KeyError for a verb of another version."""
    return _BY_VERB[job.verb](**job.action)


@transaction.atomic
def settle_done(*, claim: Claim, result: Mapping[str, object], now: datetime) -> bool:
    """The job was carried out. False: the claim is no longer ours, and a successor's word counts."""
    _wake(claim, now)
    return bool(
        Job.objects.held(claim).update(
            state=JobState.DONE, result=dict(result), error="", code="", settled_at=now, lease_until=None
        )
    )


@transaction.atomic
def settle_refused(*, claim: Claim, code: str, error: str, evidence: Mapping[str, object], now: datetime) -> bool:
    """The outside said no: a fact of the next snapshot."""
    _wake(claim, now)
    return bool(
        Job.objects.held(claim).update(
            state=JobState.REFUSED,
            code=code[:60],
            error=plain(error),
            result=dict(evidence),
            settled_at=now,
            lease_until=None,
        )
    )


@transaction.atomic
def settle_unavailable(
    *, claim: Claim, error: str, run_at: datetime | None, now: datetime, under_way: bool = False
) -> bool:
    """Not now: claimed again after a wait that grows. A job waits for ever rather than being lost; its error is shown meanwhile.
    `under_way`: the outside is at it, which is nothing to call people for."""
    _wake(claim, now)
    job = Job.objects.held(claim).select_for_update().first()
    if job is None:
        return False
    job.attempts += 1
    job.state, job.error, job.lease_until = JobState.PROMISED, plain(error), None
    job.code = UNDER_WAY if under_way else ""
    job.run_at = run_at or now + backoff(job.attempts, seed=job.key)
    job.save(update_fields=["attempts", "state", "error", "code", "lease_until", "run_at"])
    return True


@transaction.atomic
def settle_failed(*, claim: Claim, error: str, now: datetime) -> bool:
    """Something unexpected: tried again, and after the third time put aside for a person to look at."""
    _wake(claim, now)
    job = Job.objects.held(claim).select_for_update().first()
    if job is None:
        return False
    job.failures += 1
    job.error, job.lease_until = plain(error), None
    if deaths(job) + job.failures >= QUARANTINE_AFTER:
        job.state, job.settled_at, job.code = JobState.QUARANTINED, now, "quarantined"
    else:
        job.state, job.run_at = JobState.PROMISED, now + backoff(job.failures, seed=job.key)
    job.save(update_fields=["failures", "state", "error", "lease_until", "settled_at", "run_at", "code"])
    return True


def _wake(claim: Claim, now: datetime) -> None:
    """What came of a job is a fact of its task."""
    Task.objects.filter(jobs=claim.job).update(wake_at=now)


class HandOver(Exception):
    """The rest of a job is for the workers of another queue."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"handed over to {queue}")
        self.queue = queue


@transaction.atomic
def hand_over(*, claim: Claim, queue: str, now: datetime) -> bool:
    """The same job goes on elsewhere, at once. It counts as an attempt, so that its next claim is not taken for a death."""
    job = Job.objects.held(claim).select_for_update().first()
    if job is None:
        return False
    job.attempts += 1
    job.queue, job.state, job.lease_until, job.run_at, job.error = queue, JobState.PROMISED, None, now, ""
    job.save(update_fields=["attempts", "queue", "state", "lease_until", "run_at", "error"])
    doorbell.ring_jobs(queue)
    return True


def deaths(job: Job) -> int:
    """How often a worker took the job and was not heard of again before its lease lapsed."""
    return max(job.claims - 1 - job.attempts - job.failures, 0)


@transaction.atomic
def settle_dropped(*, claim: Claim, why: str, now: datetime) -> bool:
    """Overtaken: its session was fenced, so nothing may be done in its name."""
    _wake(claim, now)
    return bool(Job.objects.held(claim).update(state=JobState.DROPPED, error=why, settled_at=now, lease_until=None))


def renew(*, claims: Iterable[Claim], until: datetime) -> None:
    """Hold claims for longer. A claim that was lost meanwhile is not touched."""
    for claim in claims:
        Job.objects.held(claim).filter(lease_until__isnull=False).update(lease_until=until)
