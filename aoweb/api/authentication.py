"""Bearer tokens: who a program is, and whether it may write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from orchestrator.models import ApiToken
from orchestrator.services import accounts

if TYPE_CHECKING:  # its settings name this module: importing it here would be a circle
    from rest_framework.views import APIView

LONGEST_TOKEN = 200


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer TOKEN`. Tokens are taken from the header and from nowhere else: addresses end up in logs."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        scheme, _, raw = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        raw = raw.strip()
        token = accounts.find_token(raw=raw, now=timezone.now()) if 0 < len(raw) <= LONGEST_TOKEN else None
        if token is None:
            raise AuthenticationFailed(
                "This token is unknown, expired or revoked. Make a new one: ao token create NAME"
            )
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="ao"'


class TokenMayWrite(BasePermission):
    """A token with the scope `read` only looks."""

    message = "This token may only read: its scope is not `write`."

    def has_permission(self, request: Request, view: APIView) -> bool:
        token = request.auth
        return request.method in SAFE_METHODS or not isinstance(token, ApiToken) or token.scope == ApiToken.Scope.WRITE


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # drf-spectacular is untyped
    """How the schema names it."""

    target_class = "aoweb.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}
