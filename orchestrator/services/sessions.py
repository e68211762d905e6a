"""What executors report of sessions and turns, each guarded by the session's epoch."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from orchestrator import doorbell
from orchestrator.domain.prompts import plain, resume_words
from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import JobState
from orchestrator.models import Job, Message, PullRequest, PushIntent, Session, Task, Turn, Workspace
from orchestrator.services import events, telling


class Overtaken(Exception):
    """The session has ended or was fenced: nothing may be done in its name any more."""


def _live(session_id: int, *, now: datetime) -> Session:
    Task.objects.filter(sessions=session_id).update(wake_at=now)
    session = (
        Session.objects.select_related("task__project", "host")
        .select_for_update(of=("self",), no_key=True)
        .get(pk=session_id)
    )
    if session.ended_at is not None:
        raise Overtaken(f"session {session_id} has ended: {session.end_reason}")
    return session


@transaction.atomic
def claim_workspace(*, session_id: int, now: datetime) -> Workspace:
    """The workspace of a session: the one it has, else a warm one of its project and host, else a new name. Safe to ask again."""
    session = _live(session_id, now=now)
    mine = Workspace.objects.filter(session=session).first()
    if mine is not None:
        return mine
    project = session.task.project
    warm = (
        Workspace.objects.warm()
        .filter(project=project, host=session.host)
        .select_for_update(skip_locked=True)
        .order_by("-id")
        .first()
    )
    if warm is None:
        warm = Workspace.objects.create(name=f"w-{secrets.token_hex(6)}", project=project, host=session.host)
    # It stands only when its postCreate commands have run as well.
    warm.session, warm.branch, warm.state = session, session.task.branch, Workspace.State.PREPARING
    warm.save(update_fields=["session", "branch", "state"])
    return warm


@transaction.atomic
def prepared(*, session_id: int, base_sha: str, path: str, now: datetime) -> None:
    """The workspace stands: the session may begin."""
    session = _live(session_id, now=now)
    Workspace.objects.filter(session=session).update(state=Workspace.State.READY, path=path, base_sha=base_sha)
    if session.prepared_at is None:
        Session.objects.filter(pk=session_id).update(prepared_at=now, base_sha=base_sha)
        events.record(kind="workspace.ready", text=f"workspace ready at {base_sha[:10]}", task=session.task, at=now)


@transaction.atomic
def set_up_failed(*, session_id: int, attempt: int, error: str, now: datetime) -> None:
    """The project's postCreate commands failed: a fact that stops the task until a person says retry."""
    error = plain(error)  # a program's last words
    session = _live(session_id, now=now)
    Job.objects.filter(key=f"{session.task_id}:prepare:{session_id}:{attempt}", state=JobState.DONE).update(
        state=JobState.REFUSED, code="post-create-failed", error=error
    )
    events.record(kind="workspace.failed", text=error, task=session.task, at=now)


@transaction.atomic
def begin_turn(*, session_id: int, n: int, now: datetime, known: Collection[str] | None = None) -> Turn:
    """The turn with all messages that wait, recorded before anything is started. Asking again answers the same turn. `known`: the messages
    that the agent's conversation holds where its program died; what the last turn carried and is not among them is told again, and what is
    is not."""
    session = _live(session_id, now=now)
    begun = Turn.objects.filter(session=session, n=n).first()
    if begun is not None:
        return begun
    # Words that a person sent while the session was being made belong to nobody yet.
    found = (
        Message.objects.select_for_update().filter(task=session.task, turn__isnull=True).order_by("created_at", "id")
    )
    waiting: Sequence[Message] = telling.in_order(found)
    if not waiting:
        raise Overtaken(f"turn {n} has nothing to say: its messages were delivered")
    before = Turn.objects.filter(session=session, n=n - 1).first()
    resumed = any(message.trigger == Trigger.AGENT_EXITED for message in waiting)
    if before is not None and known is not None:
        waiting = telling.after_a_death(waiting, before=before, known=known, now=now)
    turn = Turn.objects.create(
        session=session,
        n=n,
        prompt=telling.words_of(waiting) or resume_words(detail=before.detail if before is not None else ""),
        resumes=before.resumes + 1 if before is not None and resumed else 0,
        progress_at=now,
        head_before=session.published_sha or session.base_sha,
    )
    Message.objects.filter(pk__in=[message.pk for message in waiting]).update(turn=turn, session=session)
    return turn


