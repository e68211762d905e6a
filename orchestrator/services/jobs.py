"""Promises: what was decided becomes rows in the transaction that decided it, and what came of a job is settled once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime

from django.db import transaction

from orchestrator import doorbell
from orchestrator.domain.actions import (
    CARRIED_OUT,
    Abandon,
    Action,
    AnswerThread,
    ClosePullRequest,
    DeleteBranch,
    EndSession,
    Interrupt,
    Merge,
    OpenPullRequest,
    Pause,
    ReadIssue,
    SendToAgent,
    Settle,
    key_of,
)
from orchestrator.domain.backoff import backoff
from orchestrator.domain.prompts import plain
from orchestrator.domain.snapshot import JobState
from orchestrator.domain.waiting import UNDER_WAY
from orchestrator.models import (
    Claim,
    Comment,
    Host,
    Interruption,
    Job,
    Message,
    Notification,
    NotificationChannel,
    Review,
    Session,
    Task,
)
from orchestrator.services import events

EFFECTS = "effects"
_FORGE = (ReadIssue, OpenPullRequest, Merge, DeleteBranch, ClosePullRequest, AnswerThread)
_BY_VERB = {action.__name__: action for action in CARRIED_OUT}

QUARANTINE_AFTER = 3  # unexpected failures; a worker that dies over a job counts like one that raises


def promise(actions: Iterable[Action], *, task: Task, now: datetime) -> int:
    """Write down what was decided and answer how much of it was new. The same key again is silent. The caller holds the task's lock."""
    new = 0
    carried_out: list[Action] = []
    for action in actions:
        match action:
            case SendToAgent():
                new += _record_message(action, task=task)
            case Interrupt():
                new += _record_interruption(action, task=task, now=now)
            case Settle(cause=cause):
                new += _settle_interruptions(cause, task=task, now=now)
            case Abandon():
                new += _abandon(action, task=task, now=now)
            case Pause():
                new += _pause(action, task=task, now=now)
            case _:
                carried_out.append(action)
    return new + _write(carried_out, task=task, now=now)


def _write(actions: list[Action], *, task: Task, now: datetime) -> int:
    wanted = {f"{task.pk}:{key_of(action)}": action for action in actions}
    known = set(Job.objects.filter(key__in=wanted).values_list("key", flat=True)) if wanted else set()
    fresh = [_job(key, action, task=task, now=now) for key, action in wanted.items() if key not in known]
    if fresh:
        Job.objects.bulk_create(fresh, ignore_conflicts=True)
        for queue in {job.queue for job in fresh}:
            doorbell.ring_jobs(queue)
    return len(fresh)


def _job(key: str, action: Action, *, task: Task, now: datetime) -> Job:
    session = getattr(action, "session", None)
    return Job(
        task=task,
        session_id=session,
        key=key,
        verb=type(action).__name__,
        action=asdict(action),
        queue=EFFECTS if isinstance(action, _FORGE) else _host_queue(session),
        run_at=now,
    )


def _host_queue(session: int | None) -> str:
    """The queue of the session's host; checks of the built-in forge run on this machine."""
    if session is not None:
        return Session.objects.select_related("host").get(pk=session).host.queue
    local = Host.objects.filter(kind=Host.Kind.LOCAL).order_by("pk").first()
    return local.queue if local is not None else EFFECTS


def action_of(job: Job) -> Action:
    """The action that a job promises. Raises KeyError for a verb of another version."""
    return _BY_VERB[job.verb](**job.action)


def _record_message(action: SendToAgent, *, task: Task) -> int:
    message, created = Message.objects.get_or_create(
        task=task,
        key=key_of(action),
        defaults={
            "session_id": action.session,
            "trigger": action.trigger or "",
            "occasion": action.occasion,
            "episode": action.episode,
            "text": action.text,
        },
    )
    if created:
        Review.objects.filter(pk__in=action.reviews, message__isnull=True).update(message=message)
        Comment.objects.filter(pk__in=action.comments, message__isnull=True).update(message=message)
    return int(created)


def _record_interruption(action: Interrupt, *, task: Task, now: datetime) -> int:
    asked, created = Interruption.objects.get_or_create(
        task=task,
        cause=action.cause[:300],
        defaults={
            "trigger": action.trigger or "",
            "priority": action.priority,
            "escalation": action.escalation,
            "question": action.question,
            "evidence": [line for line in action.evidence if line],
            "asked_at": now,
        },
    )
    if created:
        _notify(asked, task=task, now=now)
        events.record(kind="human.asked", text=asked.question, task=task, at=now, data={"cause": asked.cause})
    return int(created)


def _notify(asked: Interruption, *, task: Task, now: datetime) -> None:
    """Each channel is a job of its own, so that a hanging one delays no other."""
    channels = [c for c in NotificationChannel.objects.all() if asked.priority in c.priorities]
    for channel in channels:
        sent = Notification.objects.create(interruption=asked, channel=channel)
        Job.objects.create(
            task=task,
            key=f"{task.pk}:notify:{sent.pk}",
            verb="Deliver",
            action={"notification": sent.pk},
            queue=EFFECTS,
            run_at=now,
        )
    if channels:
        doorbell.ring_jobs(EFFECTS)


def _settle_interruptions(cause: str, *, task: Task, now: datetime) -> int:
    """This question and no other: the cause of turn 1 begins like that of turn 10."""
    asked = Interruption.objects.filter(task=task, cause=cause, escalation=False, resolved_at__isnull=True)
    return asked.update(resolved_at=now, resolution="it went away by itself")


def _pause(action: Pause, *, task: Task, now: datetime) -> int:
    """Pause it, once for each occasion: the row of a job that is done already says that it was."""
    done = {
        "verb": type(action).__name__,
        "action": asdict(action),
        "state": JobState.DONE,
        "run_at": now,
        "settled_at": now,
    }
    _, new = Job.objects.get_or_create(
        key=f"{task.pk}:{key_of(action)}", defaults={"task": task, "queue": EFFECTS, **done}
    )
    if new and not task.paused:
        task.paused, task.pause_reason = True, action.reason
        task.save(update_fields=["paused", "pause_reason"])
        events.record(kind="task.paused", text=action.reason, task=task, at=now)
    return int(new)


def _abandon(action: Abandon, *, task: Task, now: datetime) -> int:
    """Free the task for a successor; the old host learns of it when it is back, from the job that waits for it."""
    lost = Session.objects.filter(pk=action.session, ended_at__isnull=True).update(
        ended_at=now, end_reason=action.reason
    )
    if lost:
        events.record(kind="session.lost", text=action.reason, task=task, at=now)
        doorbell.ring("place_tasks", queue_name="control")
        _write([EndSession(session=action.session)], task=task, now=now)
    return lost


# --- What came of a job -------------------------------------------------------------------------------------------------------------------


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
