"""Where an issue's task stands in the words of the public specification of such services: derived from the same facts as everything else."""

from __future__ import annotations

from enum import StrEnum

from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import JobState, Snapshot, TurnEnd
from orchestrator.domain.status import Outcome
from orchestrator.domain.triggers import died


class Claim(StrEnum):
    """Who has an issue. One without a task is nobody's."""

    UNCLAIMED = "Unclaimed"
    CLAIMED = "Claimed"
    RUNNING = "Running"
    RETRY_QUEUED = "RetryQueued"
    RELEASED = "Released"


class Phase(StrEnum):
    """What a session is doing, or how its last turn ended."""

    PREPARING_WORKSPACE = "PreparingWorkspace"
    BUILDING_PROMPT = "BuildingPrompt"
    LAUNCHING = "LaunchingAgentProcess"
    INITIALIZING = "InitializingSession"
    STREAMING = "StreamingTurn"
    FINISHING = "Finishing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"
    STALLED = "Stalled"
    CANCELED = "CanceledByReconciliation"


def claim_of(snapshot: Snapshot | None) -> Claim:
    """One word for one state of facts, so that nothing can be in two."""
    if snapshot is None:
        return Claim.UNCLAIMED
    session, turn = snapshot.session, snapshot.turn
    if snapshot.task.outcome is not None or snapshot.task.held_by_issue:
        return Claim.RELEASED
    if session is None or session.ended:
        return Claim.CLAIMED
    if turn is not None and died(turn):
        return Claim.RETRY_QUEUED
    waits = any(job.state is JobState.PROMISED and job.error for job in snapshot.jobs.values())
    return Claim.RETRY_QUEUED if waits else Claim.RUNNING


def phase_of(snapshot: Snapshot) -> Phase | None:
    """None: no session has begun."""
    session, turn = snapshot.session, snapshot.turn
    if session is None:
        return None
    if snapshot.task.held_by_issue or (
        snapshot.task.outcome is Outcome.CANCELLED and (turn is None or _cut_off(turn.end))
    ):
        return Phase.CANCELED
    if not session.prepared:
        return Phase.BUILDING_PROMPT if _prompt_failed(snapshot) else Phase.PREPARING_WORKSPACE
    if turn is None or not turn.started:
        return Phase.LAUNCHING
    if turn.end is None:
        return Phase.STREAMING if turn.heard else Phase.INITIALIZING
    return _ended(snapshot, turn.end, published=turn.published, detail=turn.detail)


def _cut_off(end: TurnEnd | None) -> bool:
    return end in {None, TurnEnd.STOPPED}


def _prompt_failed(snapshot: Snapshot) -> bool:
    return any(job.code == "template_render_error" for key, job in snapshot.jobs.items() if key.startswith("prepare:"))


def _ended(snapshot: Snapshot, end: TurnEnd, *, published: bool, detail: str) -> Phase:
    if end is TurnEnd.FINISHED:
        return Phase.SUCCEEDED if published else Phase.FINISHING
    if end is TurnEnd.STOPPED:
        stuck = any(message.trigger is Trigger.AGENT_STUCK for message in snapshot.messages)
        return Phase.STALLED if stuck else Phase.CANCELED
    return Phase.TIMED_OUT if "deadline" in detail else Phase.FAILED