@transaction.atomic
def conversation_lost(*, session_id: int, now: datetime) -> None:
    """The agent kept nothing of its conversation: its next turn begins another."""
    session = _live(session_id, now=now)
    session.native_id = ""
    session.save(update_fields=["native_id"])


@transaction.atomic
def turn_started(*, turn_id: int, now: datetime) -> None:
    """The host has the run: its messages are in the agent's conversation, confirmed by the run's own record."""
    Task.objects.filter(sessions__turns=turn_id).update(wake_at=now)
    turn = (
        Turn.objects.select_related("session__task__project")
        .select_for_update(of=("self",), no_key=True)
        .get(pk=turn_id)
    )
    if turn.started_at is not None:
        return
    Turn.objects.filter(pk=turn_id).update(started_at=now, progress_at=now)
    for message in turn.messages.all():
        message.delivered_at, message.confirmed_at, message.deliveries = now, now, message.deliveries + 1
        message.save(update_fields=["delivered_at", "confirmed_at", "deliveries"])
    events.record(kind="turn.started", text=f"turn {turn.n} started", task=turn.session.task, at=now)


@transaction.atomic
def turn_unstartable(*, turn_id: int) -> None:
    """The program could not be executed, so nobody was told anything: the messages wait again, for a turn under another run."""
    Message.objects.filter(turn=turn_id, delivered_at__isnull=True).update(turn=None)
    Turn.objects.filter(pk=turn_id, started_at__isnull=True).delete()


@transaction.atomic
def may_say(*, turn_id: int, message_id: str) -> bool:
    """Whether the message still waits and the turn goes on: an agent that is done is told with its next turn."""
    turn = Turn.objects.select_for_update().get(pk=turn_id)
    waits = Message.objects.filter(pk=message_id, turn__isnull=True).exists()
    return waits and turn.ended_at is None and turn.done_at is None


@transaction.atomic
def said(*, turn_id: int, message_id: str, now: datetime) -> None:
    """The message is in the program's input, and the turn's. A person's words are confirmed by the agent's echo, which may have been heard
    already; an answer is what it waits for. Where the turn has ended before it read them, they go on waiting."""
    Task.objects.filter(sessions__turns=turn_id).update(wake_at=now)
    turn = Turn.objects.select_for_update(of=("self",)).select_related("session__task__project").get(pk=turn_id)
    message = Message.objects.select_for_update(of=("self",)).get(pk=message_id)
    if message.delivered_at is not None or (turn.ended_at is not None and message.confirmed_at is None):
        return
    message.turn, message.session = turn, turn.session
    message.delivered_at, message.deliveries = now, message.deliveries + 1
    if message.answers is not None:
        message.confirmed_at = now
    message.save(update_fields=["turn", "session", "delivered_at", "deliveries", "confirmed_at"])
    events.record(kind="message.told", text="the agent was told while it worked", task=turn.session.task, at=now)


@transaction.atomic
def may_hang_up(*, turn_id: int) -> bool:
    """Whether the agent still is done, and has read everything."""
    turn = Turn.objects.select_for_update().get(pk=turn_id)
    unread = turn.messages.filter(confirmed_at__isnull=True).exists()
    return turn.done_at is not None and turn.ended_at is None and not unread


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a turn left behind: the branch's head, and how many commits it has over its base."""

    head_sha: str
    commits: int
    leftovers: bool = False


