"""Handing in a task."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from aoweb.dashboard.actor import actor_of
from aoweb.dashboard.projects import submittable
from orchestrator.models import Project, Task
from orchestrator.services import tasks

_FIELDS = ("project", "title", "body", "issue", "agent", "priority", "labels", "depends_on", "key")


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def new_task(request: HttpRequest) -> HttpResponse:
    """A form; what was typed survives a refusal, and sending it twice makes one task."""
    if request.method != "POST":
        return _form(request, {"project": request.GET.get("project", ""), "key": uuid.uuid4().hex}, {})
    typed = {name: request.POST.get(name, "") for name in _FIELDS}
    project = get_object_or_404(Project.objects.visible_to(request.user), key=typed["project"])
    if not submittable(request.user).filter(pk=project.pk).exists():
        return _form(request, typed, {"project": f"You may look at {project.key}, but not hand in tasks."}, status=403)
    try:
        task = _submit(request, project, typed)
    except tasks.InvalidTask as refusal:
        return _form(request, typed, {refusal.field: refusal.message}, status=422)
    messages.success(request, f"{task} is accepted.")
    return HttpResponseRedirect(reverse("task", args=[task.pk]))


def _submit(request: HttpRequest, project: Project, typed: Mapping[str, str]) -> Task:
    key = typed["key"][:64]
    task, _created = tasks.submit(
        project=project,
        title=typed["title"],
        body=typed["body"],
        issue=typed["issue"].strip(),
        agent=typed["agent"] or None,
        priority=_number(typed["priority"].strip() or "0"),
        labels=[label.strip() for label in typed["labels"].split(",") if label.strip()],
        depends_on=_dependencies(project, typed["depends_on"]),
        idempotency_key=f"form-{request.user.pk}-{key}" if key else None,
        actor=actor_of(request),
    )
    return task


def _number(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,4}", text):
        raise tasks.InvalidTask("priority", f"{text[:20]!r} is not a whole number")
    return int(text)


def _dependencies(project: Project, text: str) -> list[int]:
    """Task numbers as people write them, as ids."""
    words = [word.lstrip("#") for word in re.split(r"[,\s]+", text) if word]
    if any(not re.fullmatch(r"[0-9]{1,9}", word) for word in words):
        raise tasks.InvalidTask("depends_on", f"write task numbers of {project.key}, such as 3, 7")
    numbers = {int(word) for word in words}
    known = dict(Task.objects.filter(project=project, number__in=numbers).values_list("number", "pk"))
    missing = sorted(numbers - set(known))
    if missing:
        raise tasks.InvalidTask("depends_on", f"{project.key} has no task {missing[0]}")
    return list(known.values())


def _form(
    request: HttpRequest, typed: Mapping[str, str], errors: Mapping[str, str], *, status: int = 200
) -> HttpResponse:
    shown = ("title", "body", "issue", "agent", "priority", "labels", "depends_on")
    form: dict[str, Any] = {**typed, "errors": errors}
    form["problem"] = next((message for field, message in errors.items() if field not in shown), "")
    context = {"form": form, "projects": submittable(request.user), "agents": tasks.AGENTS}
    return render(request, "ao/new_task.html", context, status=status)
