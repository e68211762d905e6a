"""Reviews given in the dashboard or by the API, for projects whose forge is the built-in one."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from orchestrator.domain.prompts import plain
from orchestrator.models import Comment, PullRequest, Review, Task
from orchestrator.services import events
from orchestrator.services.events import Actor
from orchestrator.services.tasks import TEXT_LENGTH, InvalidTask, NotNow

DECISIONS = ("approve", "request_changes", "comment")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewComment:
    """A comment on a line of the change; `line` counts in the new file. With a `thread` it is a reply there, at the thread's place."""

    path: str
    body: str
    line: int | None = None
    thread: str = ""


@transaction.atomic
def submit_review(
    *, task: Task, decision: str, actor: Actor, body: str = "", comments: Sequence[NewComment] = (), head_sha: str = ""
) -> Review:
    """Record a review of the head that the reviewer saw. Raises `NotNow` when there is none to review or it has moved on."""
    task = Task.objects.select_for_update(of=("self",), no_key=True).select_related("project").get(pk=task.pk)
    if decision not in DECISIONS:
        raise InvalidTask("decision", f"{decision!r} is not a decision: choose one of {', '.join(DECISIONS)}")
    pull = _open_pull(task)
    if head_sha and head_sha != pull.head_sha:
        raise NotNow(f"the head moved from {head_sha[:10]} to {pull.head_sha[:10]} since you looked: look again")
    if decision != "approve" and not body.strip() and not comments:
        raise InvalidTask("body", "say what should change: a body or comments")
    review = Review.objects.create(
        pull_request=pull,
        author=actor.name,
        user_id=actor.user.pk if actor.user is not None else None,
        decision=decision,
        head_sha=pull.head_sha,
        body=_words(body, field="body"),
        trusted=decision != "approve" or _may_approve(task, actor),
        submitted_at=actor.at,
    )
    if decision == "approve":
        # Approving says that one's own points are settled.
        pull.comments.filter(author=actor.name, resolved=False).update(resolved=True)
    for comment in comments:
        _comment(pull, review, comment, actor)
    text = f"{actor.name}: {Review.Decision(decision).label} at {pull.head_sha[:10]}"
    events.record(kind="review.submitted", text=text, task=task, actor=actor, at=actor.at, data={"decision": decision})
    _look_again(task, actor)
    return review


@transaction.atomic
def resolve_thread(*, task: Task, thread: str, actor: Actor) -> None:
    """Mark a thread as settled. Raises `NotNow` when the pull request has no such thread."""
    task = Task.objects.select_for_update(of=("self",), no_key=True).select_related("project").get(pk=task.pk)
    pull = _open_pull(task)
    if not pull.comments.filter(thread=thread).update(resolved=True):
        raise NotNow(f"{task} has no thread {thread!r}")
    events.record(kind="thread.resolved", text=f"{actor.name} resolved a thread", task=task, actor=actor, at=actor.at)
    _look_again(task, actor)


def _open_pull(task: Task) -> PullRequest:
    pull = task.pull_requests.filter(state="open").first()
    if pull is None:
        raise NotNow(f"{task} has no open pull request")
    if task.project.scm.get("plugin", "local") != "local":
        raise NotNow(f"{task} is reviewed on its forge: {pull.url}")
    return pull


def _may_approve(task: Task, actor: Actor) -> bool:
    """On the built-in forge the requester may approve, unless the project says otherwise."""
    own = actor.user is not None and actor.user.pk == task.requested_by_id
    return not own or bool(task.project.scm.get("selfApproval", True))


def _comment(pull: PullRequest, review: Review, comment: NewComment, actor: Actor) -> None:
    body = _words(comment.body, field="comments.body")
    if not body.strip():
        raise InvalidTask("comments.body", "a comment must not be empty")
    begun = pull.comments.filter(thread=comment.thread).order_by("id").first() if comment.thread else None
    if comment.thread and begun is None:
        raise InvalidTask("comments.thread", f"there is no thread {comment.thread!r} here")
    if begun is not None:
        # Whoever speaks in a settled thread opens it again.
        pull.comments.filter(thread=comment.thread).update(resolved=False)
    Comment.objects.create(
        pull_request=pull,
        review=review,
        thread=begun.thread if begun is not None else uuid.uuid4().hex[:12],
        author=actor.name,
        user_id=actor.user.pk if actor.user is not None else None,
        body=body,
        path=begun.path if begun is not None else plain(comment.path)[:1000],
        line=begun.line if begun is not None else comment.line,
        trusted=True,
        created_at=actor.at,
    )


def _words(text: str, *, field: str) -> str:
    if len(text) > TEXT_LENGTH:
        raise InvalidTask(field, f"{field} has {len(text)} characters: at most {TEXT_LENGTH} are taken")
    return plain(text)


def _look_again(task: Task, actor: Actor) -> None:
    events.touch(task=task)
    events.look_again(task_id=task.pk, at=actor.at)
