"""What has to be known of a machine to speak to it."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.addresses import Address


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