@transaction.atomic
def intend_push(*, session_id: int, new_sha: str, now: datetime) -> str:
    """Write down the head that is about to be pushed and answer the sha that the remote branch is expected at; "" for a new branch."""
    session = _live(session_id, now=now)
    intent, _ = PushIntent.objects.get_or_create(
        task=session.task, branch=session.task.branch, new_sha=new_sha, defaults={"old_sha": session.published_sha}
    )
    return intent.old_sha


@transaction.atomic
def published(*, session_id: int, n: int, result: Published, now: datetime) -> None:
    """The turn's work is on the remote, or there was none."""
    session = _live(session_id, now=now)
    turn = Turn.objects.select_for_update().get(session=session, n=n)
    PushIntent.objects.filter(
        task=session.task, branch=session.task.branch, new_sha=result.head_sha, confirmed_at__isnull=True
    ).update(confirmed_at=now)
    if turn.published_at is not None:
        return
    turn.published_at, turn.head_after = now, result.head_sha
    turn.save(update_fields=["published_at", "head_after"])
    if result.commits:
        Session.objects.filter(pk=session_id).update(published_sha=result.head_sha, commits=result.commits)
        _show_head(session.task, result.head_sha, now=now)
        doorbell.ring("observe_pull_requests", queue_name="effects")
    if turn.head_before != result.head_sha:
        text = f"published {result.head_sha[:10]}, {result.commits} commits over the base"
        events.record(kind="publish.done", text=text, task=session.task, at=now, data={"head_sha": result.head_sha})


def _show_head(task: Task, head_sha: str, *, now: datetime) -> None:
    """The forge has the new head from now on. What was known of the old one (approvals, checks, conflicts) is not taken for the new one's
    until the forge was looked at, which is now and not at the next poll."""
    pulls = PullRequest.objects.filter(task=task, state="open")
    pulls.exclude(head_sha=head_sha).update(head_sha=head_sha, head_since=now, mergeable=None, observed_at=now)
    pulls.update(poll_at=now)


def ours(*, task: Task, branch: str, sha: str) -> bool:
    """Whether a head on the remote is one that we meant to push: anything else is somebody's and is never overwritten."""
    return PushIntent.objects.filter(task=task, branch=branch, new_sha=sha).exists()


@transaction.atomic
def saved(*, session_id: int, ref: str, now: datetime) -> None:
    """What was uncommitted is kept under a ref of our mirror. Saying it again does nothing."""
    session = Session.objects.select_related("task__project").get(pk=session_id)
    if session.saved_ref != ref:
        Session.objects.filter(pk=session_id).update(saved_ref=ref)
        text = f"what was uncommitted is kept under {ref}"
        events.record(kind="work.saved", text=text, task=session.task, at=now, data={"ref": ref})


@transaction.atomic
def not_saved(*, session_id: int, why: str, now: datetime) -> None:
    """Nothing could be kept of the workspace, and why."""
    session = Session.objects.select_related("task__project").get(pk=session_id)
    events.record(kind="work.not_saved", text=f"nothing was kept of the workspace: {why}", task=session.task, at=now)


@transaction.atomic
def ended(*, session_id: int, now: datetime) -> None:
    """The session's processes and its workspace are gone."""
    Task.objects.filter(sessions=session_id).update(wake_at=now)
    session = (
        Session.objects.select_related("task__project").select_for_update(of=("self",), no_key=True).get(pk=session_id)
    )
    Workspace.objects.filter(session=session).update(state=Workspace.State.REMOVED, removed_at=now)
    Turn.objects.filter(session=session, ended_at__isnull=True).update(ended_at=now, end="stopped", published_at=now)
    if session.ended_at is None:
        Session.objects.filter(pk=session_id).update(ended_at=now, end_reason="the task ended")
        events.record(kind="session.ended", text="session ended, workspace removed", task=session.task, at=now)
