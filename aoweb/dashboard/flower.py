"""Flower behind our login: staff look, superusers act, and only from our own pages."""

from __future__ import annotations

import base64
from typing import cast

import httpx
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

_PATIENCE = 10.0
_PASSED_ON = ("accept", "content-type", "x-requested-with")
_HANDED_BACK = ("content-type", "location", "cache-control", "etag")
_LOOKING = frozenset({"GET", "HEAD"})


# Flower's own scripts post without our token; the check of the origin below stands in its place.
@csrf_exempt
def flower(request: HttpRequest, path: str = "") -> HttpResponse:
    """Pass a request on to Flower's socket."""
    user = cast(User, request.user)
    if not user.is_staff:
        raise PermissionDenied("The queue monitor is for staff.")
    if request.method not in _LOOKING:
        if not user.is_superuser:
            raise PermissionDenied("Only superusers may act in the queue monitor.")
        if request.headers.get("Origin") not in settings.AO_ALLOWED_ORIGINS:
            raise PermissionDenied("This request did not come from a page of ours.")
    if not settings.AO_FLOWER_SOCKET:
        return HttpResponse("The queue monitor is not running. Start with --flower.\n", "text/plain", status=404)
    try:
        answer = _ask(request, path)
    except httpx.HTTPError:
        return HttpResponse("The queue monitor does not answer. It is restarted by itself.\n", "text/plain", status=502)
    response = HttpResponse(answer.content, status=answer.status_code)
    for name in _HANDED_BACK:
        if name in answer.headers:
            response[name] = answer.headers[name]
    return response


def _ask(request: HttpRequest, path: str) -> httpx.Response:
    headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    headers["Authorization"] = "Basic " + base64.b64encode(settings.AO_FLOWER_AUTH.encode()).decode()
    with httpx.Client(transport=httpx.HTTPTransport(uds=settings.AO_FLOWER_SOCKET), timeout=_PATIENCE) as client:
        return client.request(
            str(request.method),
            f"http://flower/flower/{path}",
            params=request.META.get("QUERY_STRING", ""),
            content=request.body,
            headers=headers,
        )
