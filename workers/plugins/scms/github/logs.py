"""Why a check failed, in the part of its log that says so."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import httpx

from orchestrator.domain.prompts import capped, plain
from orchestrator.ports import CheckSeen, PortError
from workers.plugins.scms.github.client import Client

CAP = 20_000  # bytes of one check's log that are kept
TAIL = 256 * 1024  # bytes of the end of a log that are looked at
PATIENCE = 15.0  # seconds that one log may take to come, whatever its size
_STAMP = re.compile(r"^\ufeff?\d{4}-\d\d-\d\dT[\d:.]+Z ?", re.MULTILINE)
_STEP = re.compile(r"^##\[group\]Run ", re.MULTILINE)
_ERROR = re.compile(r"^##\[error\].*$", re.MULTILINE)
_MARKS = re.compile(r"^##\[(?:group|endgroup|command|debug)\]", re.MULTILINE)


def failing_log(client: Client, check: CheckSeen, context: Mapping[str, Any]) -> str:
    """The log of a job of GitHub's own runners; for others' checks what they say of themselves, and their annotations."""
    parts = []
    app = ((context.get("checkSuite") or {}).get("app") or {}).get("slug")
    if app == "github-actions":
        parts.append(failing_part(_job_log(client, check.id)))
    if not any(parts):
        parts += [str(context.get(field) or "") for field in ("title", "summary")]
    parts.append(_annotations(client, check.id))
    return capped("\n\n".join(part for part in parts if part.strip()), CAP)


def failing_part(log: str) -> str:
    """The last step that has an error in it, up to that error; without one the end of the log."""
    text = _STAMP.sub("", plain(log))
    errors = list(_ERROR.finditer(text))
    if not errors:
        return capped(text.strip(), CAP)
    end = errors[-1].end()
    starts = [step.start() for step in _STEP.finditer(text, 0, errors[-1].start())]
    return capped(_MARKS.sub("", text[starts[-1] if starts else 0 : end]).strip(), CAP)


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


def _annotations(client: Client, check: str) -> str:
    if not check.isdigit():
        return ""
    try:
        answer = client.get(f"check-runs/{check}/annotations", per_page=50)
    except PortError:
        return ""
    found: Sequence[Mapping[str, Any]] = answer.body if answer.ok and isinstance(answer.body, list) else ()
    return "\n".join(
        f"{one['path']}:{one['start_line']}: {one['message']}"
        for one in found
        if one.get("annotation_level") == "failure"
    )
