"""What GitHub says of a failed check: its annotations, what it says of itself, and the end of its log."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import httpx

from orchestrator.domain.failures import Annotation, Failure, failure_of
from orchestrator.ports import CheckSeen, PortError
from workers.plugins.scms.github.client import Client

TAIL = 512 * 1024  # bytes of the end of a log that are looked at
PATIENCE = 15.0  # seconds that one log may take to come, whatever its size


def failure(client: Client, check: CheckSeen, context: Mapping[str, Any]) -> Failure:
    """The log of a job of GitHub's own runners; for others' checks what they say of themselves. Annotations for both."""
    app = ((context.get("checkSuite") or {}).get("app") or {}).get("slug")
    log = _job_log(client, check.id) if app == "github-actions" else ""
    said = "\n\n".join(str(context.get(field) or "") for field in ("title", "summary"))
    return failure_of(log, annotations=_annotations(client, check.id), output=said.strip() if not log else "")


def _job_log(client: Client, job: str) -> str:
    """The end of the log, fetched from where GitHub points to. Our token stays behind: that place is another's."""
    answer = client.get(f"actions/jobs/{job}/logs")
    place = answer.headers.get("location", "")
    if answer.status != HTTPStatus.FOUND or not place:
        return ""
    tail, until = b"", time.monotonic() + PATIENCE
    try:
        with httpx.stream("GET", place, timeout=PATIENCE, follow_redirects=True) as response:
            for piece in response.iter_bytes(65536):
                tail = (tail + piece)[-TAIL:]
                if time.monotonic() > until:
                    break
            return tail.decode("utf-8", "replace") if response.status_code == HTTPStatus.OK else ""
    except httpx.HTTPError:
        return ""


def _annotations(client: Client, check: str) -> Sequence[Annotation]:
    if not check.isdigit():
        return ()
    try:
        answer = client.get(f"check-runs/{check}/annotations", per_page=50)
    except PortError:
        return ()
    found: Sequence[Mapping[str, Any]] = answer.body if answer.ok and isinstance(answer.body, list) else ()
    return [
        Annotation(path=str(one["path"]), line=one["start_line"], message=str(one["message"] or ""))
        for one in found
        if one.get("annotation_level") == "failure"
    ]
