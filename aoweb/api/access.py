"""One's own tokens and login links."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.http import Http404
from django.urls import reverse
from django.utils import timezone
from rest_framework import status
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from aoweb.api.answer_shapes import LoginLinkAnswer, NewTokenAnswer, TokenShape
from aoweb.api.base import ApiView
from aoweb.api.documenting import lists, writes
from aoweb.api.idempotency import never_replayed
from aoweb.api.pagination import page_of
from aoweb.api.request_shapes import NewToken, Nothing
from orchestrator.models import ApiToken
from orchestrator.services import accounts

LINK_LIVES = timedelta(minutes=10)


class Tokens(ApiView):
    """The asker's tokens that still open something."""

    @lists("tokens_list", TokenShape)
    def get(self, request: Request) -> Response:
        found = page_of(request, ApiToken.objects.valid(timezone.now()).filter(user=self.user))
        results = [
            {
                "id": row.pk,
                "name": row.name,
                "prefix": row.prefix,
                "scope": row.scope,
                "created_at": row.created_at,
                "expires_at": row.expires_at,
                "used_at": row.used_at,
            }
            for row in found.rows
        ]
        return Response(found.answer(results))

    @writes("tokens_create", NewToken, NewTokenAnswer, code=201, keyed=False)
    def post(self, request: Request) -> Response:
        never_replayed(request)
        wanted = self.body(NewToken)
        expires_at = _no_later(request, wanted.get("expires_at"))
        try:
            raw = accounts.issue_token(
                user=self.user, name=wanted["name"], scope=wanted["scope"], now=timezone.now(), expires_at=expires_at
            )
        except ValueError as error:
            raise ValidationError({"expires_at" if "expired" in str(error) else "name": [str(error)]}) from error
        answer = {"token": raw, "name": wanted["name"], "scope": wanted["scope"]}
        return Response(answer, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})


class TokenDetail(ApiView):
    """One of the asker's tokens."""

    @writes("tokens_revoke", None, None, code=204, keyed=False)
    def delete(self, request: Request, pk: int) -> Response:
        token = ApiToken.objects.filter(pk=pk, user=self.user).first()
        if token is None:
            raise Http404
        accounts.revoke_token(token=token, now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class LoginLinks(ApiView):
    """A link that logs the asker's browser in, once."""

    @writes("login_links_create", Nothing, LoginLinkAnswer, code=201, keyed=False)
    def post(self, request: Request) -> Response:
        never_replayed(request)
        self.body(Nothing)
        if isinstance(request.auth, ApiToken) and request.auth.expires_at is not None:
            raise PermissionDenied("A token that expires cannot open a session, which would outlive it.")
        raw = accounts.issue_login_link(user=self.user, now=timezone.now(), valid_for=LINK_LIVES)
        url = settings.AO_BASE_URL + reverse("login-link", args=[raw])
        return Response({"url": url}, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})


def _no_later(request: Request, wanted: datetime | None) -> datetime | None:
    """A token made by a token does not outlive it."""
    limit = request.auth.expires_at if isinstance(request.auth, ApiToken) else None
    return min(wanted, limit) if wanted is not None and limit is not None else wanted or limit
