"""How people and programs come in: one-time login links, API tokens, and the first account of an installation.

Links and tokens are 256 random bits, so a plain SHA-256 of them is as good as the secret is; only that is stored.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import transaction

from orchestrator.models import ApiToken, LoginLink

TOKEN_MARK = "ao_"  # noqa: S105 the visible beginning of every token, so that scanners and people recognise one
USED_AT_GRAIN = timedelta(minutes=1)


class LinkSpent(Exception):
    """The login link was used, has expired, or never was one."""


def issue_login_link(*, user: User, now: datetime, valid_for: timedelta) -> str:
    """A secret that logs `user` in once, until `now + valid_for`."""
    raw = secrets.token_urlsafe(32)
    LoginLink.objects.create(user=user, digest=digest_of(raw), expires_at=now + valid_for)
    return raw


@transaction.atomic
def redeem_login_link(*, token: str, now: datetime) -> User:
    """The user whose link this is; the link is spent by it. Of two that redeem it at once, one gets the user. Raises `LinkSpent`."""
    fresh = LoginLink.objects.filter(
        digest=digest_of(token), used_at__isnull=True, expires_at__gt=now, user__is_active=True
    )
    link = fresh.select_for_update(of=("self",)).select_related("user").first()
    if link is None:
        raise LinkSpent("this login link was used already or has expired: get a new one with `ao open`")
    link.used_at = now
    link.save(update_fields=["used_at"])
    return link.user


def issue_token(*, user: User, name: str, scope: str, now: datetime, expires_at: datetime | None = None) -> str:
    """A new bearer token of `user`; this is the only time that it can be read. Raises `ValueError` on an unknown scope, an empty name or
    an expiry in the past."""
    if scope not in ApiToken.Scope.values:
        raise ValueError(f"{scope!r} is not a scope: choose read or write")
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise ValueError("a token needs a name of 1 to 100 printable characters")
    if expires_at is not None and expires_at <= now:
        raise ValueError("the token would have expired already: choose a time in the future")
    raw = TOKEN_MARK + secrets.token_urlsafe(32)
    ApiToken.objects.create(
        user=user, name=name.strip(), prefix=raw[:10], digest=digest_of(raw), scope=scope, expires_at=expires_at
    )
    return raw


def find_token(*, raw: str, now: datetime) -> ApiToken | None:
    """The valid token that this secret is, with its user; None when it is unknown, expired, revoked or its user may not log in."""
    token = (
        ApiToken.objects.valid(now).filter(digest=digest_of(raw), user__is_active=True).select_related("user").first()
    )
    if token is not None and (token.used_at is None or now - token.used_at > USED_AT_GRAIN):
        # Coarse on purpose: a write for every read would cost more than the reads.
        ApiToken.objects.filter(pk=token.pk).update(used_at=now)
    return token


def revoke_token(*, token: ApiToken, now: datetime) -> None:
    """From here on the token opens nothing."""
    ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=now)


def first_user(*, name: str) -> User:
    """The superuser of this installation: the oldest there is, else a new one called `name`, who has no password until one is set."""
    with transaction.atomic():
        existing = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
        return existing or User.objects.create_superuser(username=name, email="", password=None)


def digest_of(raw: str) -> str:
    """What is stored of a secret. Surrogates cannot be encoded, and no secret of ours holds one."""
    return hashlib.sha256(raw.encode("utf-8", "replace")).hexdigest()
