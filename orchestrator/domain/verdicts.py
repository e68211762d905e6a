"""What the checks and the reviews of a pull request amount to, at its current head and at no other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.snapshot import CheckFacts, CommentFacts, Policy, PullFacts, ReviewFacts, Snapshot, once

_PASSING = frozenset({"success", "neutral", "skipped"})
_DECISIVE = frozenset({"approve", "request_changes", "dismissed"})


class CI(StrEnum):
    """The checks' word. `unknown`: nothing is required and nothing was reported, so green is not known."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    GREEN = "green"
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class CIVerdict:
    word: CI
    failed: tuple[CheckFacts, ...] = ()
    missing: tuple[str, ...] = ()
    settles_at: datetime | None = None  # when "all that were reported" may be believed


def ci_verdict(pull: PullFacts, policy: Policy, *, now: datetime) -> CIVerdict:
    """Required checks are the project's own list, else the forge's, else all that were reported `settle_after` the push.

    A required check that was not reported keeps the verdict pending, whatever the others say: a renamed check never turns green.
    """
    if policy.required_checks == ():
        return CIVerdict(word=CI.GREEN)
    # A forge that requires nothing has not said that nothing is needed: only the project can.
    required = policy.required_checks or pull.required_checks
    if not required:
        return _reported(pull, policy, now=now)
    by_name = {check.name: check for check in pull.checks}
    relevant = tuple([by_name[name] for name in required if name in by_name])
    missing = tuple([name for name in required if name not in by_name])
    if missing or any(check.status != "completed" for check in relevant):
        return CIVerdict(word=CI.PENDING, missing=missing)
    return _settled(relevant)


def _reported(pull: PullFacts, policy: Policy, *, now: datetime) -> CIVerdict:
    settles_at = pull.head_since + policy.settle_after
    if any(check.status != "completed" for check in pull.checks) or now < settles_at:
        return CIVerdict(word=CI.PENDING, settles_at=settles_at if now < settles_at else None)
    return _settled(pull.checks) if pull.checks else CIVerdict(word=CI.UNKNOWN)


def _settled(checks: tuple[CheckFacts, ...]) -> CIVerdict:
    failed = tuple([check for check in checks if check.conclusion not in _PASSING])
    return CIVerdict(word=CI.RED if failed else CI.GREEN, failed=failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewVerdict:
    """`approved`: enough trusted people's last word is an approval of this head and nobody trusted objects."""

    approved: bool
    approvals: tuple[ReviewFacts, ...]
    objections: tuple[ReviewFacts, ...]  # trusted people whose last word asks for changes
    open_comments: tuple[CommentFacts, ...]  # trusted people's words in unresolved threads
    untold_reviews: tuple[ReviewFacts, ...]
    untold_comments: tuple[CommentFacts, ...]
    bot_comments: tuple[
        CommentFacts, ...
    ]  # trusted bots' words in unresolved threads: told to the agent, no bar to a merge
    untrusted: int  # words by others, which drive nothing

    @property
    def wants_changes(self) -> bool:
        return bool(self.objections or self.open_comments)


_UNSAID = ReviewVerdict(
    approved=False,
    approvals=(),
    objections=(),
    open_comments=(),
    untold_reviews=(),
    untold_comments=(),
    bot_comments=(),
    untrusted=0,
)


def review_verdict(pull: PullFacts, policy: Policy) -> ReviewVerdict:
    """Only trusted people count, each by their last decisive review; an approval counts at the head it was given for."""
    last: dict[str, ReviewFacts] = {}
    for review in pull.reviews:
        if review.trusted and not review.bot and review.decision in _DECISIVE:
            last[review.author] = review
    # Whoever changes what they approved with has taken it back until they approve again.
    approving = [r for r in last.values() if r.decision == "approve" and not r.edits]
    approvals = tuple([r for r in approving if r.head_sha == pull.head_sha])
    objections = tuple([r for r in last.values() if r.decision == "request_changes"])
    unresolved = [c for c in pull.comments if c.trusted and not (c.resolved or c.ours)]
    open_comments = tuple([c for c in unresolved if not c.bot])
    strangers = len([r for r in pull.reviews if not r.trusted])
    strangers += len([c for c in pull.comments if not (c.trusted or c.ours)])
    return ReviewVerdict(
        approved=len(approvals) >= policy.approvals and not objections and not open_comments,
        approvals=approvals,
        objections=objections,
        open_comments=open_comments,
        untold_reviews=tuple([r for r in objections if not r.told]),
        untold_comments=tuple([c for c in open_comments if not c.told]),
        bot_comments=tuple([c for c in unresolved if c.bot]),
        untrusted=strangers,
    )


@once
def ci_of(snapshot: Snapshot) -> CIVerdict:
    """The checks' word on a snapshot's pull request; unknown where there is none."""
    if snapshot.pull is None:
        return CIVerdict(word=CI.UNKNOWN)
    return ci_verdict(snapshot.pull, snapshot.policy, now=snapshot.now)


@once
def review_of(snapshot: Snapshot) -> ReviewVerdict:
    """The reviewers' word on a snapshot's pull request; nobody has said anything where there is none."""
    return review_verdict(snapshot.pull, snapshot.policy) if snapshot.pull is not None else _UNSAID
