"""One decision after the other on the same facts: what was just written down (a message, an answer) may already be the reason for the
next step. All of it is worked out before anything is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from orchestrator.domain.actions import Abandon, Action, Interrupt, Pause, SendToAgent, Settle, key_of
from orchestrator.domain.lifecycle import Decision, decide
from orchestrator.domain.snapshot import (
    InterruptionFacts,
    JobFacts,
    JobState,
    MessageFacts,
    PullFacts,
    Snapshot,
    TaskFacts,
)

ROUNDS = 4  # how often it is decided anew on what was just decided; after that the task is looked at again
CAUSE = 300  # characters of a cause that are kept

News = Callable[[Snapshot, Decision], tuple[Action, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One decision: on which facts, and which of its actions were not known yet."""

    snapshot: Snapshot
    decision: Decision
    new: tuple[Action, ...]

    @property
    def asked(self) -> tuple[InterruptionFacts, ...]:
        """What people were and are asked, once the step was written down."""
        return _asked(self.snapshot.interruptions, self.new)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The steps that follow from the facts at one instant. `settled`: the last of them asked for nothing more."""

    steps: tuple[Step, ...]
    settled: bool


def new_in(snapshot: Snapshot, decision: Decision) -> tuple[Action, ...]:
    """The actions of a decision that the facts do not show as promised, told, asked or settled already. The same key is the same work."""
    told = {message.key for message in snapshot.messages}
    asked = {one.cause for one in snapshot.interruptions if not one.gone}
    to_settle = {one.cause for one in snapshot.interruptions if one.open}
    found: dict[str, Action] = {}
    for action in decision.actions:
        match action:
            case SendToAgent():
                new = action.key not in told
            case Interrupt(cause=cause):
                new = cause[:CAUSE] not in asked
            case Settle(cause=cause):
                new = cause in to_settle
            case Abandon():
                new = snapshot.session is not None and not snapshot.session.ended
            case _:
                new = key_of(action) not in snapshot.jobs
        if new:
            found.setdefault(key_of(action)[:CAUSE], action)
    return tuple(found.values())


def course_of(snapshot: Snapshot, *, news: News = new_in) -> Course:
    """Decide until nothing new follows. A session that is given up ends it: its successor is placed by others."""
    steps: list[Step] = []
    for _ in range(ROUNDS):
        decision = decide(snapshot)
        step = Step(snapshot=snapshot, decision=decision, new=news(snapshot, decision))
        steps.append(step)
        ends = decision.outcome is not None and snapshot.task.outcome is None
        if not step.new and not ends:
            return Course(steps=tuple(steps), settled=True)
        if any(isinstance(action, Abandon) for action in step.new):
            break
        snapshot = after(step)
    return Course(steps=tuple(steps), settled=False)


def after(step: Step) -> Snapshot:
    """The facts once the step was written down, with nothing else changed."""
    before, decision = step.snapshot, step.decision
    sent = [action for action in step.new if isinstance(action, SendToAgent)]
    ended_at = before.task.ended_at or (before.now if decision.outcome is not None else None)
    return replace(
        before,
        task=_task(before.task, step, ended_at=ended_at),
        pull=_told(before.pull, sent) if before.pull is not None and sent else before.pull,
        messages=(*before.messages, *(_message(action, before) for action in sent)),
        jobs={
            **before.jobs,
            **{job.key: job for job in map(_job, step.new, [before] * len(step.new)) if job is not None},
        },
        memory={**before.memory, **{memory.trigger: memory for memory in decision.memory}},
        interruptions=step.asked,
    )


def _task(before: TaskFacts, step: Step, *, ended_at: datetime | None) -> TaskFacts:
    decision = step.decision
    reason = next((action.reason for action in step.new if isinstance(action, Pause)), None)
    paused = replace(before, paused=True, pause_reason=reason) if reason is not None and not before.paused else before
    progress = decision.progress or before.progress
    if (decision.outcome, ended_at, progress) == (paused.outcome, paused.ended_at, paused.progress):
        return paused
    return replace(paused, outcome=decision.outcome, ended_at=ended_at, progress=progress)


def _message(action: SendToAgent, before: Snapshot) -> MessageFacts:
    return MessageFacts(
        id="",
        session=action.session,
        trigger=action.trigger,
        occasion=action.occasion,
        episode=action.episode,
        created_at=before.now,
        turn=None,
        confirmed=False,
        key=action.key,
    )


def _told(pull: PullFacts, sent: list[SendToAgent]) -> PullFacts:
    reviews = {row for action in sent for row in action.reviews}
    comments = {row for action in sent for row in action.comments}
    if not reviews and not comments:
        return pull
    return replace(
        pull,
        reviews=tuple(replace(one, told=one.told or one.id in reviews) for one in pull.reviews),
        comments=tuple(replace(one, told=one.told or one.id in comments) for one in pull.comments),
    )


def _job(action: Action, before: Snapshot) -> JobFacts | None:
    if isinstance(action, SendToAgent | Interrupt | Settle | Abandon):
        return None
    return JobFacts(
        key=key_of(action),
        state=JobState.DONE if isinstance(action, Pause) else JobState.PROMISED,
        promised_at=before.now,
    )


def _asked(before: tuple[InterruptionFacts, ...], new: tuple[Action, ...]) -> tuple[InterruptionFacts, ...]:
    if not any(isinstance(action, Interrupt | Settle) for action in new):
        return before
    causes = {action.cause for action in new if isinstance(action, Settle)}
    added = {action.cause[:CAUSE]: action.escalation for action in new if isinstance(action, Interrupt)}
    kept = (settled(one) if one.cause in causes else one for one in before if one.cause not in added)
    return (
        *kept,
        *(
            InterruptionFacts(cause=cause, open=True, escalation=escalation, calls=True)
            for cause, escalation in added.items()
        ),
    )


def settled(one: InterruptionFacts) -> InterruptionFacts:
    """An escalation that nobody has taken on stays until somebody does."""
    stays = one.escalation and one.calls
    return replace(one, open=False, gone=stays, calls=stays)
