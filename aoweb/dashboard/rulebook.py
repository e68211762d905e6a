"""The pages of the rules: what holds in a project or for a task, and every change that led there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from aoweb.dashboard import rule_cards
from aoweb.dashboard.task import visible
from aoweb.permissions import Verb, verbs_of
from orchestrator.domain.rules import Trigger
from orchestrator.models import Project, RuleRow, RuleVersion, Task

NEWEST_VERSIONS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A field that a version changed."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionLine:
    """One change of the rules."""

    row: RuleVersion
    place: str
    changes: Sequence[Change]


@never_cache
@require_safe
def project_rules(request: HttpRequest, key: str) -> HttpResponse:
    """The rules of a project."""
    project = get_object_or_404(Project.objects.visible_to(request.user), key=key)
    return _page(request, project, None)


@never_cache
@require_safe
def task_rules(request: HttpRequest, task_id: int) -> HttpResponse:
    """The rules as they hold for one task."""
    task = visible(request, task_id)
    return _page(request, task.project, task)


def _page(request: HttpRequest, project: Project, task: Task | None) -> HttpResponse:
    context = {
        "project": project,
        "task": task,
        "rules": rule_cards.gather(project, task, edits=_edits(request.user, project) if task is None else {}),
        "versions": _versions(project, task),
    }
    return render(request, "ao/rules.html", context)


def _edits(user: AbstractBaseUser | AnonymousUser, project: Project) -> dict[Trigger, str]:
    """Where those who may change the project's rules do so."""
    if Verb.CONFIGURE not in verbs_of(user, project) or not getattr(user, "is_staff", False):
        return {}
    rows = dict(RuleRow.objects.filter(project=project).values_list("trigger", "pk"))
    new = reverse("admin:orchestrator_rulerow_add")
    return {
        trigger: reverse("admin:orchestrator_rulerow_change", args=[rows[trigger]])
        if trigger in rows
        else f"{new}?{urlencode({'project': project.pk, 'trigger': str(trigger)})}"
        for trigger in Trigger
    }


def _versions(project: Project, task: Task | None) -> list[VersionLine]:
    concerned = RuleVersion.objects.concerning(project=project.pk, task=task.pk if task is not None else None)
    rows = concerned.select_related("project", "task__project")[:NEWEST_VERSIONS]
    return [VersionLine(row=row, place=_place(row), changes=_changes(row.before, row.fields)) for row in rows]


def _place(row: RuleVersion) -> str:
    if row.task is not None:
        return str(row.task)
    return row.project.key if row.project is not None else "all projects"


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    names = dict.fromkeys((*before, *after))
    return [
        Change(name=name, before=_said(before, name), after=_said(after, name))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _said(fields: Mapping[str, Any], name: str) -> str:
    if name not in fields:
        return "inherited"
    value = fields[name]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
