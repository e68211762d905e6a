"""Promises: what was decided becomes rows in the transaction that decided it, for one task or for many, in a few statements."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from orchestrator import doorbell
from orchestrator.domain.actions import (
    Abandon,
    Action,
    AnswerThread,
    ClosePullRequest,
    DeleteBranch,
    EndSession,
    Interrupt,
    Merge,
    OpenPullRequest,
    Pause,
    ReadIssue,
    RerunChecks,
    SendToAgent,
    Settle,
    key_of,
)
from orchestrator.domain.course import CAUSE
from orchestrator.domain.rules import Rule
from orchestrator.domain.snapshot import JobState
from orchestrator.models import (
    Comment,
    Host,
    Interruption,
    Job,
    Message,
    Review,
    Session,
    Task,
    rows,
)
from orchestrator.models.rows import Row, among
from orchestrator.services import calls, events
from orchestrator.services.jobs import EFFECTS

_FORGE = (ReadIssue, OpenPullRequest, RerunChecks, Merge, DeleteBranch, ClosePullRequest, AnswerThread)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promised:
    """One action of a task, and the rule that asked for it, if one did."""

    task: Task
    action: Action
    rule: Rule | None = None

    @property
    def version(self) -> int | None:
        return self.rule.version if self.rule is not None else None


def promise(actions: Iterable[Action], *, task: Task, now: datetime) -> int:
    """Write down what somebody who holds the task's lock decided, and answer how much of it was new. The same key again is silent."""
    wanted = list(actions)
    causes = [action.cause[:CAUSE] for action in wanted if isinstance(action, Interrupt)]
    known = (
        set(Interruption.objects.filter(task=task, cause__in=causes).standing().values_list("cause", flat=True))
        if causes
        else set()
    )
    keys = [f"{task.pk}:{key_of(action)}" for action in wanted]
    known |= set(Job.objects.filter(key__in=keys).values_list("key", flat=True))
    new = [
        Promised(task=task, action=action)
        for action in wanted
        if (action.cause[:CAUSE] if isinstance(action, Interrupt) else f"{task.pk}:{key_of(action)}") not in known
    ]
    keep(new, now=now)
    return len(new)


def keep(promised: Sequence[Promised], *, now: datetime) -> None:
    """Write down actions that are new. The caller holds the locks of their tasks."""
    messages: list[tuple[Promised, SendToAgent]] = []
    questions: list[tuple[Promised, Interrupt]] = []
    carried_out: list[Promised] = []
    for one in promised:
        match one.action:
            case SendToAgent() as action:
                messages.append((one, action))
            case Interrupt() as action:
                questions.append((one, action))
            case Settle(cause=cause):
                calls.settle(task=one.task, cause=cause[:CAUSE], now=now)
            case Pause() as action:
                _pause(action, task=one.task, now=now)
            case Abandon() as action:
                carried_out += _abandon(action, task=one.task, now=now)
            case _:
                carried_out.append(one)
    _tell(messages)
    _ask(questions, now=now)
    _write(carried_out, now=now)


def _tell(messages: Sequence[tuple[Promised, SendToAgent]]) -> None:
    """Words for agents, and what they deliver of reviews."""
    told = [
        {
            "id": uuid.uuid4(),
            "task_id": one.task.pk,
            "key": key_of(action),
            "session_id": action.session,
            "trigger": action.trigger or "",
            "rule_version": one.version,
            "occasion": action.occasion,
            "episode": action.episode,
            "text": action.text,
        }
        for one, action in messages
    ]
    rows.insert(Message, told, conflict=rows.DO_NOTHING)
    for row, (_, action) in zip(told, messages, strict=True):
        if action.reviews:
            Review.objects.filter(pk__in=action.reviews, message__isnull=True).update(message=row["id"])
        if action.comments:
            Comment.objects.filter(pk__in=action.comments, message__isnull=True).update(message=row["id"])


