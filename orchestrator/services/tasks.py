"""What people and programs ask of tasks. Each is one transaction; what it accepted is never lost."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from orchestrator import doorbell
from orchestrator.domain.actions import EndSession
from orchestrator.domain.naming import branch_for
from orchestrator.domain.prompts import fenced, one_line, plain
from orchestrator.domain.rules import Override, Trigger
from orchestrator.domain.snapshot import JobState
from orchestrator.domain.triggers import Hold, held_triggers
from orchestrator.models import Interruption, Job, Message, Project, Session, Task, Turn
from orchestrator.ports import Issue
from orchestrator.services import events, promises, rounds, rules, snapshots
from orchestrator.services.events import Actor

TITLE_LENGTH = 300
TEXT_LENGTH = 100_000
AGENTS = ("command", "claude-code", "codex", "aider", "opencode")


_ISSUE_NUMBER = re.compile(r"#?([1-9][0-9]{0,8})")


class InvalidTask(Exception):
    """A value that cannot be taken; `field` names it and `message` says what would be."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class NotNow(Exception):
    """The task is not in a state in which this can be done; the message says what stands in the way."""

    @property
    def message(self) -> str:
        return str(self)


def submit(
    *,
    project: Project,
    actor: Actor,
    title: str = "",
    body: str = "",
    issue: str = "",
    agent: str | None = None,
    priority: int = 0,
    labels: Sequence[str] = (),
    depends_on: Sequence[int] = (),
    reactions: Sequence[Override] = (),
    idempotency_key: str | None = None,
) -> tuple[Task, bool]:
    """Accept a task. The second value is False when the same `idempotency_key` had been accepted before. Raises `InvalidTask`.

    On a forge with issues, `issue` may be a number: its words are asked for before an agent begins, and no title is needed.
    """
    issue = _clean(issue, field="issue", cap=200) if issue.strip() else ""
    number = _ISSUE_NUMBER.fullmatch(issue) if project.scm.get("plugin", "local") != "local" else None
    issue = f"#{number[1]}" if number else issue
    title = _clean(title or (_placeholder(issue) if number else ""), field="title", cap=TITLE_LENGTH)
    body = _text(body, field="body")
    if idempotency_key:
        known = Task.objects.filter(project=project, idempotency_key=idempotency_key).first()
        if known is not None:
            return known, False
    try:
        with transaction.atomic():
            task = _create(
                project,
                title,
                body,
                issue,
                number is not None,
                agent or project.agent,
                priority,
                labels,
                depends_on,
                idempotency_key,
                actor,
            )
            _set_rules(task, reactions, actor)
    except IntegrityError:
        if not idempotency_key:
            raise
        # Somebody else was accepted with the same key between the look and the insert.
        return Task.objects.get(project=project, idempotency_key=idempotency_key), False
    return task, True


def _create(
    project: Project,
    title: str,
    body: str,
    issue: str,
    issue_unread: bool,
    agent: str,
    priority: int,
    labels: Sequence[str],
    depends_on: Sequence[int],
    idempotency_key: str | None,
    actor: Actor,
) -> Task:
    needed = list(Task.objects.filter(project=project, pk__in=depends_on)) if depends_on else []
    missing = sorted(set(depends_on) - {one.pk for one in needed})
    if missing:
        raise InvalidTask("depends_on", f"there is no task {missing[0]} in the project {project.key}")
    if agent not in AGENTS:
        raise InvalidTask("agent", f"{agent!r} is not a known agent: choose one of {', '.join(AGENTS)}")
    if not -100 <= priority <= 100:
        raise InvalidTask("priority", f"{priority} is out of range: -100 to 100")
    number = _next_number(project)
    rounds.begin(project=project, number=number, at=actor.at)
    task = Task.objects.create(
        project=project,
        number=number,
        title=title,
        body=body,
        issue=issue,
        issue_unread=issue_unread,
        agent=agent,
        priority=priority,
        labels=[_clean(label, field="labels", cap=60) for label in labels],
        branch=branch_for(project.session_prefix, number, title),
        requested_by_id=actor.user.pk if actor.user is not None else None,
        idempotency_key=idempotency_key,
        reason="waits for a host",
        wake_at=actor.at,
    )
    task.depends_on.set(needed)
    events.record(kind="task.accepted", text=f"accepted: {title}", task=task, actor=actor, at=actor.at)
    doorbell.ring("place_tasks", queue_name="control")
    doorbell.ring_board(task=task.pk, project=project.pk, version=task.version)
    return task


