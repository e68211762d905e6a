"""Whether a task gets anywhere: a new head, fewer failed checks, threads resolved, a conflict cleared. All else only uses something up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from orchestrator.domain.budgets import Used, said
from orchestrator.domain.snapshot import Progress, Snapshot, TurnUse, once
from orchestrator.domain.verdicts import CI, ci_of, review_of

SEVERAL = 3  # turns without progress before their time counts against the agent


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """What was used up since the last progress."""

    turns: int
    used: Used
    running: bool  # one of them is live, so that its time grows


@once
def progress_of(snapshot: Snapshot) -> Progress:
    """The last progress, and where the task stood then. What got worse since is remembered and is none; what cannot be told yet (pending
    checks, an unknown conflict) leaves what was known."""
    before = snapshot.task.progress or Progress(at=snapshot.task.created_at, what="handed in")
    head, failed, threads, conflicted = _standing(snapshot, before)
    steps = [
        f"head {head[:10]}" if head != before.head else "",
        f"{failed} failed checks, {before.failed} before" if failed < before.failed else "",
        f"{before.threads - threads} threads resolved" if threads < before.threads else "",
        "the conflict is cleared" if before.conflicted and not conflicted else "",
    ]
    made = ", ".join(step for step in steps if step)
    return Progress(
        at=snapshot.now if made else before.at,
        what=made or before.what,
        head=head,
        failed=failed,
        threads=threads,
        conflicted=conflicted,
    )


def _standing(snapshot: Snapshot, before: Progress) -> tuple[str, int, int, bool]:
    pull, session = snapshot.pull, snapshot.session
    if pull is None:
        published = session.published_sha if session is not None else None
        return published or before.head, before.failed, before.threads, before.conflicted
    conflicted = not pull.mergeable if pull.mergeable is not None else before.conflicted
    review = review_of(snapshot)
    threads = {comment.thread for comment in (*review.open_comments, *review.bot_comments)}
    return pull.head_sha, _failed(snapshot, before), len(threads), conflicted


def _failed(snapshot: Snapshot, before: Progress) -> int:
    ci = ci_of(snapshot)
    return len(ci.failed) if ci.word in {CI.RED, CI.GREEN} else before.failed


def stall_of(snapshot: Snapshot, progress: Progress) -> Stall:
    """The turns that began since the last progress, and since a person last said something: what people ask for is no lack of progress."""
    turns = [turn for turn in snapshot.turns if turn.began_at >= progress.at]
    if turns:
        said_at = max([message.created_at for message in snapshot.messages if message.by_a_person], default=progress.at)
        turns = [turn for turn in turns if turn.began_at >= said_at]
    return Stall(turns=len(turns), used=_sum(turns), running=any(turn.running for turn in turns))


def _sum(turns: Sequence[TurnUse]) -> Used:
    if not turns:
        return Used()
    return Used(
        cost=sum((turn.used.cost for turn in turns), Decimal(0)),
        tokens=sum(turn.used.tokens for turn in turns),
        time=sum((turn.used.time for turn in turns), timedelta()),
    )


def stalled(stall: Stall, threshold: timedelta) -> bool:
    """Whether several turns took longer than that together without getting anywhere."""
    return stall.turns >= SEVERAL and stall.used.time >= threshold


def stalls_at(stall: Stall, threshold: timedelta, *, now: datetime) -> datetime | None:
    """When that will be, if the live turn goes on."""
    return now + (threshold - stall.used.time) if stall.running and stall.turns >= SEVERAL else None


def evidence_of(stall: Stall, progress: Progress) -> str:
    """`3 turns, 41m, 1.20 USD since the last progress (head abc at 14:02)`."""
    return f"{used_of(stall)} since the last progress ({progress.what} at {progress.at:%H:%M} UTC)"


def used_of(stall: Stall) -> str:
    """What was used up, in a line."""
    used = [f"{stall.turns} {'turn' if stall.turns == 1 else 'turns'}", said("time", stall.used.time)]
    if stall.used.tokens:
        used.append(said("tokens", stall.used.tokens))
    if stall.used.cost:
        used.append(said("cost", stall.used.cost))
    return ", ".join(used)
