"""`ao host add` and `ao host remove`: what needs SSH, and therefore the machine whose workers will use the same keys."""

import importlib
from pathlib import Path
from typing import Annotated

import typer

from aoweb.cli.commands import command
from aoweb.cli.hosts import LabelsOption, NameArgument, hosts, split
from aoweb.cli.service import Service

MACHINES = "ops.local.machines"  # loaded when it is needed: speaking SSH takes a while to load


def add(
    service: Service,
    *,
    address: Annotated[str, typer.Argument(metavar="USER@HOST", help="An account on the machine.")],
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Where sshd listens. Default: 22.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What it is called here. Default: from HOST.")] = None,
    labels: LabelsOption = None,
    slots: Annotated[
        int | None, typer.Option("--slots", min=0, help="How many sessions may live there. Default: 8.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", help="The private key. Default: those of this account and its SSH agent.")
    ] = None,
    fingerprint: Annotated[
        str | None, typer.Option("--fingerprint", metavar="SHA256:...", help="The host key that the machine must show.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Pin whatever host key it shows now.")] = False,
) -> None:
    """Add a machine that is reached over SSH, or pin the new host key of one. It needs python3 and git, and nothing of ours."""
    importlib.import_module(MACHINES).add(
        service,
        address,
        port=port,
        name=name,
        labels=split(labels),
        slots=slots,
        key=key,
        pinned=fingerprint,
        yes=yes,
    )


def remove(service: Service, *, name: NameArgument) -> None:
    """Take a machine away, and what we keep on it; its sessions must have ended."""
    importlib.import_module(MACHINES).remove(service, name)


def add_commands() -> None:
    """Put these beside the client's own."""
    command(hosts, "add")(add)
    command(hosts, "remove")(remove)
