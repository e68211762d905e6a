"""Pull requests as their forges show them become rows. Whoever reports twice changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import F, Q, QuerySet

from orchestrator.domain import watching
from orchestrator.domain.prompts import one_line, plain
from orchestrator.domain.snapshot import JobState
from orchestrator.models import Check, Comment, Job, Project, PullRequest, Review, Task
from orchestrator.ports import CheckSeen, PullRequestSeen, PullState
from orchestrator.services import deliveries, events, flakes


@transaction.atomic
def record(*, task: Task, seen: PullRequestSeen, now: datetime) -> PullRequest:
    """Take in a pull request as its forge showed it. An observation older than the one we have changes nothing."""
    Task.objects.select_for_update(of=("self",), no_key=True).get(pk=task.pk)
    pull = PullRequest.objects.filter(project=task.project, number=seen.number).first()
    if pull is None:
        pull = PullRequest(
            project=task.project, task=task, number=seen.number, title=task.title, head_since=now, observed_at=now
        )
        pull.poll_at = _looked_at_next(task.project, now=now)
        events.record(kind="pull_request.opened", text=f"pull request !{seen.number} opened", task=task, at=now)
    elif seen.observed_at < pull.observed_at or (pull.state == PullState.MERGED and seen.state != PullState.MERGED):
        return pull  # what was merged stays merged, whatever a slow look still saw
    if pull.head_sha != seen.head_sha:
        pull.head_since = now
    if pull.state != seen.state and pull.pk is not None:
        _tell(pull, seen.state, now=now)
    known = pull.seen == digest(seen)
    _copy(pull, seen, now=now)
    pull.save()
    if not known:  # else it is another base, or whether it can be merged
        for check in seen.checks:
            _record_check(pull, check, now=now)
        _record_words(pull, seen, now=now)
    Task.objects.filter(pk=task.pk).update(wake_at=now, version=F("version") + 1)
    return pull


def _looked_at_next(project: Project, *, now: datetime) -> datetime:
    """It has just been seen: what the forge does not know yet, and what begins now, is seen with the next look."""
    if deliveries.rings(project=project, now=now):
        return now + watching.IN_PASSING
    return now + watching.HOT


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a look showed that a row does not say."""

    told: bool  # of which a webhook tells: a push, an end, a check, or words
    rest: bool  # a log that was fetched, a check that is demanded, that it ended
    base: bool  # another base, or whether it can be merged into it

    @classmethod
    def of(cls, pull: PullRequest, seen: PullRequestSeen) -> News:
        now, known = digest(seen), pull.seen
        required = list(seen.required_checks) if seen.required_checks is not None else None
        return cls(
            told=known.partition(" ")[0] != now.partition(" ")[0] or pull.head_sha != seen.head_sha,
            rest=(known, pull.state, pull.required_checks) != (now, seen.state, required),
            base=(pull.base_sha, pull.mergeable) != (seen.base_sha, seen.mergeable),
        )

    @property
    def only_base(self) -> bool:
        return self.base and not self.told and not self.rest


def digest(seen: PullRequestSeen) -> str:
    """One word for what people and programs did to a pull request, and one for the logs that were fetched since."""
    checks = sorted((one.id, one.name, one.status, one.conclusion or "") for one in seen.checks)
    words = [
        *sorted((one.id, one.decision, one.body, one.trusted) for one in seen.reviews),
        *sorted((one.id, one.body, one.resolved, one.trusted) for one in seen.comments),
    ]
    facts = repr((seen.head_sha, seen.state.value, checks, words))
    return f"{hashlib.sha256(facts.encode()).hexdigest()[:40]} {sum(bool(one.failing_log) for one in seen.checks)}"


@transaction.atomic
def merged(*, task: Task, number: int, head_sha: str, sha: str, now: datetime) -> None:
    """We merged this head as `sha`, by the forge's own answer. Saying it twice changes nothing."""
    Task.objects.select_for_update(of=("self",), no_key=True).get(pk=task.pk)
    pull = PullRequest.objects.get(project=task.project, number=number)
    if pull.state == PullState.MERGED:
        return
    _tell(pull, PullState.MERGED, now=now)
    pull.state, pull.observed_at = PullState.MERGED, now
    pull.merged_sha, pull.merged_head, pull.merged_at = sha, head_sha, now
    pull.save(update_fields=["state", "observed_at", "merged_sha", "merged_head", "merged_at"])
    Task.objects.filter(pk=task.pk).update(wake_at=now, version=F("version") + 1)


@transaction.atomic
def base_moved(*, pulls: Sequence[PullRequest], seen: PullRequestSeen, now: datetime) -> None:
    """What `record` does, for all those at once of which a look showed nothing new but the same base and the same answer to whether they can
    be merged. A commit on the base branch makes it so for every open pull request."""
    tasks = Task.objects.select_for_update(of=("self",), no_key=True).filter(pk__in=[pull.task_id for pull in pulls])
    ids = list(tasks.order_by("pk").values_list("pk", flat=True))
    rows = PullRequest.objects.filter(pk__in=[pull.pk for pull in pulls], state="open")
    rows.filter(observed_at__lte=seen.observed_at).update(
        base_sha=seen.base_sha, mergeable=seen.mergeable, conflict_files=[], observed_at=seen.observed_at
    )
    Task.objects.filter(pk__in=ids).update(wake_at=now, version=F("version") + 1)


