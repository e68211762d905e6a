"""Everybody's own page: what they were told, unread first, and when their own channels are quiet."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from aoweb.dashboard.actor import actor_of
from orchestrator.models import QuietTime
from orchestrator.services import inbox
from orchestrator.services.tasks import InvalidTask

A_PAGE = 50


@never_cache
@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """What the person was told."""
    return _page(request)


def _page(request: HttpRequest, *, problem: str = "", status: int = 200) -> HttpResponse:
    user = cast(User, request.user)
    only_unread = request.GET.get("show") != "all"
    rows = inbox.items_of(user)
    shown = rows.filter(read_at__isnull=True) if only_unread else rows
    context = {
        "page": Paginator(shown.order_by("-at", "-pk"), A_PAGE).get_page(request.GET.get("page")),
        "only_unread": only_unread,
        "quiet": QuietTime.objects.filter(person=user).first(),
        "channels": user.channels.order_by("name"),
        "problem": problem,
    }
    return render(request, "ao/inbox.html", context, status=status)


@never_cache
@require_POST
def mark_read(request: HttpRequest) -> HttpResponse:
    """One line, or all."""
    item = request.POST.get("item", "")
    if item and not (item.isascii() and item.isdigit() and len(item) < 19):
        raise Http404
    inbox.mark_read(actor=actor_of(request), item=int(item) if item else None)
    return HttpResponseRedirect(reverse("inbox"))


@never_cache
@require_POST
def set_quiet(request: HttpRequest) -> HttpResponse:
    """When the person's own channels are quiet."""
    form = request.POST
    try:
        inbox.set_quiet_time(
            actor=actor_of(request), start=form.get("start", ""), end=form.get("end", ""), zone=form.get("zone", "")
        )
    except InvalidTask as refusal:
        return _page(request, problem=refusal.message, status=422)
    messages.success(request, "Your quiet hours are set.")
    return HttpResponseRedirect(reverse("inbox"))
