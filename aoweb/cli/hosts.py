"""`ao host`: the machines on which sessions run. Adding and removing one needs SSH, which the machine of the service has: `ops.local`."""

from __future__ import annotations

import sys
from typing import Annotated, Any
from urllib.parse import quote

import typer
from typer.core import TyperGroup

from aoweb.cli import printing
from aoweb.cli.commands import command
from aoweb.cli.service import Misused, Service


class _Hosts(TyperGroup):
    """`ao host` lists, and `ao host NAME --capacity 3` changes, without the word for it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = args and args[0] in {*self.commands, "--help", "-h"}
        return super().parse_args(ctx, args if named else ["show", *args])


hosts = typer.Typer(
    cls=_Hosts, help="List, add, change, drain and remove the machines on which sessions run.", no_args_is_help=False
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The host's name.")]
LabelsOption = Annotated[
    str | None, typer.Option("--labels", metavar="A,B", help="Tasks that are labelled host:A run on hosts that have A.")
]


@command(hosts, "show")
def show(
    service: Service,
    *,
    name: Annotated[str | None, typer.Argument(help="One host; else all.")] = None,
    drain: Annotated[
        bool | None, typer.Option("--drain/--resume", help="Take no new sessions, or take them again.")
    ] = None,
    capacity: Annotated[
        int | None, typer.Option("--capacity", "--slots", min=0, help="How many sessions may live there.")
    ] = None,
    labels: LabelsOption = None,
) -> None:
    """List the machines, or show or change one."""
    wanted = (("draining", drain), ("capacity", capacity), ("labels", split(labels)))
    change = {key: value for key, value in wanted if value is not None}
    if change and name is None:
        raise Misused("say which host")
    if name is None:
        list_hosts(service)
    else:
        _tell(service, service.write(_path(name), change, method="PATCH") if change else service.get(_path(name)))


@command(hosts, "list")
def list_all(service: Service) -> None:
    """List the machines."""
    list_hosts(service)


@command(hosts, "drain")
def drain_one(service: Service, *, name: NameArgument) -> None:
    """Place no new sessions on it; those that live there go on to their end."""
    _tell(service, service.write(_path(name), {"draining": True}, method="PATCH"))


@command(hosts, "undrain")
def undrain(service: Service, *, name: NameArgument) -> None:
    """Place sessions on it again."""
    _tell(service, service.write(_path(name), {"draining": False}, method="PATCH"))


@command(hosts, "link")
def link(
    service: Service,
    *,
    name: NameArgument,
    capacity: Annotated[
        int, typer.Option("--capacity", "--slots", min=0, help="How many sessions may live there.")
    ] = 8,
    labels: LabelsOption = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="ADDRESS", help="Where the machine reaches this one. Default: where the gate listens."
        ),
    ] = None,
    minutes: Annotated[
        int, typer.Option("--minutes", min=1, max=7 * 24 * 60, help="For how long the link may be used.")
    ] = 60,
) -> None:
    """Make the link by which a trusted machine joins with a worker of its own: `ao worker --join LINK` there."""
    wanted = {
        "name": name,
        "capacity": capacity,
        "labels": split(labels) or [],
        "address": at or "",
        "minutes": minutes,
    }
    body = service.secret("/host-links/", wanted)
    if service.as_json:
        printing.as_json(body)
        return
    print(body["link"])
    until = f"{body['expires_at'][:16]} UTC"
    print(
        f"The link is a secret: whoever uses it gets at the database and the broker. It works once, on one machine, until {until}.\n"
        f"On the machine, from the same version of this program: ./ao worker --join LINK (it knocks at {body['gate']})",
        file=sys.stderr,
    )


def list_hosts(service: Service) -> None:
    rows = list(service.pages("/hosts/"))
    if service.as_json:
        printing.as_json({"hosts": rows})
    else:
        _table(rows)


def split(labels: str | None) -> list[str] | None:
    """The labels of `--labels a,b`; none when it is empty."""
    return None if labels is None else [label.strip() for label in labels.split(",") if label.strip()]


def _tell(service: Service, row: dict[str, Any]) -> None:
    if service.as_json:
        printing.as_json(row)
    else:
        _table([row])


def _table(rows: list[dict[str, Any]]) -> None:
    heading = ("HOST", "KIND", "ADDRESS", "LIVE", "CAPACITY", "LABELS", "DRAINING", "SEEN", "TROUBLE")
    keys = ("name", "kind", "address", "live_sessions", "capacity", "labels", "draining", "seen_at", "trouble")
    told = [{**row, "labels": ",".join(row["labels"])} for row in rows]
    printing.table([heading, *(tuple(row[key] for key in keys) for row in told)])


def _path(name: str) -> str:
    return f"/hosts/{quote(name, safe='')}/"