@transaction.atomic
def seen_unchanged(*, pulls: Sequence[PullRequest], at: datetime) -> None:
    """A look that showed nothing new. It matters to those who wait for one: a merge that lost a race is decided again after it."""
    PullRequest.objects.filter(pk__in=[pull.pk for pull in pulls], observed_at__lt=at).update(observed_at=at)
    refused = Job.objects.filter(task__in=[pull.task_id for pull in pulls], verb="Merge", state=JobState.REFUSED)
    for task_id in refused.filter(settled_at__lt=at).values_list("task_id", flat=True).distinct():
        if task_id is not None:
            events.look_again(task_id=task_id, at=at)


@transaction.atomic
def untold(*, pulls: Sequence[PullRequest], now: datetime) -> None:
    """A look showed of these what no webhook had told since the look before. One that comes soon is only late."""
    waiting = PullRequest.objects.filter(pk__in=[pull.pk for pull in pulls])
    waiting.filter(Q(rung_at__isnull=True) | Q(rung_at__lt=F("observed_at"))).update(untold_at=now)


def _tell(pull: PullRequest, state: PullState, *, now: datetime) -> None:
    events.record(kind=f"pull_request.{state}", text=f"!{pull.number} is {state}", task=pull.task, at=now)


def _copy(pull: PullRequest, seen: PullRequestSeen, *, now: datetime) -> None:
    pull.url, pull.branch, pull.base_branch = seen.url, seen.branch, seen.base_branch
    pull.head_sha, pull.base_sha, pull.state = seen.head_sha, seen.base_sha, seen.state
    pull.mergeable, pull.conflict_files = seen.mergeable, list(seen.conflict_files)
    pull.required_checks = list(seen.required_checks) if seen.required_checks is not None else None
    pull.observed_at, pull.seen = seen.observed_at, digest(seen)
    if seen.merged_sha and not pull.merged_sha:
        pull.merged_sha, pull.merged_head, pull.merged_at = seen.merged_sha, seen.head_sha, now


def _record_check(pull: PullRequest, seen: CheckSeen, *, now: datetime) -> None:
    """Checks of other forges; those of the built-in one are rows from their start. Runs are numbered in the order in which we saw them."""
    runs = Check.objects.filter(pull_request=pull, head_sha=seen.head_sha, name=seen.name)
    known = runs.filter(external_id=seen.id).first()
    check, _ = Check.objects.update_or_create(
        pull_request=pull,
        head_sha=seen.head_sha,
        name=seen.name,
        external_id=seen.id,
        defaults={
            "status": seen.status,
            "conclusion": seen.conclusion or "",
            "url": seen.url,
            "failing_log": plain(seen.failing_log),
            "fingerprint": seen.fingerprint,
            "headline": plain(seen.headline),
            "started_at": seen.started_at,
            "completed_at": seen.completed_at,
            "n": known.n if known is not None else runs.count() + 1,
        },
    )
    flakes.went_green(check=check, before=known.conclusion if known is not None else "", now=now)


def _edited(rows: QuerySet[Review] | QuerySet[Comment], body: str, pull: PullRequest, *, now: datetime) -> None:
    """Words that were changed after the agent was told them are to be told again; an approval whose words were changed is taken back."""
    row = rows.exclude(body=plain(body)).first()
    if row is None:
        return
    if row.message_id is not None or (isinstance(row, Review) and row.decision == Review.Decision.APPROVE):
        rows.update(message=None, edits=F("edits") + 1)
        text = f"{row.author} changed what they had said: {one_line(body)}"
        events.record(kind="review.edited", text=text, task=pull.task, at=now, data={"before": row.body[:2000]})


def _record_words(pull: PullRequest, seen: PullRequestSeen, *, now: datetime) -> None:
    for review in seen.reviews:
        if review.id:
            _edited(pull.reviews.filter(external_id=review.id), review.body, pull, now=now)
            Review.objects.update_or_create(
                pull_request=pull,
                external_id=review.id,
                defaults={
                    "author": review.author,
                    "decision": review.decision,
                    "head_sha": review.head_sha,
                    "body": plain(review.body),
                    "trusted": review.trusted,
                    "bot": review.bot,
                    "submitted_at": review.submitted_at,
                },
            )
    for comment in seen.comments:
        if comment.id:
            _edited(pull.comments.filter(external_id=comment.id), comment.body, pull, now=now)
            Comment.objects.update_or_create(
                pull_request=pull,
                external_id=comment.id,
                defaults={
                    "thread": comment.thread,
                    "author": comment.author,
                    "body": plain(comment.body),
                    "path": comment.path,
                    "line": comment.line,
                    "resolved": comment.resolved,
                    "trusted": comment.trusted,
                    "bot": comment.bot,
                    "ours": comment.ours,
                    "created_at": comment.created_at,
                },
            )
