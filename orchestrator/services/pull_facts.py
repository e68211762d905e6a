"""Rows of pull requests to facts, with their checks, reviews and comments: of many in as many queries as of one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from django.db.models import F

from orchestrator.domain.snapshot import CommentFacts, PullFacts, ReviewFacts
from orchestrator.models import Check, Comment, Review, rows
from orchestrator.models.rows import among
from orchestrator.services import failures
from orchestrator.services.failures import OfHead, PullRow, Run

Facts = TypeVar("Facts")


def facts_of_pulls(pulls: dict[int, PullRow], current: dict[int, int], *, now: datetime) -> dict[int, PullFacts]:
    """The pull request of each task, with the newest run of each check at its head and what is known of those that failed."""
    ids = [pull.pk for pull in pulls.values()]
    checks, reviews = _checks(ids), _reviews(ids)
    comments = _comments({pull.pk: current.get(task) for task, pull in pulls.items()})
    heads = failures.at_heads(pulls.values(), checks, now=now)
    return {task: _pull(pull, heads[pull.pk], reviews[pull.pk], comments[pull.pk]) for task, pull in pulls.items()}


def _pull(pull: PullRow, head: OfHead, reviews: Sequence[ReviewFacts], comments: Sequence[CommentFacts]) -> PullFacts:
    return PullFacts(
        number=pull.number,
        url=pull.url,
        state=pull.state,
        head_sha=pull.head_sha,
        base_sha=pull.base_sha,
        head_since=pull.head_since,
        mergeable=pull.mergeable,
        conflict_files=tuple(pull.conflict_files),
        required_checks=tuple(pull.required_checks) if pull.required_checks is not None else None,
        checks=head.checks,
        reviews=tuple(reviews),
        comments=tuple(comments),
        observed_at=pull.observed_at,
        merged_at=pull.merged_at,
        base_branch=pull.base_branch,
        base=head.base,
        incidents=head.incidents,
        attempts=head.attempts,
    )


def _checks(pulls: Sequence[int]) -> dict[int, list[Run]]:
    """The runs of checks at the heads of pull requests."""
    found: dict[int, list[Run]] = defaultdict(list)
    at_head = Check.objects.filter(among("pull_request", pulls), head_sha=F("pull_request__head_sha"))
    for run in rows.read(at_head.order_by("name", "n"), Run):
        found[run.pull_request_id].append(run)
    return found


def _reviews(pulls: Sequence[int]) -> dict[int, list[ReviewFacts]]:
    reviews = Review.objects.filter(among("pull_request", pulls)).order_by("submitted_at", "id")

    def read(
        pk: int,
        author: str,
        decision: str,
        head_sha: str,
        body: str,
        trusted: bool,
        bot: bool,
        message: Any,
        edits: int,
    ) -> ReviewFacts:
        return ReviewFacts(
            id=pk,
            author=author,
            decision=decision,
            head_sha=head_sha,
            body=body,
            trusted=trusted,
            bot=bot,
            told=message is not None,
            edits=edits,
        )

    said = ("author", "decision", "head_sha", "body", "trusted", "bot", "message_id", "edits")
    columns = ("pull_request_id", "id", *said)
    return grouped(reviews.values_list(*columns), read)


def _comments(pulls: dict[int, int | None]) -> dict[int, list[CommentFacts]]:
    """The comments of pull requests, each with the session that works on it now."""
    comments = (
        Comment.objects.filter(among("pull_request", pulls))
        .select_related("message__turn")
        .order_by("created_at", "id")
    )
    found: dict[int, list[CommentFacts]] = defaultdict(list)
    for row in comments:
        told = row.message
        found[row.pull_request_id].append(
            CommentFacts(
                id=row.pk,
                thread=row.thread,
                author=row.author,
                body=row.body,
                path=row.path,
                line=row.line,
                resolved=row.resolved,
                trusted=row.trusted,
                bot=row.bot,
                ours=row.ours,
                told=row.message_id is not None,
                edits=row.edits,
                told_in=None
                if told is None or told.turn is None
                else turn_of(told.turn_id, told.turn.n, told.session_id, pulls[row.pull_request_id]),
                told_at=told.turn.head_before if told is not None and told.turn is not None else "",
            )
        )
    return found


def grouped(found: Iterable[tuple[Any, ...]], read: Callable[..., Facts]) -> dict[int, list[Facts]]:
    """What was read of each row, by the row's first column."""
    groups: dict[int, list[Facts]] = defaultdict(list)
    for of, *columns in found:
        groups[of].append(read(*columns))
    return groups


def turn_of(turn: int | None, n: int | None, session: int | None, current: int | None) -> int | None:
    """Turns are counted within a session: what an earlier one was told came before this one's first turn."""
    if turn is None:
        return None
    return n if session == current else 0
