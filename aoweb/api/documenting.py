"""How a view says to the schema what it takes and answers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers

from aoweb.api.answer_shapes import Problem

F = TypeVar("F", bound=Callable[..., Any])
IDEMPOTENCY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="The same key again: the same answer, and nothing happens twice.",
)
PAGE = (
    OpenApiParameter("cursor", str, description="As `next` or `previous` of another page say."),
    OpenApiParameter("limit", int, description="How many, 1 to 500; 100 when not said."),
)


def integer(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.INT64, description=description)


def reads(
    operation: str, answer: Any, *, parameters: Sequence[Any] = (), errors: Sequence[int] = (404,)
) -> Callable[[F], F]:
    """A GET."""
    answers = {200: answer, **_problems(400, 401, *errors)}
    return extend_schema(operation_id=operation, parameters=list(parameters), responses=answers)


def lists(
    operation: str, row: type[serializers.Serializer[Any]], *, parameters: Sequence[Any] = ()
) -> Callable[[F], F]:
    """A GET that answers with a cursor page of `row`."""
    return reads(operation, page(row), parameters=[*PAGE, *parameters])


def writes(
    operation: str, body: Any, answer: Any, *, code: int = 202, keyed: bool = True, parameters: Sequence[Any] = ()
) -> Callable[[F], F]:
    """A POST, PUT, PATCH or DELETE. With `keyed`, the answer to a repetition is 200, or `code` where that is not 201."""
    answers = {code: answer, **_problems(400, 401, 403, 404, 409, 413, 422)}
    if keyed and code == 201:
        answers[200] = answer
    known = [IDEMPOTENCY, *parameters] if keyed else list(parameters)
    return extend_schema(operation_id=operation, request=body, responses=answers, parameters=known)


@functools.cache
def page(row: type[serializers.Serializer[Any]]) -> serializers.Serializer[Any]:
    """A cursor page."""
    return inline_serializer(
        f"{row.__name__}Page",
        {
            "next": serializers.CharField(allow_null=True),
            "previous": serializers.CharField(allow_null=True),
            "results": row(many=True),
        },
    )


def _problems(*codes: int) -> dict[Any, Any]:
    return {(code, "application/problem+json"): Problem for code in sorted(set(codes))}
