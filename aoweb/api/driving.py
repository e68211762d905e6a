"""What people do with a task: send, answer, review, merge, cancel, retry, restart, pause, resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from aoweb.api import represent
from aoweb.api.answer_shapes import MessageShape, ReviewShape, TaskShape
from aoweb.api.base import ApiView
from aoweb.api.documenting import lists, writes
from aoweb.api.idempotency import idempotent
from aoweb.api.request_shapes import NewAnswer, NewMessage, NewReview, Nothing
from aoweb.api.tasks import task_body
from aoweb.permissions import Verb
from orchestrator.models import Message, Task
from orchestrator.services import pausing, reviews, tasks
from orchestrator.services.reviews import NewComment


class Messages(ApiView):
    """What was said to the agent of a task, and saying more."""

    @lists("tasks_messages_list", MessageShape)
    def get(self, request: Request, pk: int) -> Response:
        rows = (
            Message.objects.filter(task=self.find_task(pk))
            .select_related("author", "turn")
            .order_by("created_at", "pk")
        )
        return Response({"next": None, "previous": None, "results": [represent.message(row) for row in rows]})

    @writes("tasks_messages_create", NewMessage, MessageShape, code=201)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        row = self.find_task(pk, Verb.DRIVE)
        message = tasks.send(task=row, text=self.body(NewMessage)["text"], actor=self.actor())
        return Response(represent.message(message), status=status.HTTP_201_CREATED)


class Answer(ApiView):
    """Answer what the agent asked."""

    @writes("tasks_answer", NewAnswer, TaskShape)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        row = self.find_task(pk, Verb.DRIVE)
        wanted = self.body(NewAnswer)
        tasks.answer(task=row, request_id=wanted["request_id"], answer=wanted["answer"], actor=self.actor())
        return _accepted(row)


class SubmitReview(ApiView):
    """Review the head of a task's pull request, on the built-in forge."""

    @writes("tasks_review", NewReview, ReviewShape, code=201)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        row = self.find_task(pk, Verb.REVIEW)
        wanted = self.body(NewReview)
        comments = [NewComment(path=c["path"], line=c.get("line"), body=c["body"]) for c in wanted.pop("comments", [])]
        review = reviews.submit_review(task=row, comments=comments, actor=self.actor(), **wanted)
        return Response(
            {
                "id": review.pk,
                "author": review.author,
                "decision": review.decision,
                "head_sha": review.head_sha,
                "body": review.body,
                "trusted": review.trusted,
            },
            status=status.HTTP_201_CREATED,
        )


class _Press(ApiView):
    """A button: no fields, one service."""

    verb = Verb.DRIVE
    service: Callable[..., None]

    def press(self, pk: int) -> Response:
        row = self.find_task(pk, self.verb)
        self.body(Nothing)
        type(self).service(task=row, actor=self.actor())
        return _accepted(row)


class Merge(_Press):
    """Merge exactly the head that is approved and green now."""

    verb = Verb.MERGE
    service = staticmethod(tasks.request_merge)

    @writes("tasks_merge", Nothing, TaskShape)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        return self.press(pk)


class Cancel(_Press):
    """End the task without a merge."""

    service = staticmethod(tasks.cancel)

    @writes("tasks_cancel", Nothing, TaskShape)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        return self.press(pk)


class Retry(_Press):
    """A human says: go on."""

    service = staticmethod(tasks.retry)

    @writes("tasks_retry", Nothing, TaskShape)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        return self.press(pk)


class Restart(_Press):
    """A new session, from what was published last."""

    service = staticmethod(tasks.restart)

    @writes("tasks_restart", Nothing, TaskShape)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        return self.press(pk)


class Pause(_Press):
    """No further turn begins until somebody resumes it; the live one comes to its end."""

    service = staticmethod(pausing.pause)

    @writes("tasks_pause", Nothing, TaskShape)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        return self.press(pk)


class Resume(_Press):
    """It goes on; of each budget that is used up it may use as much again."""

    service = staticmethod(pausing.resume)

    @writes("tasks_resume", Nothing, TaskShape)
    @idempotent
    def post(self, request: Request, pk: int) -> Response:
        return self.press(pk)


def _accepted(row: Task) -> Response:
    body: dict[str, Any] = task_body(row)
    return Response(body, status=status.HTTP_202_ACCEPTED)
