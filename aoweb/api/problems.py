"""Every error of the API as problem+json (RFC 9457): what is wrong, in which field, and what to do next. Never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.response import Response

from orchestrator.services.configuration.problems import ConfigRefused
from orchestrator.services.hosts import HostBusy, InvalidHost
from orchestrator.services.spares import GateClosed
from orchestrator.services.tasks import InvalidTask, NotNow

logger = logging.getLogger(__name__)
CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2


class TooLarge(exceptions.APIException):
    """The body is longer than the API reads."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body is too large."


class Unprocessable(exceptions.APIException):
    """The body is JSON, but not of a shape that the API takes apart."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_detail = "The body cannot be processed."


class Conflict(exceptions.APIException):
    """What is asked for is not possible in the present state."""

    status_code = status.HTTP_409_CONFLICT
    default_detail = "This is not possible now."


def handle(error: Exception, context: Mapping[str, Any]) -> Response:
    """Turn what a view raised into an answer; set as the exception handler of every view of the API."""
    known = _known(error)
    if known is None:
        logger.error("request failed", exc_info=error, extra={"view": type(context.get("view")).__name__})
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong on our side; it is in the server's log.")
    details = known.detail if isinstance(known, exceptions.ValidationError) else None
    headers = {}
    if getattr(known, "auth_header", None):
        headers["WWW-Authenticate"] = str(known.auth_header)  # type: ignore[attr-defined]  # set by rest_framework's views
    if getattr(known, "wait", None):
        headers["Retry-After"] = str(int(known.wait))  # type: ignore[attr-defined]  # of Throttled
    errors = list(_flat(details)) if details is not None else []
    sentence = f"{errors[0]['field']}: {errors[0]['message']}" if errors else str(known.detail)
    return problem(HTTPStatus(known.status_code), sentence, errors=errors, headers=headers)


def problem(
    code: HTTPStatus,
    detail: str,
    *,
    errors: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """One problem document."""
    body: dict[str, Any] = {"type": "about:blank", "title": code.phrase, "status": int(code), "detail": detail}
    if errors:
        body["errors"] = errors
    more = {"Retry-After": str(RETRY_AFTER_SECONDS)} if code == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return Response(body, status=int(code), headers={**more, **(headers or {})}, content_type=CONTENT_TYPE)


def _known(error: Exception) -> exceptions.APIException | None:
    match error:
        case exceptions.APIException():
            return error
        case Http404():
            return exceptions.NotFound("There is nothing here, or nothing that you may see.")
        case PermissionDenied():
            return exceptions.PermissionDenied(str(error) or None)
        case InvalidTask():
            return exceptions.ValidationError({error.field: [error.message]})
        case InvalidHost():
            return exceptions.ValidationError({error.field: [str(error)]})
        case ConfigRefused():
            return exceptions.ValidationError({"text": [str(one) for one in error.problems]})
        case NotNow() | HostBusy() | GateClosed():
            return Conflict(str(error))
        case OperationalError() | InterfaceError():
            return _Unavailable()
        case DataError():
            return exceptions.ValidationError({"body": ["a value is out of the range that can be stored"]})
        case _:
            return None


class _Unavailable(exceptions.APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The database does not answer right now. Nothing was changed; try again."


def _flat(details: Any, path: str = "") -> Iterator[dict[str, str]]:
    """The errors of nested fields as one list: `comments.0.line`."""
    if isinstance(details, Mapping):
        for name, inner in details.items():
            own = "" if name == "non_field_errors" else str(name)
            yield from _flat(inner, ".".join(part for part in (path, own) if part))
    elif isinstance(details, list):
        for place, inner in enumerate(details):
            nested = isinstance(inner, Mapping | list)
            yield from _flat(inner, f"{path}.{place}" if nested and path else path)
    else:
        yield {"field": path or "body", "message": str(details)}
