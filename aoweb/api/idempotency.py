"""`Idempotency-Key`: the same write again gets the same answer, and happens once.

The answer is stored in the transaction of the write, behind an advisory lock on the key: of two that race, the second waits and is
answered from the row; when the first fails, nothing of it stays and the second does the work.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeVar, cast

from django.contrib.auth.models import User
from django.db import connection, transaction
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from aoweb.api.problems import Unprocessable
from orchestrator.models import IdempotencyRecord

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
LONGEST_KEY = 150
Method = TypeVar("Method", bound=Callable[..., Response])


def idempotent(method: Method) -> Method:
    """Make a view's method honour the header. The method must do all its work in the database and ring its bells on commit."""

    @functools.wraps(method)
    def answered(view: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = key_of(request)
        if key is None:
            return method(view, request, *args, **kwargs)
        with transaction.atomic():
            return _once(key, request, lambda: method(view, request, *args, **kwargs))

    return answered  # type: ignore[return-value]  # wraps keeps the signature


def never_replayed(request: Request) -> None:
    """For answers that hold a secret: they are not stored, so a promise to repeat them cannot be kept. Raises `ValidationError`."""
    if key_of(request) is not None:
        raise ValidationError(
            {HEADER: ["this answer holds a secret and is not stored, so it cannot be repeated: leave the header out"]}
        )


def key_of(request: Request) -> str | None:
    """The key that the request carries, if any."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not key or len(key) > LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise ValidationError({HEADER: [f"must be 1 to {LONGEST_KEY} printable ASCII characters"]})
    return key


def _once(key: str, request: Request, work: Callable[[], Response]) -> Response:
    user_id = cast(User, request.user).pk
    fingerprint = _fingerprint(request)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"idempotency {user_id} {key}"])
    known = IdempotencyRecord.objects.filter(user_id=user_id, key=key).first()
    if known is None:
        response = work()
        body = json.loads(JSONRenderer().render(response.data))
        IdempotencyRecord.objects.create(
            user_id=user_id, key=key, fingerprint=fingerprint, status=response.status_code, body=body
        )
        return response
    if known.fingerprint != fingerprint:
        raise Unprocessable(f"{HEADER} {key!r} was used for another request: take a new key for a new request.")
    again = status.HTTP_200_OK if known.status == status.HTTP_201_CREATED else known.status
    return Response(known.body, status=again, headers={REPLAYED: "true"})


def _fingerprint(request: Request) -> str:
    body = json.dumps(request.data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{request.method} {request.path}\n{body}".encode()).hexdigest()
