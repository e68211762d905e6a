"""The link by which a machine joins: one word that says where the gate is, how it proves itself, and who may come in by it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import asdict, dataclass

MARK = "ao-join-"  # the visible beginning of every link, so that scanners and people recognise one
_LONGEST = 4000
_PORTS = 65536
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_DAMAGED = "the link is damaged: copy all of it, as `ao host link NAME` printed it"


class NoLink(ValueError):
    """The text is not a link, or not a whole one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where the gate is, the SHA-256 of its certificate in hexadecimal digits, and the host and its secret."""

    address: str
    port: int
    fingerprint: str
    host: str
    secret: str

    def __repr__(self) -> str:
        return f"<link of {self.host} to {self.address}:{self.port}>"  # never the secret: logs show what they are given

    def text(self) -> str:
        """The link as people carry it."""
        body = json.dumps(asdict(self), separators=(",", ":")).encode()
        return MARK + base64.urlsafe_b64encode(body).decode().rstrip("=")


def parse(text: str) -> Link:
    """The link that a text is. Raises `NoLink`."""
    body = text.strip().removeprefix(MARK)
    if not text.strip().startswith(MARK) or len(body) > _LONGEST:
        raise NoLink(f"this is not a link: it begins with {MARK}, as `ao host link NAME` printed it")
    try:
        found = json.loads(base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise NoLink(_DAMAGED) from error
    if not isinstance(found, dict) or not _whole(found):
        raise NoLink(_DAMAGED)
    return Link(**found)


def _whole(found: dict[str, object]) -> bool:
    port, fingerprint = found.get("port"), found.get("fingerprint")
    words = [found.get(name) for name in ("address", "host", "secret")]
    return (
        set(found) == {"address", "port", "fingerprint", "host", "secret"}
        and all(isinstance(word, str) and word for word in words)
        and isinstance(port, int)
        and 0 < port < _PORTS
        and isinstance(fingerprint, str)
        and _FINGERPRINT.fullmatch(fingerprint) is not None
    )
