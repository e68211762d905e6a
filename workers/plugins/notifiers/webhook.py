"""A signed webhook: one POST of JSON, which its receiver can prove to be ours, not too old, and not yet seen.

Headers: `X-AO-Delivery` is the message's stable id (a repetition has the same), `X-AO-Timestamp` the seconds since 1970 at which it was
sent, `X-AO-Event` what it is (asked, climbed, reminded, back, alert, digest), and `X-AO-Signature` is `sha256=` and the hex HMAC-SHA256,
with the channel's `secret`, over the timestamp, a full stop and the raw body. The body is in docs/notifications.md.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from urllib.parse import urlsplit

import httpx

from orchestrator.ports import Notice, Refused, Unavailable

VERSION = 1
_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_METADATA = frozenset({"metadata.google.internal", "metadata"})


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookNotifier:
    """One receiver. `config` holds `url` (or `webhookUrl`) and `secret`; without a secret nothing is signed."""

    config: Mapping[str, object]

    def notify(self, notice: Notice, *, timeout: float = 15) -> None:
        """Refused code: `bad-channel`. A redirect is not followed: whoever may say where to would have us speak to anybody."""
        url = _allowed(str(self.config.get("url") or self.config.get("webhookUrl") or ""))
        body = json.dumps(body_of(notice), ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "agent-orchestrator", "X-AO-Delivery": notice.id}
        headers |= {"X-AO-Event": notice.event, **self._signed(body)}
        try:
            answer = httpx.post(url, content=body, headers=headers, timeout=timeout / 2, follow_redirects=False)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Unavailable(f"{_shown(url)}: {type(error).__name__}: {error}") from error
        _judge(answer, url)

    def _signed(self, body: bytes) -> dict[str, str]:
        timestamp = str(int(datetime.now(tz=UTC).timestamp()))
        secret = str(self.config.get("secret") or "")
        signature = {"X-AO-Signature": f"sha256={sign(secret, timestamp, body)}"} if secret else {}
        return {"X-AO-Timestamp": timestamp, **signature}


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The hex HMAC-SHA256 over the timestamp, a full stop and the raw body."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def body_of(notice: Notice) -> dict[str, object]:
    """What is sent: additions only, `version` grows otherwise."""
    told = asdict(notice)
    told["escalations"] = told.pop("about")
    return {"version": VERSION, **told}


def _allowed(url: str) -> str:
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".").lower()
    if parts.scheme not in {"http", "https"} or not host:
        raise Refused("write the webhook's url: https://...", code="bad-channel")
    try:
        inward = ipaddress.ip_address(host).is_link_local
    except ValueError:
        inward = host in _METADATA
    if inward:
        raise Refused(f"{host} is where machines keep what they are, and no receiver of messages", code="bad-channel")
    return url


def _judge(answer: httpx.Response, url: str) -> None:
    if answer.is_success:
        return
    said = f"{_shown(url)} answered {answer.status_code}"
    if answer.is_server_error or answer.status_code in _LATER:
        asked = answer.headers.get("Retry-After", "")
        patience = timedelta(seconds=int(asked)) if asked.isascii() and asked.isdigit() and len(asked) < 6 else None
        raise Unavailable(said, retry_after=patience)
    why = ": redirects are not followed, write the address that it leads to" if answer.is_redirect else ""
    raise Refused(f"{said}{why}", code="bad-channel")


def _shown(url: str) -> str:
    """The receiver without what may be a secret: its path often is one."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
