"""Failures of whole projects on the pages, and what people say of them there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from django.contrib import messages
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from aoweb.dashboard.actor import actor_of
from aoweb.permissions import Verb, verbs_of
from orchestrator.models import Incident, Project
from orchestrator.services import incidents


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An incident as a page shows it to somebody."""

    incident: Incident
    may_answer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What a person can say of one."""

    do: Callable[..., None]
    said: str


DEEDS: Mapping[str, Deed] = {
    "resolve": Deed(do=incidents.resolve, said="It is over. The tasks that waited for it go on."),
    "release": Deed(do=incidents.release, said="The agents are told of it from now on."),
}


def unresolved(user: AbstractBaseUser | AnonymousUser, projects: Iterable[Project]) -> list[Shown]:
    """Those of these projects, newest first."""
    by_id = {project.pk: project for project in projects}
    found = list(Incident.objects.unresolved().filter(project__in=by_id).select_related("project", "released_by"))
    driven = {pk for pk in {one.project_id for one in found} if Verb.DRIVE in verbs_of(user, by_id[pk])}
    return [Shown(incident=one, may_answer=one.project_id in driven) for one in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What the board says of a project's incidents."""

    newest: Incident
    more: int


def lines(projects: Iterable[Project]) -> list[Line]:
    """One for each of these projects that has any."""
    found: dict[int, list[Incident]] = {}
    for one in Incident.objects.unresolved().filter(project__in=list(projects)).select_related("project"):
        found.setdefault(one.project_id, []).append(one)
    return [Line(newest=of[0], more=len(of) - 1) for of in found.values()]


@never_cache
@require_POST
def act(request: HttpRequest, incident_id: int, deed: str) -> HttpResponse:
    """Do it, and go back to the project."""
    found = get_object_or_404(Incident.objects.visible_to(request.user).select_related("project"), pk=incident_id)
    if Verb.DRIVE not in verbs_of(request.user, found.project):
        raise PermissionDenied(
            f"As a viewer of {found.project.key} you may look, but not {deed}. Ask a maintainer to make you a member."
        )
    DEEDS[deed].do(incident=found, actor=actor_of(request))
    messages.success(request, DEEDS[deed].said)
    return HttpResponseRedirect(reverse("project", args=[found.project.key]))
