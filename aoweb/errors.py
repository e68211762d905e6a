"""What people see when a page fails: a database that is away is no fault of the page, and is back in a moment."""

from __future__ import annotations

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

RETRY_AFTER_SECONDS = 5


def server_error(request: HttpRequest) -> HttpResponse:
    """The page of an unexpected failure; 503 with the time to come back while the database does not answer."""
    if isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        page = render_to_string("503.html")
        return HttpResponse(
            page, status=503, headers={"Retry-After": str(RETRY_AFTER_SECONDS), "Refresh": str(RETRY_AFTER_SECONDS)}
        )
    del request
    return HttpResponse(render_to_string("500.html"), status=500)
