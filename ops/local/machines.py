"""Looks at a machine over SSH before it is registered, and tidies up on one that was removed."""

import re
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aoweb.cli import printing
from aoweb.cli.service import Failed, Misused, Service
from orchestrator.domain.addresses import Address, fingerprint, parse_address
from orchestrator.ports import HostFacts, PortError, Sandbox
from workers.plugins.hosts.ssh.host import SshHost
from workers.plugins.hosts.ssh.link import host_key_of
from workers.plugins.hosts.ssh.machine import Machine

PATIENCE = 20.0
SLOTS = 8
LEAST_SPACE = 200_000_000
LITTLE_SPACE = 5_000_000_000


def add(
    service: Service,
    text: str,
    *,
    port: int | None,
    name: str | None,
    labels: Sequence[str] | None,
    slots: int | None,
    key: Path | None,
    pinned: str | None,
    yes: bool,
) -> None:
    """Pin its key, look at it, register it. Raises `Failed` and `Misused`."""
    address = _address(text, port)
    called = name or _name_of(address)
    known = next((row for row in service.pages("/hosts/") if row["name"] == called), None)
    kept: dict[str, Any] = known or {"folder": secrets.token_hex(6), "key_path": "", "capacity": SLOTS, "labels": []}
    host_key = _pinned(address, pinned, yes=yes)
    machine = Machine(
        name=called,
        address=address,
        host_key=host_key,
        folder=kept["folder"],
        key_path=str(key.expanduser().absolute()) if key is not None else kept["key_path"],
    )
    facts = _looked_at(machine, fresh=known is None)
    wanted = {
        "name": called,
        "address": str(address),
        "host_key": host_key,
        "key_path": machine.key_path,
        "folder": machine.folder,
        "capacity": kept["capacity"] if slots is None else slots,
        "labels": kept["labels"] if labels is None else list(labels),
    }
    row = service.write("/hosts/", wanted)
    if service.as_json:
        printing.as_json(row)
    else:
        _tell(row, facts)


def remove(service: Service, name: str) -> None:
    """Remove it from the service, then what we keep on it. Raises `Failed`."""
    row = service.write(f"/hosts/{quote(name, safe='')}/", method="DELETE")
    left = ""
    if row["kind"] == "worker":
        _tell_removed(service, name, left="")
        print(
            "Its link opens nothing any more; end its worker there with `ao stop`, and delete its home.",
            file=sys.stderr,
        )
        return
    host = SshHost(
        Machine(
            name=name,
            address=parse_address(row["address"]),
            host_key=row["host_key"],
            folder=row["folder"],
            key_path=row["key_path"],
        )
    )
    try:
        host.forget(timeout=PATIENCE)
    except PortError as error:
        left = f"what we kept there could not be deleted: {error}"
        print(f"ao: {left}", file=sys.stderr)
    _tell_removed(service, name, left=left)


def _tell_removed(service: Service, name: str, *, left: str) -> None:
    if service.as_json:
        printing.as_json({"removed": name, "left": left})
    else:
        print(f"removed {name}")


def _address(text: str, port: int | None) -> Address:
    try:
        found = parse_address(text)
    except ValueError as error:
        raise Misused(str(error)) from error
    return Address(user=found.user, host=found.host, port=port if port is not None else found.port)


def _name_of(address: Address) -> str:
    """A name for a machine: the first word of its own, or its whole number."""
    numbers = re.fullmatch(r"[0-9.:a-fA-F]+", address.host) is not None
    word = address.host if numbers else address.host.partition(".")[0]
    return re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")[:60] or "host"


def _pinned(address: Address, expected: str | None, *, yes: bool) -> str:
    """The key that the machine shows, once somebody has said that it is the right one."""
    try:
        host_key = host_key_of(address, timeout=PATIENCE)
    except PortError as error:
        raise Failed(str(error)) from error
    shown = fingerprint(host_key)
    if expected is not None:
        if shown != expected:
            raise Failed(
                f"{address} shows the host key {shown}, not {expected}: it is another machine, or somebody is in between"
            )
        return host_key
    print(f"{address} shows the host key {shown} ({host_key.split()[0]})", file=sys.stderr)
    if yes:
        return host_key
    if not sys.stdin.isatty():
        raise Failed(
            f"nobody is here to say that this is the right key: compare it on the machine (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then "
            f"give --fingerprint {shown}, or --yes to take it as it is"
        )
    print(
        "Is that the machine's key? It is pinned, and no other is taken later. [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise Failed("nothing was added")
    return host_key


def _looked_at(machine: Machine, *, fresh: bool) -> HostFacts:
    """What the machine says of itself, once hostkit runs there. Where it cannot be used, nothing of ours stays on it."""
    host = SshHost(machine)
    try:
        facts = host.facts(programs=("git",), timeout=PATIENCE)
        if facts.free_bytes < LEAST_SPACE:
            raise Failed(
                f"{machine.name} has {facts.free_bytes / 1e6:.0f} MB free in {facts.home}: make room there first"
            )
        return facts
    except PortError as error:
        raise Failed(str(error)) from error
    except Failed:
        if fresh:
            host.forget(timeout=PATIENCE)
        raise
    finally:
        host.close()


def _tell(row: dict[str, Any], facts: HostFacts) -> None:
    print(f"{row['name']} ({row['address']}) is a host now: up to {row['capacity']} sessions, below {facts.home}")
    print(f"  git {facts.git}, {facts.free_bytes / 1e9:.1f} GB free, host key {fingerprint(row['host_key'])}")
    if Sandbox.BUBBLEWRAP not in facts.sandboxes:
        print(
            "  no sandbox works there: apt install bubblewrap, and allow user namespaces, to keep agents from the machine"
        )
    if facts.free_bytes < LITTLE_SPACE:
        print("  there is little room: a few workspaces may fill it")
