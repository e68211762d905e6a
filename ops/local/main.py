"""The `ao` command: what runs the service on this machine, together with the client that speaks to it."""

import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
from typer import Abort
from typer._click.exceptions import UsageError  # typer shows no other name for it

from aoweb.cli.main import app as client
from ops.local import check, demo, doctor, door, hosts, joining
from ops.local import home as homes
from ops.local.detached import tell_failure
from ops.local.errors import CannotRun
from ops.local.start import Wanted, listening, start, start_detached, stop
from orchestrator.domain.links import NoLink

DEFAULT_PORT = 3000
DEFAULT_GATE_PORT = 3001

app = typer.Typer(
    name="ao",
    help="Takes coding tasks to merged pull requests. Start the service with `ao start PATH-or-URL`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
run = typer.Typer(help="Run one process of the service in the foreground (containers, systemd).", no_args_is_help=True)

HomeOption = Annotated[Path | None, typer.Option("--home", help="The installation's folder. Default: AO_HOME.")]
PortOption = Annotated[
    int, typer.Option("--port", envvar="AO_PORT", min=0, max=65535, help="The web's port; 0: any free one.")
]
ListenOption = Annotated[
    str | None,
    typer.Option(
        "--listen",
        envvar="AO_LISTEN",
        metavar="ADDRESS[:PORT]",
        help=f"Let machines join (ao host link) at this address; port {DEFAULT_GATE_PORT} unless said otherwise. Default: nothing listens.",
    ),
]


@app.command("start")
def start_command(
    *,
    source: Annotated[str | None, typer.Argument(metavar="[PATH-or-URL]", help="The repository to work on.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="An agent-orchestrator.yaml to apply.")] = None,
    home: HomeOption = None,
    port: PortOption = DEFAULT_PORT,
    detach: Annotated[bool, typer.Option("--detach", help="Return when the service is up.")] = False,
    listen: ListenOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print url, login_url and token as one line of JSON.")
    ] = False,
    flower: Annotated[bool, typer.Option("--flower", help="Run the queue monitor at /flower/ too.")] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the board in a browser.")] = False,
) -> None:
    """Start the service, on PATH-or-URL when given; Ctrl-C stops it and the next start goes on."""
    wanted = Wanted(
        source=source,
        config=config,
        home=(home or homes.default_home()).expanduser().absolute(),
        port=port,
        listen=gate_of(listen) if listen else None,
        as_json=as_json,
        flower=flower,
        open_page=not no_open,
    )
    if detach:
        start_detached(wanted, [word for word in sys.argv[1:] if word != "--detach"])
        return
    start(wanted)


@app.command("stop")
def stop_command(*, home: HomeOption = None) -> None:
    """Stop the service that runs on this machine; agents that are at work go on."""
    where = homes.Home(path=(home or homes.default_home()).expanduser().absolute())
    print("stopped" if stop(where) else f"nothing is running in {where.path}")


@app.command("worker")
def worker_command(
    *,
    join: Annotated[
        str | None,
        typer.Option(
            "--join", metavar="LINK", help="Join the service that made this link (ao host link); - reads it from stdin."
        ),
    ] = None,
    queue: Annotated[
        list[str] | None,
        typer.Option(
            "--queue", "-q", help="Where the service runs: a queue to listen to, such as control or host.local."
        ),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What it is called, with --queue.")] = "worker",
    home: HomeOption = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when the worker is up.")] = False,
) -> None:
    """Work for the service on another machine that this one joins or has joined, or run one more worker where the service is."""
    installation = homes.prepare((home or homes.default_home()).expanduser().absolute())
    if queue:
        if join or detach:
            raise UsageError("--queue is for the machine of the service, --join and --detach are for others.")
        more_work(installation, name, queue)
        return
    if join is not None:
        try:
            joining.use(join, installation)
        except NoLink as error:
            raise UsageError(f"{error}.") from error
    if detach:
        joining.work_detached(installation)
    elif join is not None:
        # Once more without the link, which others could read among our words for as long as we run.
        words = [sys.executable, "-m", "ops.local.main", "worker", "--home", str(installation.path)]
        os.execv(sys.executable, words)  # noqa: S606 that is what is meant
    else:
        joining.work(installation)


def more_work(installation: homes.Home, name: str, queues: list[str]) -> None:
    """One more worker in the foreground, for the given queues of the service on this machine."""
    if not door.own_servers() and homes.holder(installation) is None:
        raise CannotRun(f"nothing is running in {installation.path} to work for. Start the service first: ao start")
    with door.reachable(installation):
        door.load("ops.local.processes").worker(name, queues)


def gate_of(text: str) -> tuple[str, int]:
    """Where the gate is to listen: ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT."""
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\s]+)(?::(\d{1,5}))?|([0-9a-fA-F:.]+)", text)
    port = int(found[2]) if found and found[2] else DEFAULT_GATE_PORT
    if found is None or port > 65535:
        raise UsageError(f"{text!r} is not ADDRESS or ADDRESS:PORT.")
    return (found[1] or found[3]).strip("[]"), port


@app.command("demo")
def demo_command(
    *,
    home: Annotated[
        Path | None, typer.Option("--home", help="A folder for this demo. Default: beside AO_HOME.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", envvar="AO_PORT", min=0, max=65535, help="Default: 3000; with --wait any free one."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Play fast, and end when every task is as intended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome (or url and token) as JSON.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder at the end.")] = False,
    pace: Annotated[float | None, typer.Option("--pace", min=0, help="Seconds that a step of an agent takes.")] = None,
) -> None:
    """Show the whole loop on sample repositories with scripted agents; nothing of it is kept."""
    place = (home or demo.default_home()).expanduser().absolute()
    door_to_board = port if port is not None else 0 if wait else DEFAULT_PORT
    wanted = demo.Wanted(home=place, port=door_to_board, wait=wait, as_json=as_json, keep=keep, pace=pace)
    raise typer.Exit(demo.demo(wanted))


@app.command("doctor")
def doctor_command(*, home: HomeOption = None, port: PortOption = DEFAULT_PORT) -> None:
    """Look at this machine and this installation, and say what to do about what is wrong."""
    findings = doctor.examine((home or homes.default_home()).expanduser().absolute(), port)
    for finding in findings:
        print(finding.told)
    if any(finding.grave for finding in findings):
        raise typer.Exit(1)


@app.command("test", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def test_command(context: typer.Context) -> None:
    """Run every check of this project; arguments go to pytest, and then only pytest runs."""
    raise typer.Exit(check.everything(context.args))


@app.command(
    "manage",
    hidden=True,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def manage_command(context: typer.Context) -> None:
    """Run a command of Django's, with the servers of the installation at hand."""
    with door.reachable(homes.prepare(homes.default_home())):
        door.load("django.core.management").execute_from_command_line(["ao manage", *context.args])


@run.command("web")
def run_web(*, port: PortOption = DEFAULT_PORT) -> None:
    """Serve pages, API and sockets on AO_BIND (0.0.0.0 in a container)."""
    with listening(os.environ.get("AO_BIND", "127.0.0.1"), port) as listener:
        serve().web(listener)


@run.command("control")
def run_control() -> None:
    """Decide, sweep, speak to forges and people."""
    serve().control_worker()


@run.command("host")
def run_host() -> None:
    """Carry out the jobs that touch this machine's workspaces and agents."""
    serve().host_worker()


@run.command("gate")
def run_gate(*, listen: Annotated[str, typer.Option("--listen", envvar="AO_LISTEN", metavar="ADDRESS[:PORT]")]) -> None:
    """Let machines join (ao host link) at this address."""
    serve()
    home, gate = homes.prepare(homes.default_home()), door.load("ops.local.gate")
    with listening(*gate_of(listen), option="--listen ADDRESS:N") as listener:
        for sentence in door.load("ops.local.installation").settle_gate(home, listener):
            print(sentence, flush=True)
        gate.serve(listener, gate.certificate(home))


@run.command("beat")
def run_beat() -> None:
    """Ring on schedule."""
    serve().beat()


@run.command("flower")
def run_flower(
    *, socket: Annotated[Path, typer.Option("--socket", help="Its unix socket, in a private folder.")]
) -> None:
    """Serve the queue monitor on a unix socket; AO_FLOWER_AUTH holds its name:password."""
    serve().flower(socket)


@run.command("healthy")
def run_healthy(*, name: Annotated[str, typer.Argument(help="web, control, host, beat or flower")]) -> None:
    """Say by the exit code whether a process of this machine is well (health checks of containers)."""
    serve()
    if not door.load("ops.local.health").WELL[name]():
        raise CannotRun(f"{name} is not well")


@run.command("migrate")
def run_migrate() -> None:
    """Bring the database up to date, make the owner's account, print a one-time login link."""
    serve()
    ready = door.load("ops.local.installation").settle(homes.prepare(homes.default_home()), "admin")
    print(f"log in once: {ready.login_url}")


def serve() -> ModuleType:
    """Load the processes for servers of one's own."""
    if not door.own_servers():
        raise CannotRun(
            "DATABASE_URL and REDIS_URL are not set. `ao start` runs everything with embedded servers instead."
        )
    door.set_environment(homes.prepare(homes.default_home()), None)
    return door.load("ops.local.processes")


app.add_typer(run, name="run", hidden=True)
hosts.add_commands()
# Beside our own, not below them: to the person at the terminal it is one `ao`.
app.registered_commands += client.registered_commands
app.registered_groups += client.registered_groups


def main() -> None:
    """Run the command line. What cannot be done is one line on standard error and exit code 1; wrong usage is one and exit code 2."""
    try:
        raise SystemExit(app(prog_name="ao", standalone_mode=False) or 0)
    except CannotRun as error:
        tell_failure(error)
        print(f"ao: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "ao"
        if error.format_message():  # without a command the help was the answer
            print(f"ao: {error.format_message()} See: {where} --help", file=sys.stderr)
        raise SystemExit(2) from None
    except Abort:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
