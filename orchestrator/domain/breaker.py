"""The breaker: the same failure after three attempts in a row is not one that the agent will mend by a fourth."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import AttemptFacts, CheckFacts, FailureFacts, Snapshot

OPENS_AT = 3
_SAID = 300  # characters of what an agent said of an attempt


def attempts_of(snapshot: Snapshot, episode: int) -> tuple[AttemptFacts, ...]:
    """The red heads of an episode, oldest first: those that the agent was told of, and the one that stands."""
    pull = snapshot.pull
    if pull is None:
        return ()
    told = {
        message.occasion.partition(".")[0]
        for message in snapshot.messages
        if message.trigger is Trigger.CI_FAILED and message.episode == episode
    }
    return tuple(one for one in pull.attempts if one.head_sha[:16] in told or one.head_sha == pull.head_sha)


def same_failure(attempts: tuple[AttemptFacts, ...], own: Iterable[CheckFacts]) -> FailureFacts | None:
    """A failure that is the agent's to fix and that all of the last three attempts have in common."""
    last = attempts[-OPENS_AT:]
    if len(last) < OPENS_AT:
        return None
    for check in own:
        if check.fingerprint and all(_has(attempt, check) for attempt in last):
            return FailureFacts(name=check.name, fingerprint=check.fingerprint, headline=check.headline)
    return None


def _has(attempt: AttemptFacts, check: CheckFacts) -> bool:
    return any((one.name, one.fingerprint) == (check.name, check.fingerprint) for one in attempt.failures)


def side_by_side(attempts: tuple[AttemptFacts, ...]) -> tuple[str, ...]:
    """The attempts as evidence: at which head, what failed, and what the agent said that it had done."""
    return tuple(
        f"attempt {n} at {one.head_sha[:10]}: {_failures(one)}; the agent said: {_said(one) or 'nothing'}"
        for n, one in enumerate(attempts, start=1)
    )


def _failures(attempt: AttemptFacts) -> str:
    named = [f"{one.name} ({one.headline})" if one.headline else one.name for one in attempt.failures[:5]]
    more = len(attempt.failures) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _said(attempt: AttemptFacts) -> str:
    return " ".join(attempt.said.split())[-_SAID:]
