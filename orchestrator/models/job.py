"""Jobs: durable promises to carry out one action, claimed by workers in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, models
from django.db.models import Q

from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import JobState
from orchestrator.models.project import choices
from orchestrator.models.session import Session
from orchestrator.models.task import Task

# One statement: what is due and free, or whose lease lapsed, oldest first; a session with a claimed job waits for its turn. Two claims that
# race for two jobs of one session meet the constraint `one_claimed_job_per_session`, which fails one of them; its caller claims again.
# Channels to people likewise: one delivery at a time, so that one that hangs holds one thread.
# Each queue and each state is a walk of its own along its partial index, so that a claim costs the same however many jobs are due.
_CLAIM = """
WITH found AS (
  SELECT promised.id, promised.run_at
    FROM unnest(%(queues)s::text[]) AS wanted(queue)
   CROSS JOIN LATERAL (
         SELECT candidate.id, candidate.run_at
           FROM orchestrator_job AS candidate
          WHERE candidate.queue = wanted.queue AND candidate.state = 'promised' AND candidate.run_at <= now()
            AND (candidate.session_id IS NULL OR NOT EXISTS (
                  SELECT 1 FROM orchestrator_job AS other
                   WHERE other.session_id = candidate.session_id AND other.state = 'claimed'))
            AND (left(candidate.queue, 8) <> 'channel.' OR NOT EXISTS (
                  SELECT 1 FROM orchestrator_job AS other
                   WHERE other.queue = candidate.queue AND other.state = 'claimed'))
          ORDER BY candidate.run_at
          LIMIT %(limit)s
            FOR UPDATE SKIP LOCKED) AS promised
   UNION ALL
  SELECT lapsed.id, lapsed.run_at
    FROM unnest(%(queues)s::text[]) AS wanted(queue)
   CROSS JOIN LATERAL (
         SELECT candidate.id, candidate.run_at
           FROM orchestrator_job AS candidate
          WHERE candidate.queue = wanted.queue AND candidate.state = 'claimed' AND candidate.lease_until <= now()
          ORDER BY candidate.lease_until
          LIMIT %(limit)s
            FOR UPDATE SKIP LOCKED) AS lapsed
), due AS (
  SELECT id FROM found ORDER BY run_at, id LIMIT %(limit)s
)
UPDATE orchestrator_job AS job
   SET state = 'claimed', claimed_by = %(worker)s, claims = job.claims + 1, lease_until = now() + make_interval(secs => %(lease)s), claimed_at = now()
  FROM due
 WHERE job.id = due.id
RETURNING job.id, job.claims
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to carry out a job until its lease lapses. `claims` is the fence: a later claim of the same job has a higher one."""

    job: int
    claims: int


class JobQuerySet(models.QuerySet["Job"]):
    def claim(self, *, queues: Sequence[str], worker: str, lease: timedelta, limit: int = 1) -> list[Claim]:
        """Claim up to `limit` due jobs of the queues in one statement, by the database's clock. Raises IntegrityError when another
        claim took a job of the same session at the same moment."""
        with connection.cursor() as cursor:
            cursor.execute(
                _CLAIM, {"queues": list(queues), "worker": worker, "lease": lease.total_seconds(), "limit": limit}
            )
            return [Claim(job=job, claims=claims) for job, claims in cursor.fetchall()]

    def held(self, claim: Claim) -> JobQuerySet:
        """The job of a claim, while the claim is still the newest and unsettled."""
        return self.filter(pk=claim.job, claims=claim.claims, state=JobState.CLAIMED)

    def due(self, now: datetime) -> JobQuerySet:
        """What a worker could claim now."""
        return self.filter(
            Q(state=JobState.PROMISED, run_at__lte=now) | Q(state=JobState.CLAIMED, lease_until__lte=now)
        )


class Job(models.Model):
    """A durable promise to carry out one action. `key` is verb, object and occasion; the same key is promised once."""

    task = models.ForeignKey(Task, null=True, blank=True, on_delete=models.CASCADE, related_name="jobs")
    session = models.ForeignKey(Session, null=True, blank=True, on_delete=models.CASCADE, related_name="jobs")
    key = models.CharField(max_length=340, unique=True)
    verb = models.CharField(max_length=30)
    action = models.JSONField(help_text="The action's fields.")
    trigger = models.CharField(
        max_length=30, blank=True, choices=choices(Trigger), help_text="Whose rule asked for it."
    )
    rule_version = models.PositiveIntegerField(null=True, blank=True)
    queue = models.CharField(max_length=80)
    state = models.CharField(max_length=12, choices=choices(JobState), default=JobState.PROMISED.value)
    run_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0, help_text="How often the outside was not available.")
    failures = models.PositiveIntegerField(
        default=0, help_text="How often it raised something unexpected or its worker died."
    )
    claims = models.PositiveIntegerField(default=0)
    claimed_by = models.CharField(max_length=120, blank=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    code = models.CharField(max_length=60, blank=True)
    error = models.TextField(blank=True)
    result = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["session"], condition=Q(state="claimed"), name="one_claimed_job_per_session"
            ),
            models.UniqueConstraint(
                fields=["queue"],
                condition=Q(state="claimed", queue__startswith="channel."),
                name="one_delivery_at_a_time_per_channel",
            ),
            models.CheckConstraint(
                condition=Q(settled_at__isnull=True, state__in=["promised", "claimed"])
                | (Q(settled_at__isnull=False) & ~Q(state__in=["promised", "claimed"])),
                name="a_settled_job_has_its_time",
            ),
        ]
        indexes = [
            models.Index(fields=["queue", "run_at"], condition=Q(state="promised"), name="job_due"),
            models.Index(fields=["queue", "lease_until"], condition=Q(state="claimed"), name="job_leased"),
            models.Index(fields=["task", "id"], name="job_task"),
        ]

    def __str__(self) -> str:
        return self.key


class PushIntent(models.Model):
    """A head that we are about to push, or pushed: written before the push, so that a remote that holds it is known to be ours."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="pushes")
    branch = models.CharField(max_length=200)
    old_sha = models.CharField(max_length=64, blank=True)
    new_sha = models.CharField(max_length=64)
    intended_at = models.DateTimeField(auto_now_add=True)
    confirmed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["task", "branch", "new_sha"], name="one_intent_per_branch_and_sha")
        ]

    def __str__(self) -> str:
        return f"{self.branch} -> {self.new_sha[:10]}"
