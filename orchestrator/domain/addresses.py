"""Where a machine is, and what it proves itself with, as people write and read them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

DEFAULT_PORT = 22
_ADDRESS = re.compile(
    r"(?P<user>[A-Za-z_][A-Za-z0-9._-]{0,31})@(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9][A-Za-z0-9.-]{0,100})(?::(?P<port>\d{1,5}))?"
)
_HOST_KEY = re.compile(r"[a-z0-9@.-]{4,60} [A-Za-z0-9+/=]{40,2000}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An account on a machine, as in `user@host:port`."""

    user: str
    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}" + (f":{self.port}" if self.port != DEFAULT_PORT else "")


def parse_address(text: str) -> Address:
    """Read `user@host[:port]`. Raises ValueError that says what is taken."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:80]!r} is not an address: write user@host or user@host:port")
    port = int(found["port"] or DEFAULT_PORT)
    if not 0 < port < 65536:
        raise ValueError(f"{port} is not a port: 1 to 65535")
    return Address(user=found["user"], host=found["host"].strip("[]"), port=port)


def fingerprint(host_key: str) -> str:
    """A host key (`ssh-ed25519 AAAA...`) as `SHA256:...`, which is how every ssh client shows it. Raises ValueError."""
    refused = ValueError(f"{host_key[:60]!r} is no host key: write its type and the key, as known_hosts files do")
    if not _HOST_KEY.fullmatch(host_key):
        raise refused
    try:
        key = base64.b64decode(host_key.split()[1], validate=True)
    except binascii.Error as error:
        raise refused from error
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
