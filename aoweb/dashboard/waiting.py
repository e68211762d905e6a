"""What every page's header says: how much waits for the person who looks."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.utils.functional import SimpleLazyObject
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from orchestrator.models import Interruption
from orchestrator.services import inbox


def counts(request: HttpRequest) -> dict[str, int]:
    """Unread lines of the inbox, and escalations that nobody has taken on."""
    calls = Interruption.objects.open().filter(escalation=True).visible_to(request.user)
    return {"unread": inbox.unread(request.user), "escalations": calls.count()}


def waiting(request: HttpRequest) -> dict[str, object]:
    """For templates; counted when a page shows it."""
    return {"waiting": SimpleLazyObject(lambda: counts(request))}


@never_cache
@require_safe
def header(request: HttpRequest) -> JsonResponse:
    """The same for scripts, which keep the header true while a page stands open."""
    return JsonResponse(counts(request))
