"""Tasks: handing them in, listing them, looking at one."""

from __future__ import annotations

import operator
from typing import Any

from django.db import transaction
from django.utils import timezone
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from aoweb.api import represent
from aoweb.api.answer_shapes import TaskCard, TaskShape
from aoweb.api.base import ApiView
from aoweb.api.documenting import lists, reads, writes
from aoweb.api.idempotency import REPLAYED, idempotent, key_of
from aoweb.api.pagination import page_of
from aoweb.api.request_shapes import NewTask, TaskChange, TaskFilter
from aoweb.permissions import Verb
from orchestrator.models import Project, Task
from orchestrator.models.task import TaskQuerySet
from orchestrator.services import snapshots, tasks
from orchestrator.services.configuration import own_rules


def task_body(row: Task) -> dict[str, Any]:
    """The task as it is now, read in one transaction."""
    with transaction.atomic():
        fresh = Task.objects.select_related("project").get(pk=row.pk)
        return represent.task(fresh, snapshots.take(fresh, now=timezone.now()))


class TaskList(ApiView):
    """The tasks of all projects that the asker may see."""

    @lists("tasks_list", TaskCard, parameters=[TaskFilter])
    def get(self, request: Request) -> Response:
        rows = _chosen(Task.objects.visible_to(self.user), self.query(TaskFilter))
        page = page_of(request, represent.cards(rows), id_of=operator.itemgetter("id"))
        return Response(page.answer([represent.card(row) for row in page.rows]))

    @writes("tasks_create", NewTask, TaskShape, code=201)
    @idempotent
    def post(self, request: Request) -> Response:
        wanted = self.body(NewTask)
        key = key_of(request)
        if "reactions" in wanted:
            wanted["reactions"] = own_rules.read(wanted["reactions"])
        row, created = tasks.submit(
            project=self._project(wanted.pop("project")),
            idempotency_key=f"{self.user.pk}:{key}" if key else None,
            actor=self.actor(),
            **wanted,
        )
        answer = status.HTTP_201_CREATED if created else status.HTTP_200_OK
        headers = {"Location": f"{request.path}{row.pk}/", **({} if created else {REPLAYED: "true"})}
        # Nothing can have happened to a task before its row is committed, so its first answer asks for nothing more.
        body = (
            represent.new_task(row, depends_on=sorted(set(wanted.get("depends_on", ())))) if created else task_body(row)
        )
        return Response(body, status=answer, headers=headers)

    def _project(self, key: str) -> Project:
        """The project that a new task names: one that is not there, or not for the asker's eyes, is an error of the field."""
        project = Project.objects.visible_to(self.user).filter(key=key).first()
        if project is None:
            known = ", ".join(Project.objects.visible_to(self.user).order_by("key").values_list("key", flat=True)[:20])
            raise ValidationError({"project": [f"there is no project {key!r}; there is: {known or 'none yet'}"]})
        self.require(project, Verb.SUBMIT)
        return project


def _chosen(rows: TaskQuerySet, wanted: dict[str, Any]) -> TaskQuerySet:
    for name, lookup in (
        ("project", "project__key"),
        ("number", "number"),
        ("status", "status"),
        ("attention", "attention"),
        ("q", "title__icontains"),
    ):
        if wanted.get(name):
            rows = rows.filter(**{lookup: wanted[name]})
    if wanted.get("label"):
        rows = rows.filter(labels__contains=[wanted["label"]])
    if wanted.get("open") is not None:
        rows = rows.filter(outcome="") if wanted["open"] else rows.exclude(outcome="")
    return rows


class TaskDetail(ApiView):
    """One task."""

    @reads("tasks_retrieve", TaskShape)
    def get(self, request: Request, pk: int) -> Response:
        return Response(task_body(self.find_task(pk)))

    @writes("tasks_change", TaskChange, TaskShape, code=200)
    @idempotent
    def patch(self, request: Request, pk: int) -> Response:
        """Give the task rules of its own, or take them back."""
        row = self.find_task(pk, Verb.DRIVE)
        reactions = own_rules.read(self.body(TaskChange)["reactions"])
        return Response(task_body(tasks.set_rules(task=row, reactions=reactions, actor=self.actor())))
