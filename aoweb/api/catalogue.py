"""Projects, their rules, and what it all costs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from aoweb.api import represent
from aoweb.api.answer_shapes import ProjectShape, RuleShape, UsageShape
from aoweb.api.base import ApiView
from aoweb.api.documenting import lists, page, reads, writes
from aoweb.api.idempotency import idempotent
from aoweb.api.pagination import page_of
from aoweb.api.request_shapes import NewOverride, ProjectParameter, UsageFilter
from aoweb.permissions import Verb
from orchestrator.domain.durations import parse_duration
from orchestrator.domain.rules import Override, Priority, Reply, Trigger
from orchestrator.models import Project, Task, Turn
from orchestrator.services import rule_conflicts, rules, spending


class Projects(ApiView):
    """The projects that the asker may see."""

    @lists("projects_list", ProjectShape)
    def get(self, request: Request) -> Response:
        found = page_of(request, Project.objects.visible_to(self.user), newest_first=False)
        return Response(found.answer([represent.project(row) for row in found.rows]))


class ProjectDetail(ApiView):
    """One project."""

    @reads("projects_retrieve", ProjectShape)
    def get(self, request: Request, key: str) -> Response:
        return Response(represent.project(self.find_project(key)))


class Rules(ApiView):
    """The effective rule of every trigger, and which place set each field."""

    @reads("rules_list", page(RuleShape), parameters=[ProjectParameter])
    def get(self, request: Request) -> Response:
        key = self.query(ProjectParameter).get("project")
        project = self.find_project(key) if key else None
        versions = rules.current_versions(project)
        told = rules.explained(project).items()
        conflicts = rule_conflicts.conflicts_in(project)
        results = [
            represent.rule(trigger, values, project, versions.get(trigger, 0), conflicts) for trigger, values in told
        ]
        return Response({"next": None, "previous": None, "results": results})

    @writes("rules_update", NewOverride, RuleShape, code=200)
    @idempotent
    def put(self, request: Request) -> Response:
        """Make these fields all that the project (or, without one, the installation) sets for the trigger; null or absent: inherited."""
        wanted = self.body(NewOverride)
        key = wanted.pop("project", None)
        if key is None:
            self.require_superuser()
        project = self.find_project(key, Verb.CONFIGURE) if key is not None else None
        override = _override(wanted)
        with transaction.atomic():
            actor = self.actor()
            if rules.set_override(override, project=project, actor=actor):
                Task.objects.filter(outcome="", **({"project": project} if project else {})).update(wake_at=actor.at)
        told, version = (
            rules.explained(project)[override.trigger],
            rules.current_versions(project).get(override.trigger, 0),
        )
        conflicts = rule_conflicts.conflicts_in(project)
        return Response(represent.rule(override.trigger, told, project, version, conflicts))


def _override(wanted: dict[str, Any]) -> Override:
    """The validated body as the domain's value. Raises `ValidationError` on durations that cannot be read."""
    read: dict[str, Any] = {}
    for name, reader in (("escalate_after", rules.parse_escalate_after), ("threshold", parse_duration)):
        text = wanted.get(name)
        try:
            read[name] = reader(text) if text else None
        except (ValueError, OverflowError) as error:
            raise ValidationError({name: [str(error)]}) from error
    return Override(
        trigger=Trigger(wanted["trigger"]),
        auto=wanted.get("auto"),
        action=tuple(Reply(word) for word in wanted["action"]) if wanted.get("action") else None,
        priority=Priority(wanted["priority"]) if wanted.get("priority") else None,
        message=wanted.get("message") or None,
        retries=wanted.get("retries"),
        include_summary=wanted.get("include_summary"),
        **read,
    )


class Usage(ApiView):
    """Tokens and dollars by project, over all time or the last `days`; and how much of the budgets is used."""

    @reads("usage_retrieve", UsageShape, parameters=[UsageFilter])
    def get(self, request: Request) -> Response:
        wanted = self.query(UsageFilter)
        key = wanted.get("project")
        visible = Project.objects.visible_to(self.user)
        if key:
            visible = visible.filter(pk=self.find_project(key).pk)
        turns = Turn.objects.filter(session__task__project__in=visible.values("pk"))
        if wanted.get("days"):
            turns = turns.filter(created_at__gte=spending.day_of(timezone.now()) - timedelta(days=wanted["days"] - 1))
        rows = (
            turns.order_by()
            .values(project=F("session__task__project__key"))
            .annotate(**represent.USAGE)
            .order_by("project")
        )
        results = [{"project": row["project"], **represent.usage_of(row)} for row in rows]
        now = timezone.now()
        budgets = [(row, one) for row in visible.exclude(budget={}) for one in spending.of_project(row, now=now)]
        told = [one for row, budget in budgets for one in represent.budget(row, budget)]
        return Response({"results": results, "total": represent.total(results), "budgets": told})