@transaction.atomic
def set_rules(*, task: Task, reactions: Sequence[Override], actor: Actor) -> Task:
    """Make these all that the task sets about reactions by itself; what it does not set is its project's. Answers the task as it is then."""
    task = _locked(task)
    _still_open(task)
    if _set_rules(task, reactions, actor):
        events.touch(task=task)
        _wake(task, actor)
    return task


def _set_rules(task: Task, reactions: Sequence[Override], actor: Actor) -> bool:
    """Each trigger whose rule differs is a version of its own."""
    before = {override.trigger: override for override in rules.overrides_in(task.own_rules)}
    after = {override.trigger: override for override in reactions}
    changed = [
        rules.note_change(
            before=before.get(trigger, Override(trigger=trigger)),
            after=after.get(trigger, Override(trigger=trigger)),
            project=task.project,
            task=task,
            actor=actor,
        )
        for trigger in Trigger
        if trigger in before or trigger in after
    ]
    if any(changed):
        task.own_rules = {str(trigger): rules.written(override) for trigger, override in after.items()}
        task.save(update_fields=["own_rules"])
    return any(changed)


def _placeholder(issue: str) -> str:
    """What a task is called until its issue was read."""
    return f"Issue {issue}"


@transaction.atomic
def issue_read(*, task_id: int, found: Issue, now: datetime) -> None:
    """Take in the words of the task's issue: as data, since whoever wrote them need not be one of us. Once only."""
    task = Task.objects.select_for_update(of=("self",), no_key=True).get(pk=task_id)
    if not task.issue_unread:
        return
    written = fenced(found.body, label=f"issue by {one_line(found.author)}", nonce=secrets.token_hex(8))
    if task.title == _placeholder(task.issue):
        task.title = one_line(found.title)[:TITLE_LENGTH] or task.title
    task.body = "\n\n".join(part for part in (task.body, written if found.body.strip() else "") if part)[:TEXT_LENGTH]
    task.issue_unread, task.wake_at, task.version = False, now, task.version + 1
    task.save(update_fields=["title", "body", "issue_unread", "wake_at", "version"])
    trusted = "" if found.trusted else ", who may not write here"
    events.record(kind="issue.read", text=f"read {task.issue} by {found.author}{trusted}", task=task, at=now)
    doorbell.ring("place_tasks", queue_name="control")
    doorbell.ring_board(task=task.pk, project=task.project_id, version=task.version)


def _next_number(project: Project) -> int:
    locked = Project.objects.select_for_update().only("next_number").get(pk=project.pk)
    Project.objects.filter(pk=project.pk).update(next_number=F("next_number") + 1)
    return locked.next_number


def _clean(text: str, *, field: str, cap: int) -> str:
    """One line of visible characters. Raises `InvalidTask` when nothing is left or it is too long."""
    line = re.sub(r"\s+", " ", plain(text)).strip()
    if not line:
        raise InvalidTask(field, f"{field} must not be empty")
    if len(line) > cap:
        raise InvalidTask(field, f"{field} has {len(line)} characters: at most {cap} are taken")
    return line


def _text(text: str, *, field: str) -> str:
    if len(text) > TEXT_LENGTH:
        raise InvalidTask(field, f"{field} has {len(text)} characters: at most {TEXT_LENGTH} are taken")
    return plain(text)


def _locked(task: Task) -> Task:
    return Task.objects.select_for_update(of=("self",), no_key=True).select_related("project").get(pk=task.pk)


def _still_open(task: Task) -> None:
    if task.outcome:
        raise NotNow(f"{task} has ended ({task.outcome})")
    if task.cancel_requested_at is not None:
        raise NotNow(f"{task} is being cancelled")


