"""Projects as their members see them: facts, members, rules and where each of their fields came from."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from aoweb.dashboard import incidents
from aoweb.permissions import Verb, verbs_of
from orchestrator.domain.durations import format_duration
from orchestrator.models import Incident, Project, Role
from orchestrator.services import rules

PAST_INCIDENTS = 10


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
        "members": found.memberships.select_related("user").order_by("role", "user__username"),
        "rules": rule_table(found),
        "incidents": incidents.unresolved(request.user, [found]),
        "past": Incident.objects.filter(project=found, resolved_at__isnull=False)[:PAST_INCIDENTS],
        "fields": rules.FIELDS,
        "may_configure": Verb.CONFIGURE in verbs_of(request.user, found),
    }
    return render(request, "ao/project.html", context)


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


def said(value: object) -> str:
    """A field's value as the file would say it."""
    match value:
        case None | "":
            return "—"
        case bool():
            return "yes" if value else "no"
        case timedelta():
            return format_duration(value)
        case tuple():
            return ", ".join(str(word) for word in value)
        case _:
            return str(value)
