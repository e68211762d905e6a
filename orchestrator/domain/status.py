"""The words people see for a task, and the board's columns."""

from __future__ import annotations

from enum import StrEnum


class TaskStatus(StrEnum):
    """What a task is doing. Derived from facts by `lifecycle.decide`; the stored column is a cache of it."""

    QUEUED = "queued"
    STARTING = "starting"
    WORKING = "working"
    NEEDS_INPUT = "needs_input"
    STUCK = "stuck"
    CI_PENDING = "ci_pending"
    CI_FAILED = "ci_failed"
    REVIEW_PENDING = "review_pending"
    CHANGES_REQUESTED = "changes_requested"
    CONFLICTED = "conflicted"
    MERGEABLE = "mergeable"
    MERGING = "merging"
    MERGED = "merged"
    CLOSED = "closed"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """How a task ended. Written once; a task without one has not ended."""

    MERGED = "merged"
    DONE = "done"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class Attention(StrEnum):
    """The board's columns, by what a task asks of people."""

    RESPOND = "respond"
    REVIEW = "review"
    MERGE = "merge"
    PENDING = "pending"
    WORKING = "working"
    DONE = "done"


_RESPOND = frozenset({TaskStatus.NEEDS_INPUT, TaskStatus.STUCK, TaskStatus.FAILED})
_ENDED = frozenset({TaskStatus.MERGED, TaskStatus.CLOSED, TaskStatus.DONE, TaskStatus.CANCELLED})
_COLUMNS = {
    TaskStatus.REVIEW_PENDING: Attention.REVIEW,
    TaskStatus.MERGEABLE: Attention.MERGE,
    TaskStatus.QUEUED: Attention.PENDING,
    TaskStatus.CI_PENDING: Attention.PENDING,
}


def attention_of(status: TaskStatus, *, escalated: bool) -> Attention:
    """The column of a task: an open escalation, whatever the status, asks for a person."""
    if escalated or status in _RESPOND:
        return Attention.RESPOND
    if status in _ENDED:
        return Attention.DONE
    return _COLUMNS.get(status, Attention.WORKING)
