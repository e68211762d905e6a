"""The page of a link in a message: it says what would be done and in whose name, and does it when its button is pressed."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from aoweb.dashboard.login import address_of
from aoweb.permissions import Verb, verbs_of
from orchestrator.models import Interruption
from orchestrator.services import action_links
from orchestrator.services.action_links import ActionLink, LinkAction, LinkRefused
from orchestrator.services.events import Actor
from orchestrator.services.tasks import NotNow

_NOTHING = "this link leads to nothing that you may see"


@never_cache
@login_not_required
@require_http_methods(["GET", "HEAD", "POST"])
def action_link(request: HttpRequest, token: str) -> HttpResponse:
    """Opening it changes nothing. Whoever is logged in acts in the own name; else the person to whom the link was sent does."""
    try:
        link = action_links.read(token=token, now=timezone.now())
    except LinkRefused as refusal:
        return _refused(request, str(refusal), status=403)
    person = _person(request, link)
    if person is None:
        return redirect_to_login(request.path)
    asked = Interruption.objects.select_related("task__project").filter(pk=link.interruption).first()
    can = verbs_of(person, asked.task.project) if asked is not None else frozenset()
    if asked is None or not can:
        return _refused(request, _NOTHING, status=404)
    if (Verb.MERGE if link.action is LinkAction.MERGE else Verb.DRIVE) not in can:
        why = f"as a viewer of {asked.task.project.key}, {person} may look, but not press this"
        return _refused(request, why, status=403, asked=asked)
    if request.method != "POST":
        context = {
            "token": token,
            "link": link,
            "asked": asked,
            "person": person,
            "words": action_links.words_for(link),
        }
        return render(request, "ao/action_link.html", context)
    return _press(request, token, person, asked)


def _person(request: HttpRequest, link: ActionLink) -> User | None:
    """In whose name: nobody's, for a link that many can read, until somebody logs in."""
    if request.user.is_authenticated:
        return request.user
    return User.objects.filter(pk=link.person or 0, is_active=True).first()


def _press(request: HttpRequest, token: str, person: User, asked: Interruption) -> HttpResponse:
    actor = Actor(user=person, name=person.get_username(), address=address_of(request), at=timezone.now())
    try:
        link = action_links.press(token=token, actor=actor)
    except LinkRefused as refusal:
        return _refused(request, str(refusal), status=403, asked=asked)
    except NotNow as refusal:
        return _refused(request, str(refusal), status=409, asked=asked)
    done = f"{action_links.words_for(link)}: done, in the name of {person.get_username()}."
    if request.user.is_authenticated:
        messages.success(request, done)
        return HttpResponseRedirect(reverse("task", args=[asked.task_id]))
    return render(request, "ao/action_link.html", {"done": done, "asked": asked})


def _refused(request: HttpRequest, problem: str, *, status: int, asked: Interruption | None = None) -> HttpResponse:
    return render(request, "ao/action_link.html", {"problem": problem, "asked": asked}, status=status)