def _wake(task: Task, actor: Actor) -> None:
    events.look_again(task_id=task.pk, at=actor.at)


@transaction.atomic
def send(*, task: Task, text: str, actor: Actor, key: str | None = None) -> Message:
    """Words of a person for the agent, delivered once. The same `key` again is the same message."""
    task = _locked(task)
    _still_open(task)
    words = _text(text, field="text").strip()
    if not words:
        raise InvalidTask("text", "text must not be empty")
    occasion = key or uuid.uuid4().hex
    message, created = Message.objects.get_or_create(
        task=task,
        key=f"{Message.BY_A_PERSON}{occasion}"[:300],
        defaults={
            "session": Session.objects.live().filter(task=task).first(),
            "occasion": occasion[:200],
            "author_id": actor.user.pk if actor.user is not None else None,
            "text": words,
        },
    )
    if created:
        events.record(
            kind="message.sent",
            text=f"{actor.name or 'somebody'} to the agent: {words[:200]}",
            task=task,
            actor=actor,
            at=actor.at,
        )
        events.touch(task=task)
        _wake(task, actor)
    return message


@transaction.atomic
def answer(*, task: Task, request_id: str, answer: str, actor: Actor) -> None:
    """Answer what the agent asked. It is told at once where it waits for the answer, else with its next turn; answering twice does nothing."""
    task = _locked(task)
    _still_open(task)
    turn = (
        Turn.objects.select_for_update()
        .filter(session__task=task, request__id=plain(request_id))
        .order_by("-id")
        .first()
    )
    if turn is None or turn.request is None:
        if Message.objects.filter(task=task, answers__request__id=plain(request_id)).exists():
            return  # and another question is open by now
        raise NotNow(f"the agent of {task} does not ask {request_id!r}")
    if "answer" in turn.request:
        return
    words = _text(answer, field="answer").strip()
    if not words:
        raise InvalidTask("answer", "answer must not be empty")
    Message.objects.get_or_create(
        task=task,
        key=f"answer:{turn.pk}:{request_id}"[:300],
        defaults={
            "session_id": turn.session_id,
            "trigger": Trigger.AGENT_NEEDS_INPUT,
            "occasion": f"answer-{request_id}"[:200],
            "author_id": actor.user.pk if actor.user is not None else None,
            "text": f"You asked: {turn.request['question']}\nThe answer is: {words}",
            "answers": {"request": turn.request, "answer": words},
        },
    )
    _next_question(turn, {**turn.request, "answer": words, "answered_by": actor.name})
    # Until it asked it has worked; since the last word of either side it waited.
    turn.waited += max(actor.at - turn.progress_at, timedelta())
    turn.progress_at = actor.at
    turn.save(update_fields=["request", "requests_behind", "progress_at", "waited"])
    _settle_question(task, Trigger.AGENT_NEEDS_INPUT, f"answered: {words[:200]}", actor)
    events.record(
        kind="human.answered", text=f"{actor.name} answered: {words[:200]}", task=task, actor=actor, at=actor.at
    )
    events.touch(task=task)
    _wake(task, actor)


def _next_question(turn: Turn, answered: dict[str, Any]) -> None:
    """What the turn asks from now on: the question that came next, else the one that was answered."""
    if turn.requests_behind:
        turn.request, *turn.requests_behind = turn.requests_behind
    else:
        turn.request = answered


def _settle_question(task: Task, trigger: Trigger, words: str, actor: Actor) -> None:
    """A person has done what they were asked for. Escalations stay until somebody acknowledges them."""
    asked = Interruption.objects.unresolved().filter(task=task, trigger=trigger, escalation=False)
    asked.filter(seen_at__isnull=True).update(seen_at=actor.at)
    asked.resolve(at=actor.at, words=f"{actor.name} {words}")


