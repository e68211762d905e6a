"""`ao start`: the whole service from one command, and `ao stop`."""

import errno
import getpass
import http.client
import json
import os
import pickle
import signal
import socket
import sys
import time
import traceback
import webbrowser
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

from ops.local import door, github_login
from ops.local import home as homes
from ops.local import servers as pairs
from ops.local.detached import launch_detached, ready_descriptor, tell_ready
from ops.local.errors import CannotRun
from ops.local.home import VERSION, Home
from ops.local.register import Found, look
from ops.local.server import last_lines
from ops.local.tree import Child, Stopped, Tree, rotated, told_to_stop

WEB_SECONDS = 60.0
PORT_SECONDS = 4.0
STOP_SECONDS = 40.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asked for."""

    source: str | None
    config: Path | None
    home: Path
    port: int
    listen: tuple[str, int] | None
    as_json: bool
    flower: bool
    open_page: bool


def start(wanted: Wanted) -> None:
    """Run the service in this process until told to stop. Raises `CannotRun` before anything is left half done."""
    if github_login.adopt():
        say(wanted, "GitHub: logged in with what `gh` holds, since GITHUB_TOKEN is not set")
    # What is wrong with the request is said before anything is started for it.
    found = look(wanted.source) if wanted.source else None
    if wanted.config is not None and not wanted.config.is_file():
        raise CannotRun(f"{wanted.config} is not there. Give the path of an agent-orchestrator.yaml or a WORKFLOW.md.")
    home = homes.prepare(wanted.home)
    if home.membership_file.exists():
        raise CannotRun(
            f"{home.path} is of a machine that joined another service. Choose another home with --home DIR."
        )
    with ExitStack() as stack:
        lock = stack.enter_context(homes.locked(home))
        listener = stack.enter_context(listening(os.environ.get("AO_BIND", "127.0.0.1"), wanted.port))
        gate = stack.enter_context(listening(*wanted.listen, option="--listen ADDRESS:N")) if wanted.listen else None
        waker, writer = stack.enter_context(told_to_stop())
        try:
            run(wanted, home, found, Doors(web=listener, gate=gate), waker, [lock, waker, writer])
        except Stopped:
            say(wanted, "stopped. Agents that are at work go on; the next start finds them again.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """What listens: the web, and the gate for machines that join where one is wanted."""

    web: socket.socket
    gate: socket.socket | None = None


def run(wanted: Wanted, home: Home, found: Found | None, doors: Doors, waker: int, keep: list[int]) -> None:
    """Servers, tables, processes, and then look after them."""
    began = time.monotonic()
    port = doors.web.getsockname()[1]
    os.environ["AO_PORT"] = str(port)
    pair = None if door.own_servers() else pairs.launch(home)
    tree = Tree(children=[], servers=pair, keep_from_children=[*keep, *ready_descriptor()])
    try:
        door.set_environment(home, pair.addresses if pair else None)
        processes = door.load("ops.local.processes")
        processes.warm_up()
        if pair is not None:
            pair.wait()
        ready, told = in_a_fork(lambda: settle(home, found, wanted.config, doors.gate))
        tree.children = children(processes, home, doors, flower=wanted.flower)
        tree.start()
        await_web(tree, port, home)
        announce(wanted, home, ready, told, time.monotonic() - began)
        tree.keep_from_children = keep
        tree.tend(waker)
    finally:
        tree.stop()


def listening(address: str, port: int, *, option: str = "--port N") -> socket.socket:
    """Bind the web's port. The parent keeps it open, so that a restart of the web refuses nobody.

    The processes of a supervisor that was killed may hold the port for a moment longer than it lived."""
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    deadline = time.monotonic() + PORT_SECONDS
    try:
        while not bound(listener, address, port, last=time.monotonic() > deadline):
            time.sleep(0.05)
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CannotRun(
            f"port {port} on {address} cannot be used: {why}. Choose another with {option} (0: any)."
        ) from error
    return listener


def bound(listener: socket.socket, address: str, port: int, *, last: bool) -> bool:
    """Bind once; False while somebody holds the port. The last try raises instead."""
    try:
        listener.bind((address, port))
    except OSError as error:
        if last or error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


def children(processes: ModuleType, home: Home, doors: Doors, *, flower: bool) -> list[Child]:
    """The processes of the service."""
    bodies: dict[str, Callable[[], None]] = {
        "web": lambda: processes.web(doors.web),
        "control": processes.control_worker,
        "host": processes.host_worker,
        "beat": processes.beat,
    }
    if doors.gate is not None:
        gate, listener = door.load("ops.local.gate"), doors.gate
        bodies["gate"] = lambda: gate.serve(listener, gate.certificate(home))
    if flower:
        path = processes.prepare_flower(home.run / "flower")
        bodies["flower"] = lambda: processes.flower(path)
    return [Child(name=name, body=body, log=rotated(home.logs / f"{name}.log")) for name, body in bodies.items()]


def settle(
    home: Home, found: Found | None, config: Path | None, gate: socket.socket | None = None
) -> tuple[Any, list[str]]:
    """Make the installation whole and register the repository; runs in a fork of its own."""
    installation = door.load("ops.local.installation")
    ready = installation.settle(home, getpass.getuser())
    told: list[str] = installation.settle_gate(home, gate)
    workflow = config is not None and config.suffix.lower() == ".md"
    # The file first: it may know the repository by another name than its folder's. A workflow is that of the repository.
    if config is not None and not workflow:
        told += door.load("ops.local.configuration").apply(config, installation.owner())
    if found is not None:
        told += door.load("ops.local.registration").register(found, installation.owner())
    if config is not None and workflow:
        told += door.load("ops.local.configuration").apply_workflow(config, found, installation.owner())
    return ready, told


def in_a_fork(work: Callable[[], Answer]) -> Answer:
    """Do something in a forked process and bring its answer back: its connections and threads end with it.

    The answer is pickled, by ourselves for ourselves.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        answer_and_leave(work, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        data = stream.read()
    os.waitpid(pid, 0)
    if not data:
        raise CannotRun("preparing the database failed; what went wrong stands above.")
    answer = pickle.loads(data)  # noqa: S301 from our own fork
    if isinstance(answer, CannotRun):
        raise answer
    return cast(Answer, answer)


def answer_and_leave(work: Callable[[], object], writer: int) -> None:
    """Become the fork: never returns."""
    try:
        with os.fdopen(writer, "wb") as stream:
            stream.write(pickle.dumps(answer_or_reason(work)))
    finally:
        trouble = sys.exc_info()[1]
        if trouble is not None:
            traceback.print_exception(trouble)
        sys.stderr.flush()
        os._exit(0)


def answer_or_reason(work: Callable[[], object]) -> object:
    """The answer, or the sentence that says why there is none."""
    try:
        return work()
    except CannotRun as reason:
        return reason


def await_web(tree: Tree, port: int, home: Home) -> None:
    """Return when the web answers."""
    deadline = time.monotonic() + WEB_SECONDS
    while not answers(port):
        tree.tend_once()
        if time.monotonic() > deadline or any(child.failures >= 3 for child in tree.children if child.name == "web"):
            raise CannotRun(f"the web does not come up. Its last words:\n{last_lines(home.logs / 'web.log')}")
        time.sleep(0.02)


def answers(port: int) -> bool:
    """Ask the web whether it is there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/healthz", headers={"Host": "localhost"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def announce(wanted: Wanted, home: Home, ready: Any, told: list[str], seconds: float) -> None:
    """Tell the person where it is; tell the process that started us detached the same."""
    line = ready.as_json()
    if tell_ready(json.loads(line), told):
        return
    if wanted.as_json:
        print(line, flush=True)
        return
    say(wanted, f"Agent Orchestrator {VERSION} is up after {seconds:.1f} s, home {home.path}")
    for sentence in told:
        say(wanted, f"  {sentence}")
    say(wanted, f"  board:      {ready.url}")
    say(wanted, f"  log in once: {ready.login_url}")
    say(wanted, "Ctrl-C stops the service; agents that are at work go on.")
    if wanted.open_page and sys.stdout.isatty() and (os.environ.get("DISPLAY") or sys.platform == "darwin"):
        webbrowser.open(ready.login_url)


def say(wanted: Wanted, sentence: str) -> None:
    """Speak to the person, unless a program is listening."""
    print(sentence, file=sys.stderr if wanted.as_json else sys.stdout, flush=True)


def start_detached(wanted: Wanted, arguments: list[str]) -> None:
    """Start the service in the background, and return when it is up."""
    answer = launch_detached(homes.prepare(wanted.home), arguments)
    if wanted.as_json:
        print(json.dumps(answer["ready"]), flush=True)
        return
    for sentence in answer["told"]:
        print(sentence)
    print(f"board:       {answer['ready']['url']}\nlog in once: {answer['ready']['login_url']}\nstop it with `ao stop`")


def stop(home: Home) -> bool:
    """Stop the service of a home and wait for its end; False when none was running."""
    pid = homes.holder(home)
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError as error:
        raise CannotRun(f"process {pid} belongs to somebody else. Stop it as its owner.") from error
    except ProcessLookupError:
        return True
    deadline = time.monotonic() + STOP_SECONDS
    while homes.holder(home) is not None:
        if time.monotonic() > deadline:
            raise CannotRun(f"process {pid} did not stop within {STOP_SECONDS:.0f} s. End it with: kill -9 {pid}")
        time.sleep(0.05)
    return True
