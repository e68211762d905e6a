"""Claim, carry out and settle jobs. The one place that catches broadly: whatever an executor raises becomes a fact of its job."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, connection
from django.utils import timezone

from orchestrator.domain.prompts import plain
from orchestrator.domain.snapshot import JobState
from orchestrator.models import Claim, Job
from orchestrator.ports import LimitReached, Refused, Unavailable
from orchestrator.services import aside, forges, jobs
from orchestrator.services.reconcile import reconcile, reconcile_many
from orchestrator.services.sessions import Overtaken
from workers.executors.notify import deliver
from workers.executors.packing import pack
from workers.executors.table import EXECUTORS
from workers.failpoints import failpoint
from workers.identity import known_dead, myself
from workers.toolbox import Toolbox

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
RENEW_EVERY = timedelta(seconds=10)
LONGEST = timedelta(seconds=60)  # no job lives longer: its thread is taken for stuck then, and its worker is replaced
FORSAKEN = timedelta(
    seconds=5
)  # a claim of ours this old that no thread holds was given up when the database went away
AFTER_THE_END = frozenset({"EndSession", "DeleteBranch", "ClosePullRequest"})  # what is done for a task that has ended
DEATHS = 5  # a job over which this many workers died is put aside


class Leases:
    """The claims of this process, renewed by one thread for as long as their threads work on them."""

    def __init__(self) -> None:
        self._held: dict[Claim, datetime] = {}
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0

    def hold(self, claim: Claim) -> None:
        with self._lock:
            self._held[claim] = timezone.now()
            if self._thread is None or not self._thread.is_alive() or self._pid != os.getpid():
                self._pid = os.getpid()
                self._thread = threading.Thread(target=self._renew, name="leases", daemon=True)
                self._thread.start()

    def release(self, claim: Claim) -> None:
        with self._lock:
            self._held.pop(claim, None)

    def jobs(self) -> set[int]:
        """The jobs that this process is working on."""
        with self._lock:
            return {claim.job for claim in self._held}

    def _renew(self) -> None:
        while True:
            self._changed.wait(RENEW_EVERY.total_seconds())
            with self._lock:
                held = dict(self._held)
            now = timezone.now()
            if any(now - since > LONGEST for since in held.values()):
                logger.critical("a job is stuck: this worker is replaced", extra={"claims": len(held)})
                os._exit(70)
            if not held:
                continue
            try:
                jobs.renew(claims=held, until=now + LEASE)
            except (DatabaseError, InterfaceError):
                logger.warning("leases could not be renewed: the database does not answer")
            connection.close()  # a connection of this thread alone would be idle nearly always


LEASES = Leases()


def run_due(*, queues: Sequence[str], tools: Toolbox, limit: int = 1000) -> int:
    """Carry out what is due on the queues until nothing is, and answer how many jobs that were."""
    done = 0
    while done < limit:
        claimed = claim(queues)
        if claimed is None:
            break
        carry_out(claimed, tools)
        done += 1
    return done


def release_forsaken_claims() -> int:
    """Let go of claims that nobody works on, without waiting for their leases: of dead workers of this machine, and of our own where the
    database went away before they could be settled."""
    claimed = Job.objects.filter(state=JobState.CLAIMED)
    gone = [holder for holder in claimed.values_list("claimed_by", flat=True).distinct() if known_dead(holder)]
    now = timezone.now()
    ours = claimed.filter(claimed_by=myself(), claimed_at__lt=now - FORSAKEN).exclude(pk__in=LEASES.jobs())
    return claimed.filter(claimed_by__in=gone).update(lease_until=now) + ours.update(lease_until=now)


def claim(queues: Sequence[str]) -> Claim | None:
    """One due job of the queues, or None: one statement, which is its own transaction."""
    for _ in range(5):
        try:
            return next(iter(Job.objects.claim(queues=queues, worker=myself(), lease=LEASE)), None)
        except IntegrityError:
            continue  # another worker took a job of the same session at this moment: look again
    return None


def carry_out(claim: Claim, tools: Toolbox) -> None:
    """Carry out one claimed job, settle it, and decide again on what came of it."""
    job = Job.objects.select_related("session", "task").get(pk=claim.job)
    facts = {"job": job.pk, "key": job.key, "task": job.task_id, "session": job.session_id, "queue": job.queue}
    LEASES.hold(claim)
    try:
        _attempt(job, claim, tools, facts)
    finally:
        LEASES.release(claim)
    if job.task_id is not None:
        decide_on(job.task_id)


def decide_on(task_id: int, *, only_due: bool = False) -> None:
    """Decide on one task. One on which nothing can be decided is put aside, so that it holds up none of the others."""
    try:
        reconcile(task_id=task_id, now=timezone.now(), only_due=only_due)
    except (OperationalError, InterfaceError):
        raise  # the database is away, for everybody
    except Exception as error:
        logger.exception("task put aside", extra={"task": task_id})
        aside.put_aside(task_id=task_id, why=f"{type(error).__name__}: {error}", now=timezone.now())


def decide_on_many(task_ids: Sequence[int], *, only_due: bool = False) -> None:
    """Decide on many tasks in one transaction. Where one of them stands in the way, each is decided by itself."""
    try:
        reconcile_many(task_ids=task_ids, now=timezone.now(), only_due=only_due)
    except (OperationalError, InterfaceError):
        raise  # the database is away, for everybody
    except Exception:
        logger.exception("tasks are taken one by one", extra={"tasks": len(task_ids)})
        for task_id in task_ids:
            decide_on(task_id, only_due=only_due)


def unhindered(doing: str, act: Callable[[], object]) -> bool:
    """Do one of several things; what goes wrong with it is told to the log and keeps nobody from the others. False: it went wrong."""
    try:
        act()
    except (OperationalError, InterfaceError):
        raise  # the database is away, for everybody
    except Exception:
        logger.exception("one thing of many failed", extra={"doing": doing})
        return False
    return True


def _attempt(job: Job, claim: Claim, tools: Toolbox, facts: Mapping[str, object]) -> None:
    now = timezone.now
    try:
        if jobs.deaths(job) >= DEATHS:
            jobs.settle_refused(
                claim=claim, code="quarantined", error=f"{DEATHS} workers died over {job.key}", evidence={}, now=now()
            )
            return
        failpoint(f"before_{job.verb}")
        result = _execute(job, tools)
        failpoint(f"after_{job.verb}")
        settled = jobs.settle_done(claim=claim, result=result, now=now())
        failpoint(f"settled_{job.verb}")
        logger.info("job done" if settled else "job overtaken", extra=dict(facts))
    except Unavailable as error:
        run_at = now() + error.retry_after if error.retry_after is not None else None
        jobs.settle_unavailable(claim=claim, error=_words(error), run_at=run_at, now=now(), under_way=error.under_way)
        if isinstance(error, LimitReached) and job.task is not None:
            until = now() + error.wait
            forges.limited(project=job.task.project, until=until, writes_go_on=error.writes_go_on)
        logger.info("job waits", extra={**facts, "error": str(error)})
    except Refused as error:
        jobs.settle_refused(claim=claim, code=error.code, error=_words(error), evidence=error.evidence, now=now())
        logger.warning("job refused", extra={**facts, "code": error.code, "error": str(error)})
    except Overtaken as error:
        jobs.settle_dropped(claim=claim, why=str(error), now=now())
        logger.info("job dropped", extra={**facts, "error": str(error)})
    except jobs.HandOver as over:
        jobs.hand_over(claim=claim, queue=over.queue, now=now())
        logger.info("job handed over", extra={**facts, "to": over.queue})
    except OperationalError:
        raise  # the database is away: the lease lapses and a successor claims it
    except Exception as error:
        logger.exception("job failed", extra=dict(facts))
        jobs.settle_failed(claim=claim, error=f"{type(error).__name__}: {_words(error)}", now=now())


def _words(error: Exception) -> str:
    """What an error says, fit to be stored and shown: it may quote whatever an agent wrote."""
    return plain(str(error))[:4000]


def _execute(job: Job, tools: Toolbox) -> Mapping[str, object]:
    if job.verb == "Deliver":
        return deliver(int(job.action["notification"]), tools)
    if job.verb == "Pack":
        return pack(int(job.action["parcel"]), tools)
    if job.session is not None and job.verb != "EndSession" and job.session.ended_at is not None:
        raise Overtaken(f"session {job.session_id} has ended")
    if job.verb not in AFTER_THE_END and job.task is not None and job.task.outcome:
        raise Overtaken("the task has ended")
    action = jobs.action_of(job)
    return EXECUTORS[type(action)](action, job.task_id or 0, tools)
