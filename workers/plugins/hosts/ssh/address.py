"""Where a machine is, and what it and we prove ourselves with. Keys are shown as people know them: SHA256 fingerprints."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from orchestrator.ports import Refused

DEFAULT_PORT = 22
_ADDRESS = re.compile(
    r"(?P<user>[A-Za-z_][A-Za-z0-9._-]{0,31})@(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]{0,252})(?::(?P<port>\d{1,5}))?"
)
_FOLDER = re.compile(r"[a-z0-9]{4,40}")
# Made once for each row, so that two installations that share a machine and an account never take each other's sessions for strays.
FOLDER_BYTES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An account on a machine, as in `user@host:port`."""

    user: str
    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}" + (f":{self.port}" if self.port != DEFAULT_PORT else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine that sessions may run on. `host_key` is what was pinned when it was added: type and key, as known_hosts files say it.
    `key_path` names our private key; without one, the keys of the service's account and of its SSH agent are tried. `folder` is the name of
    what hostkit keeps there."""

    name: str
    address: Address
    host_key: str
    folder: str
    key_path: str = ""


def parse(text: str, *, port: int | None = None) -> Address:
    """Read `user@host[:port]`. Refused code: `bad-address`."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise Refused(f"{text[:80]!r} is not an address: write user@host or user@host:port", code="bad-address")
    number = port if port is not None else int(found["port"] or DEFAULT_PORT)
    if not 0 < number < 65536:
        raise Refused(f"{number} is not a port: 1 to 65535", code="bad-address")
    return Address(user=found["user"], host=found["host"].strip("[]"), port=number)


def checked_folder(name: str) -> str:
    """The name, if it is one harmless component of a path. Refused code: `bad-folder`."""
    if not _FOLDER.fullmatch(name):
        raise Refused(
            f"{name[:60]!r} is no name for a folder on a host: a-z and 0-9, 4 to 40 of them", code="bad-folder"
        )
    return name


def fingerprint(host_key: str) -> str:
    """`SHA256:...`, as ssh-keygen and every ssh client show it. Refused code: `bad-host-key`."""
    try:
        _, encoded = host_key.split()
        key = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error) as error:
        raise Refused(
            f"{host_key[:60]!r} is no host key: write its type and the key, as known_hosts files do",
            code="bad-host-key",
        ) from error
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
