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
from workers.plugins import builtin
from workers.plugins.hosts.ssh.host import SshHost


@dataclass(slots=True, kw_only=True)
class SpareLab(labs.Lab):
    """The installation, and its spare machine."""

    machine: Machine
    spare: Host
    spare_port: SshHost
    port_to_spare: FlakyHost  # the same, with faults
    spare_channel: HostChannel

    def step(self) -> None:
        labs.Lab.step(self)
        runner.run_due(queues=[self.spare.queue], tools=self.tools)
        self.spare_channel.once()


@contextmanager
def spare_lab(
    made: Machine, *, account: str = ACCOUNT, files: Mapping[str, str] | None = None, **settings: object
) -> Iterator[SpareLab]:
    """One project, one machine over SSH that takes its sessions."""
    with labs.lab(files, **settings) as here:
        Host.objects.update(draining=True)
        spare, _ = hosts.add(
            name="spare",
            address=f"{account}@{made.address}",
            host_key=made.host_key,
            key_path=str(made.key),
            capacity=30,
            labels=["fast"],
            actor=here.me,
        )
        port = builtin.host(spare, home=here.home)
        assert isinstance(port, SshHost)
        flaky = FlakyHost(inner=port)
        tools = replace(here.tools, host=lambda row: flaky.port if row.kind == Host.Kind.SSH else here.port.port)
        channel = HostChannel(host_name="spare", holder="lab", tools=tools, wait=0)
        fields = {name: getattr(here, name) for name in labs.Lab.__dataclass_fields__}
        fields |= {"tools": tools}
        try:
            yield SpareLab(
                **fields, machine=made, spare=spare, spare_port=port, port_to_spare=flaky, spare_channel=channel
            )
        finally:
            port.close()


@contextmanager
def spare(**settings: object) -> Iterator[SpareLab]:
    """A machine, and the installation that has it."""
    with machine() as made, spare_lab(made, **settings) as here:  # type: ignore[arg-type]
        yield here
