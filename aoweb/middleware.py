"""What every answer of the web says to browsers about what a page may load and run."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile

# Nothing inline anywhere: text of agents, logs and issues stays text even where an escape was forgotten.
STRICT = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}
# The admin's widgets are driven by expressions in attributes, which its library compiles at run time.
ADMIN_SCRIPTS = "'self' 'unsafe-eval'"
_ADMIN = "/admin/"
_INLINE_STYLE = re.compile(rb"<style id=\"unfold-theme-colors\">(.*?)</style>", re.DOTALL)


class ContentSecurityPolicyMiddleware:
    """Adds a content security policy without `unsafe-inline` to every answer that has none of its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if "Content-Security-Policy" not in response:
            policy = admin_policy(response) if request.path.startswith(_ADMIN) else STRICT
            response["Content-Security-Policy"] = "; ".join(f"{name} {value}" for name, value in policy.items())
        response.setdefault("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()")
        return response


def admin_policy(response: HttpResponse) -> dict[str, str]:
    """The strict policy with what the admin's look needs: its one style block of theme colours is allowed by its hash."""
    policy = {**STRICT, "script-src": ADMIN_SCRIPTS}
    colours = None if response.streaming else _INLINE_STYLE.search(response.content)
    if colours:
        digest = base64.b64encode(hashlib.sha256(colours.group(1)).digest()).decode()
        policy["style-src"] = f"'self' 'sha256-{digest}'"
    return policy


class StaticFilesMiddleware(WhiteNoiseMiddleware):
    """Static files as whole answers: they are small, and under ASGI a file that is streamed is read at once anyway, with a warning."""

    @staticmethod
    def serve(static_file: StaticFile, request: HttpRequest) -> HttpResponse:
        found = WhiteNoiseMiddleware.serve(static_file, request)
        with contextlib.closing(found):
            return HttpResponse(
                b"".join(found.streaming_content), status=found.status_code, headers=dict(found.items())
            )
