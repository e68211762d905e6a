"""The page that says why: what a task waits for now, and what was decided about it, on which facts."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from aoweb.dashboard.reasons import told
from aoweb.dashboard.task import visible
from orchestrator.services import why

PAGE = 60


@never_cache
@require_safe
def task_why(request: HttpRequest, task_id: int) -> HttpResponse:
    """All decisions of a task that are kept, newest first, from the one that `at` names on."""
    task = visible(request, task_id)
    at = _number(request.GET.get("at", ""))
    rows = list(task.decisions.defer("facts").filter(**({"pk__lte": at} if at else {})).order_by("-id")[: PAGE + 1])
    newer = at is not None and task.decisions.filter(pk__gt=at).exists()
    context = {
        "task": task,
        "standing": why.standing(task=task, now=timezone.now()),
        "decisions": [told(row) for row in rows[:PAGE]],
        "earlier": rows[PAGE].pk if len(rows) > PAGE else None,
        "newer": newer,
    }
    return render(request, "ao/why.html", context)


def _number(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 18):
        raise Http404
    return int(text)