def _ask(questions: Sequence[tuple[Promised, Interrupt]], *, now: datetime) -> None:
    """Questions to people. One whose cause had gone before anybody answered stands again."""
    if not questions:
        return
    again = {(row.task_id, row.cause): row for row in Interruption.objects.of(one.task for one, _ in questions).gone()}
    asked = []
    for one, action in questions:
        before = again.get((one.task.pk, action.cause[:CAUSE]))
        if before is not None:
            calls.stands_again(before, now=now)
        else:
            asked.append(_asked(one, action, now=now))
    Interruption.objects.bulk_create(asked)
    events.append(
        [
            events.line(kind="human.asked", text=row.question, task=row.task, at=now, data={"cause": row.cause})
            for row in asked
        ]
    )
    for row in asked:
        calls.first_call(row, now=now)


def _asked(one: Promised, action: Interrupt, *, now: datetime) -> Interruption:
    return Interruption(
        task=one.task,
        trigger=action.trigger or "",
        rule_version=one.version,
        cause=action.cause[:CAUSE],
        priority=action.priority,
        escalation=action.escalation,
        question=action.question,
        evidence=[line for line in action.evidence if line],
        asked_at=now,
    )


def _pause(action: Pause, *, task: Task, now: datetime) -> None:
    """Pause it, once for each occasion: the row of a job that is done already says that it was."""
    done = {
        "verb": type(action).__name__,
        "action": asdict(action),
        "state": JobState.DONE,
        "run_at": now,
        "settled_at": now,
    }
    _, new = Job.objects.get_or_create(
        key=f"{task.pk}:{key_of(action)}", defaults={"task": task, "queue": EFFECTS, **done}
    )
    if new and not task.paused:
        task.paused, task.pause_reason = True, action.reason
        task.save(update_fields=["paused", "pause_reason"])
        events.record(kind="task.paused", text=action.reason, task=task, at=now)


def _abandon(action: Abandon, *, task: Task, now: datetime) -> list[Promised]:
    """Free the task for a successor; the old host learns of it when it is back, from the job that waits for it."""
    live = Session.objects.filter(pk=action.session, ended_at__isnull=True)
    if not live.update(ended_at=now, end_reason=action.reason):
        return []
    events.record(kind="session.lost", text=action.reason, task=task, at=now)
    doorbell.ring("place_tasks", queue_name="control")
    return [Promised(task=task, action=EndSession(session=action.session))]


def _write(promised: Sequence[Promised], *, now: datetime) -> None:
    """Jobs. A key that is there already stays as it is."""
    if not promised:
        return
    queues = _queues(promised)
    rows.insert(Job, [_job(one, queues, now=now) for one in promised], conflict=rows.DO_NOTHING)
    for queue in {_queue(one, queues) for one in promised}:
        doorbell.ring_jobs(queue)


def _job(one: Promised, queues: dict[int | None, str], *, now: datetime) -> Row:
    return {
        "task_id": one.task.pk,
        "session_id": getattr(one.action, "session", None),
        "key": f"{one.task.pk}:{key_of(one.action)}",
        "verb": type(one.action).__name__,
        "action": asdict(one.action),
        "trigger": one.rule.trigger if one.rule is not None else "",
        "rule_version": one.version,
        "queue": _queue(one, queues),
        "run_at": now,
    }


def _queue(one: Promised, queues: dict[int | None, str]) -> str:
    return EFFECTS if isinstance(one.action, _FORGE) else queues[getattr(one.action, "session", None)]


def _queues(promised: Sequence[Promised]) -> dict[int | None, str]:
    """The queue of each session's host, in one query; checks of the built-in forge, which have no session, run on this machine."""
    wanted = {getattr(one.action, "session", None) for one in promised if not isinstance(one.action, _FORGE)}
    ids = [session for session in wanted if session is not None]
    hosts = {host.pk: host.queue for host in Host.objects.filter(among("sessions", ids)).distinct()}
    found: dict[int | None, str] = {
        session: hosts[host] for session, host in Session.objects.filter(among("pk", ids)).values_list("pk", "host")
    }
    if None in wanted:
        local = Host.objects.filter(kind=Host.Kind.LOCAL).order_by("pk").first()
        found[None] = local.queue if local is not None else EFFECTS
    return found
