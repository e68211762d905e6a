"""Rules as they hold for a task, the versions they went through, and what others would have done."""

from __future__ import annotations

import os
from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from aoweb.api import represent
from aoweb.api.answer_shapes import ReplayAnswer, RuleShape, RuleVersionShape
from aoweb.api.base import ApiView
from aoweb.api.documenting import lists, page, reads, writes
from aoweb.api.pagination import page_of
from aoweb.api.request_shapes import NewReplay, VersionFilter
from aoweb.permissions import Verb
from orchestrator.domain.replay import Compared, Effect, Kind
from orchestrator.models import RuleVersion, Task
from orchestrator.services import replays, rule_conflicts, rules
from orchestrator.services.configuration import applying


class TaskRules(ApiView):
    """The rule of every trigger as it holds for one task, and which place set each field: default, global, project or task."""

    @reads("tasks_rules", page(RuleShape))
    def get(self, request: Request, pk: int) -> Response:
        task = self.find_task(pk)
        versions = rules.current_versions(task.project, task)
        told = rules.explained(task.project, task).items()
        conflicts = rule_conflicts.conflicts_in(task.project)
        results = [
            represent.rule(trigger, values, task.project, versions.get(trigger, 0), conflicts)
            for trigger, values in told
        ]
        return Response({"next": None, "previous": None, "results": results})


class RuleVersions(ApiView):
    """Every change of the rules, newest first: who, when, what it said before and after. With `project`, those that concern it; with `task`,
    those that concern the task."""

    @lists("rules_versions_list", RuleVersionShape, parameters=[VersionFilter])
    def get(self, request: Request) -> Response:
        wanted = self.query(VersionFilter)
        task = self.find_task(wanted["task"]) if wanted.get("task") else None
        project = (
            task.project
            if task is not None
            else self.find_project(wanted["project"])
            if wanted.get("project")
            else None
        )
        rows = RuleVersion.objects.concerning(
            project=project.pk if project is not None else None, task=task.pk if task is not None else None
        )
        if wanted.get("trigger"):
            rows = rows.filter(trigger=wanted["trigger"])
        found = page_of(request, rows.select_related("project", "task__project"))
        return Response(found.answer([represent.rule_version(row) for row in found.rows]))


class Replay(ApiView):
    """What another rule set would have done over what was recorded. Changes nothing. A maintainer may ask about a project, a superuser about
    all of them; the answer goes on at `next`."""

    @writes("rules_replay", NewReplay, ReplayAnswer, code=200, keyed=False)
    def post(self, request: Request) -> Response:
        wanted = self.body(NewReplay)
        if not wanted.get("project"):
            self.require_superuser()
        project = self.find_project(wanted["project"], Verb.CONFIGURE) if wanted.get("project") else None
        loaded = applying.load(text=wanted["text"], path=wanted.get("path") or applying.USUAL_NAME, env=os.environ)
        found = replays.replay(
            otherwise=replays.Otherwise.of(loaded),
            days=wanted["days"],
            project=project,
            now=timezone.now(),
            after=wanted["after"],
        )
        return Response(
            {
                "tasks": found.tasks,
                "decisions": found.decisions,
                "differing": [_differing(task, compared) for task, compared in found.differing],
                "was": {str(kind): found.was[kind] for kind in Kind},
                "now": {str(kind): found.now[kind] for kind in Kind},
                "unreadable": [{"task": task.pk, "key": str(task), "why": why} for task, why in found.unreadable],
                "warnings": list(loaded.warnings),
                "next": found.after,
            }
        )


def _differing(task: Task, compared: Compared) -> dict[str, Any]:
    return {
        "task": task.pk,
        "key": str(task),
        "title": task.title,
        "parts_at": compared.parts_at,
        "differences": [
            {
                "at": one.at,
                "trigger": str(one.trigger),
                "text": str(one),
                "was": _effect(one.was),
                "now": _effect(one.now),
            }
            for one in compared.differences
        ],
    }


def _effect(effect: Effect | None) -> dict[str, Any] | None:
    return None if effect is None else {"kind": str(effect.kind), "at": effect.at, "name": effect.name}