@transaction.atomic
def request_merge(*, task: Task, actor: Actor, head_sha: str = "") -> None:
    """A person presses merge: the head that is green and approved now, and no other. With `head_sha`, the head that the person saw.
    Raises `NotNow` with what is missing."""
    task = _locked(task)
    _still_open(task)
    snapshot = snapshots.take(task, now=actor.at)
    ready = [
        one for one in held_triggers(snapshot) if one.trigger is Trigger.APPROVED_AND_GREEN and one.hold is Hold.HELD
    ]
    if snapshot.pull is not None and head_sha and head_sha != snapshot.pull.head_sha:
        moved = f"from {head_sha[:10]} to {snapshot.pull.head_sha[:10]}"
        raise NotNow(f"the head moved {moved} since you looked: look again")
    if snapshot.pull is None or not ready:
        raise NotNow(f"{task} is not approved and green at its head: {task.reason}")
    Task.objects.filter(pk=task.pk).update(merge_requested=snapshot.pull.head_sha)
    _settle_question(task, Trigger.APPROVED_AND_GREEN, "asked to merge", actor)
    text = f"{actor.name} asked to merge {snapshot.pull.head_sha[:10]}"
    events.record(kind="merge.requested", text=text, task=task, actor=actor, at=actor.at)
    _wake(task, actor)


@transaction.atomic
def cancel(*, task: Task, actor: Actor) -> None:
    """End the task without a merge. A merge that is under way wins; cancelling again does nothing."""
    task = _locked(task)
    if task.cancel_requested_at is not None:
        return
    _still_open(task)
    Task.objects.filter(pk=task.pk).update(cancel_requested_at=actor.at)
    events.record(kind="task.cancelled", text=f"{actor.name} cancelled it", task=task, actor=actor, at=actor.at)
    _wake(task, actor)


@transaction.atomic
def retry(*, task: Task, actor: Actor) -> None:
    """A person says go on: refused jobs are promised again, spent rules begin anew, a dead agent is resumed. A workspace that is being set
    up is not set up a second time beside that."""
    task = _locked(task)
    _still_open(task)
    if _being_set_up(task):
        return
    _allow_sensitive(task)
    Task.objects.filter(pk=task.pk).update(attempt=F("attempt") + 1)
    Interruption.objects.filter(task=task).resolve(at=actor.at, words=f"{actor.name} said retry")
    last = Turn.objects.filter(session__task=task).order_by("-id").first()
    if last is not None and last.resumes:
        Turn.objects.filter(pk=last.pk).update(resumes=0)
    events.record(kind="task.retried", text=f"{actor.name} said retry", task=task, actor=actor, at=actor.at)
    _wake(task, actor)


def _being_set_up(task: Task) -> bool:
    session = Session.objects.live().filter(task=task, prepared_at__isnull=True).first()
    if session is None:
        return False
    under_way = (JobState.PROMISED, JobState.CLAIMED, JobState.DONE)  # done: its postCreate commands run
    return Job.objects.filter(key=f"{task.pk}:prepare:{session.pk}:{task.attempt}", state__in=under_way).exists()


def _allow_sensitive(task: Task) -> None:
    """Retrying a push that waits for a human is that human's word for this head, and for this head only."""
    held = (
        Job.objects.filter(task=task, verb="Publish", state=JobState.REFUSED, code="sensitive").order_by("-id").first()
    )
    if held is not None:
        Task.objects.filter(pk=task.pk).update(allowed_sha=str(held.result.get("head_sha", "")))


@transaction.atomic
def restart(*, task: Task, actor: Actor) -> None:
    """Give the task a new session, from what was published last. The old one is ended and fenced."""
    task = _locked(task)
    _still_open(task)
    live = Session.objects.live().filter(task=task).first()
    if live is None:
        raise NotNow(f"{task} has no session to restart: it waits for a host")
    Session.objects.filter(pk=live.pk).update(ended_at=actor.at, end_reason=f"{actor.name} restarted it")
    promises.promise([EndSession(session=live.pk)], task=task, now=actor.at)
    Task.objects.filter(pk=task.pk).update(attempt=F("attempt") + 1)
    events.record(
        kind="session.restarted", text=f"{actor.name} restarted the agent", task=task, actor=actor, at=actor.at
    )
    doorbell.ring("place_tasks", queue_name="control")
    _wake(task, actor)
