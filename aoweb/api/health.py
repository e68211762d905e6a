"""For load balancers and supervisors: am I alive, am I ready."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from aoweb.api.problems import RETRY_AFTER_SECONDS


@never_cache
@login_not_required
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """The process answers. Asks nothing of anybody else, so a database that is down does not get the web killed."""
    return JsonResponse({"status": "ok"})


@never_cache
@login_not_required
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """The process can serve: the database answers and is migrated."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('orchestrator_task') IS NOT NULL")
            row = cursor.fetchone()
    except (OperationalError, InterfaceError):
        return _not_ready("the database does not answer")
    return JsonResponse({"status": "ok"}) if row and row[0] else _not_ready("the database is not migrated")


def _not_ready(reason: str) -> JsonResponse:
    return JsonResponse({"status": reason}, status=503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
