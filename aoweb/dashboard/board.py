"""The board, and more of one of its columns."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from aoweb.dashboard import cards, incidents
from aoweb.dashboard.cards import GALLERY, Rendered
from aoweb.dashboard.projects import submittable
from aoweb.dashboard.words import COLUMNS, ColumnWords
from orchestrator.models import Project
from orchestrator.services import board as facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column with the cards that are drawn; `hidden` are not."""

    words: ColumnWords
    count: int
    cards: list[Rendered]

    @property
    def hidden(self) -> int:
        return self.count - len(self.cards)


@never_cache
@require_safe
def board(request: HttpRequest) -> HttpResponse:
    """All columns of what the user may see, as far as people look."""
    audience = cards.audience_of(request.user, request.GET.dict())
    totals = cards.counts(audience)
    columns = [
        Column(
            words=words,
            count=totals[words.attention],
            cards=GALLERY.cards(cards.places(audience, words.attention)) if totals[words.attention] else [],
        )
        for words in COLUMNS
    ]
    projects = list(Project.objects.visible_to(request.user))
    context = {
        "audience": audience,
        "columns": columns,
        "total": sum(totals.values()),
        "needs_you": totals["respond"],
        "projects": projects,
        "incidents": incidents.lines(projects),
        "noticed": [project for project in projects if project.notice],
        "may_submit": bool(submittable(request.user)),
        "form": {"key": "", "title": "", "body": ""},
        "health": facts.health(now=timezone.now()),
        "query": request.GET.urlencode(),
    }
    return render(request, "ao/board.html", context)


@never_cache
@require_safe
def more(request: HttpRequest, column: str) -> HttpResponse:
    """The cards of one column from `start` on."""
    words = next((words for words in COLUMNS if words.attention == column), None)
    start = request.GET.get("start", "0")
    if words is None or not (start.isascii() and start.isdigit() and len(start) < 9):
        raise Http404
    audience = cards.audience_of(request.user, request.GET.dict())
    first, stop = int(start), int(start) + cards.SHOWN
    found = GALLERY.cards(cards.places(audience, column, start=first, stop=stop))
    count = cards.counts(audience)[column]
    query = request.GET.copy()
    query.pop("start", None)
    context = {
        "words": words,
        "cards": found,
        "count": count,
        "start": first,
        "next": stop if stop < count else None,
        "query": query.urlencode(),
    }
    return render(request, "ao/more.html", context)
