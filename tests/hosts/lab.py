"""An installation inside a test whose agents run on a machine over SSH; this machine takes none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from orchestrator.models import Host
from orchestrator.services import hosts
from tests import lab as labs
from tests.fakes.flaky import FlakyHost
from tests.hosts.machines import ACCOUNT, Machine, machine
from workers import runner
from workers.observers import HostChannel
from workers.plugins.builtin import machine_of
from workers.plugins.hosts.ssh.host import SshHost
from workers.toolbox import Toolbox


@dataclass(slots=True, kw_only=True)
class SpareLab(labs.Lab):
    """The installation, and its spare machine."""

    machine: Machine
    spare: Host
    spare_port: SshHost
    port_to_spare: FlakyHost  # the same, with faults
    spare_channel: HostChannel
    account: str

    def step(self) -> None:
        labs.Lab.step(self)
        runner.run_due(queues=[self.spare.queue], tools=self.tools)
        self.spare_channel.once()

    def equip(self, tools: Toolbox) -> None:
        labs.Lab.equip(self, tools)
        self.spare_channel = HostChannel(host_name="spare", holder="lab", tools=tools, wait=0)

    def pin_anew(self) -> None:
        """Say that the key that the machine has now is the right one."""
        self.spare_port.close()
        self.spare = add(self.machine, self, account=self.account)
        self.port_to_spare.inner = self.spare_port = SshHost(machine_of(self.spare))


@contextmanager
def spare(*, account: str = ACCOUNT, files: Mapping[str, str] | None = None, **settings: object) -> Iterator[SpareLab]:
    """A machine, and an installation with one project whose sessions it takes."""
    with machine() as made, labs.lab(files, **settings) as here:
        Host.objects.update(draining=True)
        row = add(made, here, account=account)
        port = SshHost(machine_of(row))
        flaky = FlakyHost(inner=port)
        tools = replace(here.tools, host=lambda row: flaky.port if row.kind == Host.Kind.SSH else here.port.port)
        channel = HostChannel(host_name="spare", holder="lab", tools=tools, wait=0)
        fields = {name: getattr(here, name) for name in labs.Lab.__dataclass_fields__} | {"tools": tools}
        spare_lab = SpareLab(
            **fields,
            machine=made,
            spare=row,
            spare_port=port,
            port_to_spare=flaky,
            spare_channel=channel,
            account=account,
        )
        try:
            yield spare_lab
        finally:
            spare_lab.spare_port.close()


def add(made: Machine, here: labs.Lab, *, account: str) -> Host:
    """The machine as a host of the installation, with the key that it has now."""
    row, _ = hosts.add(
        name="spare",
        address=f"{account}@{made.address}",
        host_key=made.host_key,
        key_path=str(made.key),
        capacity=30,
        labels=["fast"],
        actor=here.me,
    )
    return row
