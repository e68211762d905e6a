"""Projects as their members see them: facts, members, rules and where each of their fields came from."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from aoweb.dashboard import rule_cards, usage
from aoweb.dashboard.rule_cards import said
from aoweb.permissions import Verb, verbs_of
from orchestrator.models import Project, ProjectWorkflow, Role, Round
from orchestrator.services import calling, forges, rounds, rules, spending

ROUNDS_SHOWN = 3


def submittable(user: AbstractBaseUser | AnonymousUser) -> QuerySet[Project]:
    """The projects that take tasks from the user."""
    if not isinstance(user, User):
        return Project.objects.none()
    if user.is_superuser:
        return Project.objects.all()
    takes = [Role.MEMBER, Role.MAINTAINER]
    return Project.objects.filter(memberships__user=user, memberships__role__in=takes)


@never_cache
@require_safe
def projects(request: HttpRequest) -> HttpResponse:
    """The projects that the user may see."""
    found = Project.objects.visible_to(request.user)
    return render(request, "ao/projects.html", {"projects": found})


@never_cache
@require_safe
def project(request: HttpRequest, key: str) -> HttpResponse:
    """One project with its effective rules."""
    found = get_object_or_404(Project.objects.visible_to(request.user), key=key)
    context = {
        "project": found,
        "forge_wait": forges.wait_of(found, now=timezone.now()),
        "members": found.memberships.select_related("user").order_by("role", "user__username"),
        "rules": rule_cards.gather(found, None, edits={}),
        "workflow": ProjectWorkflow.objects.filter(project=found).select_related("current").first(),
        "versions": found.workflow_versions.all()[:10],
        "calling": calling.words_of(calling.plan_of(found)),
        "rounds": _rounds(found),
        "bars": usage.bars(spending.of_project(found, now=timezone.now())),
        "may_configure": Verb.CONFIGURE in verbs_of(request.user, found),
    }
    return render(request, "ao/project.html", context)


def _rounds(found: Project) -> list[dict[str, object]]:
    """The newest rounds of work that are complete, with what came of them."""
    complete = Round.objects.filter(project=found, completed_at__isnull=False)[:ROUNDS_SHOWN]
    return [
        {
            "at": one.completed_at,
            "summary": rounds.summary_of(one.digest),
            "cost": rounds.cost_of(one.digest),
            "tasks": one.digest["tasks"],
        }
        for one in complete
    ]


def rule_table(found: Project | None) -> list[dict[str, object]]:
    """Each trigger with its fields as people read them, and the place that set each."""
    return [
        {
            "trigger": str(trigger),
            "fields": [
                {"name": name, "value": said(field.value), "source": str(field.source)}
                for name, field in fields.items()
            ],
        }
        for trigger, fields in rules.explained(found).items()
    ]
