"""What is kept of the facts that a decision was made on: all that it depended on, and nothing that only fills a disk."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from orchestrator.domain.lifecycle import Decision
from orchestrator.domain.prompts import capped
from orchestrator.domain.snapshot import JobState, MessageFacts, PullFacts, Snapshot, TurnFacts

WORDS = 80  # bytes that are kept of what people and programs wrote; all of it stands in the rows of checks, reviews and messages


def abridged(snapshot: Snapshot) -> Snapshot:
    """The facts on which exactly the same is decided, but for the words of messages: long words are cut, and jobs that were done are left
    out, since nothing is ever decided on them."""
    return replace(
        snapshot,
        nonce="",
        task=replace(snapshot.task, body=""),
        turn=_turn(snapshot.turn) if snapshot.turn is not None else None,
        pull=_pull(snapshot.pull) if snapshot.pull is not None else None,
        messages=tuple(_message(message) for message in snapshot.messages),
        jobs={key: job for key, job in snapshot.jobs.items() if job.state is not JobState.DONE},
    )


def _turn(turn: TurnFacts) -> TurnFacts:
    """The last line is what a task ends with that needed no change."""
    words = turn.last_words.strip()
    return replace(turn, last_words=words.splitlines()[-1][:200] if words else "")


def _pull(pull: PullFacts) -> PullFacts:
    return replace(
        pull,
        checks=tuple(replace(check, failing_log="") for check in pull.checks),
        reviews=tuple(replace(review, body=capped(review.body, WORDS)) for review in pull.reviews),
        comments=tuple(replace(comment, body=capped(comment.body, WORDS)) for comment in pull.comments),
    )


def _message(message: MessageFacts) -> MessageFacts:
    """Who a message is matters until it was told."""
    return replace(message, key="", id="" if message.turn is not None else message.id)


def standing(decision: Decision) -> str:
    """A name for where a decision leaves a task and why. While it is the same, there is nothing new to keep."""
    parts = (decision.status, decision.reason, *decision.why)
    return hashlib.blake2b("\x1f".join(parts).encode(errors="replace"), digest_size=8).hexdigest()
