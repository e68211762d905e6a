"""Reaching a test's machine over SSH, as an installation would that has added it as a host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.domain.addresses import Address
from tests.hosts.machines import ACCOUNT, Machine
from workers.plugins.hosts.ssh.host import SshHost
from workers.plugins.hosts.ssh.machine import Machine as Reached

FOLDER = "abcd1234"


def reached(
    machine: Machine, *, account: str = ACCOUNT, host_key: str | None = None, key_path: str | None = None
) -> Reached:
    """What an installation knows of the machine."""
    return Reached(
        name="spare",
        address=Address(user=account, host=machine.address),
        host_key=machine.host_key if host_key is None else host_key,
        folder=FOLDER,
        key_path=str(machine.key) if key_path is None else key_path,
    )


@contextmanager
def ssh_host(machine: Machine, *, account: str = ACCOUNT) -> Iterator[SshHost]:
    """The machine as a host; hung up at the end."""
    host = SshHost(reached(machine, account=account))
    try:
        yield host
    finally:
        host.close()
