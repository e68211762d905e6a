"""How statuses and columns are called and coloured on the pages."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.status import Attention, TaskStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnWords:
    """A column of the board: its heading, what it asks of people, and what it says while it is empty."""

    attention: Attention
    title: str
    hint: str
    empty: str


COLUMNS = (
    ColumnWords(
        attention=Attention.RESPOND,
        title="Needs you",
        hint="Questions, escalations and failures that wait for a person",
        empty="Nobody is waiting for you.",
    ),
    ColumnWords(
        attention=Attention.REVIEW,
        title="Review",
        hint="Green changes that wait for a review",
        empty="Nothing to review.",
    ),
    ColumnWords(
        attention=Attention.MERGE,
        title="Merge",
        hint="Approved and green at the head",
        empty="Nothing to merge.",
    ),
    ColumnWords(
        attention=Attention.WORKING,
        title="Working",
        hint="An agent is at it",
        empty="No agent is working.",
    ),
    ColumnWords(
        attention=Attention.PENDING,
        title="Pending",
        hint="Queued, or waiting for checks",
        empty="Nothing is queued.",
    ),
    ColumnWords(
        attention=Attention.DONE,
        title="Done",
        hint="Merged, closed, cancelled or without a change needed",
        empty="Nothing has ended yet.",
    ),
)

# What each status is called, and its tone: one of the colours that the style sheet knows.
STATUS: dict[str, tuple[str, str]] = {
    TaskStatus.QUEUED: ("queued", "calm"),
    TaskStatus.STARTING: ("starting", "busy"),
    TaskStatus.WORKING: ("working", "busy"),
    TaskStatus.NEEDS_INPUT: ("needs input", "alarm"),
    TaskStatus.STUCK: ("stuck", "alarm"),
    TaskStatus.CI_PENDING: ("checks running", "calm"),
    TaskStatus.CI_FAILED: ("checks failed", "warn"),
    TaskStatus.REVIEW_PENDING: ("review pending", "ask"),
    TaskStatus.CHANGES_REQUESTED: ("changes requested", "warn"),
    TaskStatus.CONFLICTED: ("conflicted", "warn"),
    TaskStatus.MERGEABLE: ("mergeable", "good"),
    TaskStatus.MERGING: ("merging", "good"),
    TaskStatus.MERGED: ("merged", "done"),
    TaskStatus.CLOSED: ("closed", "quiet"),
    TaskStatus.DONE: ("done", "done"),
    TaskStatus.FAILED: ("failed", "alarm"),
    TaskStatus.CANCELLED: ("cancelled", "quiet"),
}
