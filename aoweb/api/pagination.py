"""Cursor pages: `{"next", "previous", "results"}`. A page costs the same wherever it is, and rows that come meanwhile shift nothing."""

from __future__ import annotations

import base64
import binascii
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db.models import QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

DEFAULT_LIMIT = 100
MOST = 500
LARGEST_ID = 2**63 - 1
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[R]):
    """The rows of one page, and the addresses of its neighbours."""

    rows: Sequence[R]
    next: str | None
    previous: str | None

    def answer(self, results: Sequence[Any]) -> dict[str, Any]:
        return {"next": self.next, "previous": self.previous, "results": results}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cursor:
    """Where a page begins: after this id, reading on or back."""

    back: bool
    id: int

    def text(self) -> str:
        return base64.urlsafe_b64encode(f"{'b' if self.back else 'f'}{self.id}".encode()).decode().rstrip("=")


def page_of(
    request: Request,
    rows: QuerySet[Any, R],
    *,
    newest_first: bool = True,
    id_of: Callable[[Any], int] = operator.attrgetter("pk"),
) -> Page[R]:
    """The page of `rows`, by primary key, that `?cursor=` and `?limit=` ask for."""
    limit, cursor = limit_of(request), _cursor_of(request)
    falling = newest_first != (cursor is not None and cursor.back)
    if cursor is not None:
        rows = rows.filter(**{"pk__lt" if falling else "pk__gt": cursor.id})
    found = list(rows.order_by("-pk" if falling else "pk")[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if cursor is not None and cursor.back:
        found.reverse()
    ahead = bool(found) and (cursor.back or more if cursor is not None else more)
    behind = bool(found) and cursor is not None and (more or not cursor.back)
    return Page(
        rows=found,
        next=_address(request, _Cursor(back=False, id=id_of(found[-1]))) if ahead else None,
        previous=_address(request, _Cursor(back=True, id=id_of(found[0]))) if behind else None,
    )


def limit_of(request: Request) -> int:
    """`?limit=`, within bounds."""
    text = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MOST):
        raise ValidationError({"limit": [f"must be a whole number from 1 to {MOST}"]})
    return int(text)


def number_of(request: Request, name: str, default: int) -> int:
    """A query parameter that is a whole number from 0 up to what an id can be."""
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= LARGEST_ID):
        raise ValidationError({name: ["must be a whole number, as an earlier answer gave it"]})
    return int(text)


def _cursor_of(request: Request) -> _Cursor | None:
    text = request.query_params.get("cursor")
    if not text:
        return None
    try:
        decoded = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError):
        decoded = ""
    digits = decoded[1:]
    if (
        decoded[:1] not in {"f", "b"}
        or not (digits.isascii() and digits.isdigit() and len(digits) <= 19)
        or int(digits) > LARGEST_ID
    ):
        raise ValidationError({"cursor": ["is not a cursor of ours: take `next` or `previous` of a page as they are"]})
    return _Cursor(back=decoded[0] == "b", id=int(digits))


def _address(request: Request, cursor: _Cursor) -> str:
    return replace_query_param(request.build_absolute_uri(), "cursor", cursor.text())
