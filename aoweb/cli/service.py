"""Speaks to a running service over its API."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx

TRIES = 3
PAUSE_SECONDS = 0.5
TIMEOUT_SECONDS = 30.0
NOT_REACHED = "the service at {url} cannot be reached: {why}. Start it with `ao start`, or say where it is with --url."


class Failed(Exception):
    """The request was refused or did not get through; the message is the one line that is shown."""


class Misused(Exception):
    """What was asked for on the command line cannot be meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Where the service is, who we are there, and how to print."""

    url: str
    token: str
    as_json: bool

    def get(self, path: str, **query: object) -> dict[str, Any]:
        """Read. Raises `Failed`."""
        wanted = {name: str(value) for name, value in query.items() if value is not None}
        return self._ask("GET", path, query=wanted)

    def document(self, path: str) -> dict[str, Any]:
        """Read what is served beside the API. Raises `Failed`."""
        return self._ask("GET", path, below="")

    def write(self, path: str, body: object = None, *, method: str = "POST", key: str | None = None) -> dict[str, Any]:
        """Write, once: a lost reply is asked for again under the same key. Raises `Failed`."""
        return self._ask(method, path, body=body or {}, key=key or uuid.uuid4().hex)

    def secret(self, path: str, body: object = None, *, method: str = "POST") -> dict[str, Any]:
        """Ask for something that is told once: not repeated, so without a key."""
        return self._ask(method, path, body=body or {})

    def pages(self, path: str, **query: object) -> Iterator[dict[str, Any]]:
        """The rows of all pages."""
        page = self.get(path, **query)
        while True:
            yield from page["results"]
            if not page["next"]:
                return
            page = self.get(path, **{**query, **dict(httpx.QueryParams(httpx.URL(page["next"]).query.decode()))})

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: object = None,
        key: str | None = None,
        below: str = "/api/v1",
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        tries = TRIES if method == "GET" or key is not None else 1
        for left in reversed(range(tries)):
            try:
                response = httpx.request(
                    method,
                    f"{self.url}{below}{path}",
                    params=query,
                    json=body,
                    headers=headers,
                    timeout=TIMEOUT_SECONDS,
                )
            except httpx.ConnectError as error:
                raise Failed(NOT_REACHED.format(url=self.url, why=error)) from error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                if not left:
                    raise Failed(NOT_REACHED.format(url=self.url, why=str(error) or type(error).__name__)) from error
            else:
                if response.status_code != httpx.codes.SERVICE_UNAVAILABLE or not left:
                    return _body(response)
            time.sleep(PAUSE_SECONDS)
        raise Failed(f"the service at {self.url} did not answer")


def _body(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json() if response.content else {}
    except ValueError:
        body = {}
    if response.is_success and isinstance(body, dict):
        return cast(dict[str, Any], body)
    detail = body.get("detail") if isinstance(body, dict) else None
    errors = body.get("errors") if isinstance(body, dict) else None
    if errors and len(errors) > 1:
        detail = "; ".join(f"{one['field']}: {one['message']}" for one in errors)
    raise Failed(str(detail or f"the service answered {response.status_code} to {response.request.url.path}"))


def connect(*, url: str | None, token: str | None, home: Path | None, as_json: bool) -> Service:
    """The service that is meant: as said, by the environment, or as `ao start` left word in the home. Raises `Failed`."""
    url, token = url or os.environ.get("AO_URL"), token or os.environ.get("AO_TOKEN")
    if not url or not token:
        kept = _kept(home or default_home())
        url, token = url or kept.get("url"), token or (kept.get("token") if not url or url == kept.get("url") else None)
    if not url:
        raise Failed("no service is known here: start one with `ao start`, or say --url and --token (AO_URL, AO_TOKEN)")
    if not token:
        raise Failed(
            f"no token for {url}: say --token or set AO_TOKEN; `ao token create NAME` on its machine makes one"
        )
    if not token.isascii() or not token.isprintable():
        raise Failed("the token holds characters that no token has: copy it again")
    return Service(url=url.rstrip("/"), token=token, as_json=as_json)


def _kept(home: Path) -> dict[str, str]:
    try:
        kept = json.loads((home / "client.json").read_text())
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in kept.items() if isinstance(value, str)} if isinstance(kept, dict) else {}


def default_home() -> Path:
    """Where `ao start` keeps an installation when nobody says otherwise."""
    if os.environ.get("AO_HOME"):
        return Path(os.environ["AO_HOME"])
    if os.geteuid() == 0:
        return Path("/var/lib/ao")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "ao"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "ao"
