"""`ao worker --join LINK`: this machine takes sessions for a service on another one, with hostkit and a worker of its own.

The link is used once and kept in the home, readable by us alone; from then on `ao worker` goes on without it.
"""

import json
import os
import secrets
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

from ops.local import door, tunnel
from ops.local import home as homes
from ops.local.crossing import POSTGRES, VALKEY
from ops.local.detached import launch_detached, ready_descriptor, tell_ready
from ops.local.errors import CannotRun
from ops.local.home import Home
from ops.local.release import code
from ops.local.tree import Child, Stopped, Tree, rotated, told_to_stop
from orchestrator.domain.links import Link, parse

AGAIN = 1.0  # seconds between two knocks at a gate that is shut
STOP_SECONDS = 5.0


def joined(home: Home) -> tunnel.Pass | None:
    """What opens the gate for this home; None where it never joined. Raises `CannotRun` for a file that cannot be read."""
    file = home.membership_file
    try:
        kept = json.loads(file.read_text())
        return tunnel.Pass(link=Link(**kept), machine=_machine(home), code=code())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CannotRun(f"{file} cannot be read: join again with another home (--home DIR) and a new link") from error


def use(text: str, home: Home) -> None:
    """Join by a link: knock at the gate, and keep what opens it from now on. Raises `CannotRun`, and `NoLink` for what is no link."""
    link = parse(sys.stdin.readline() if text == "-" else text)
    if (home.data / "postgres").exists():
        raise CannotRun(f"{home.path} holds a service of its own. Join with another home: --home DIR")
    with homes.locked(home):
        before = joined(home)
        if before is not None and before.link.host != link.host:
            raise CannotRun(
                f"{home.path} joined as {before.link.host} before, and what its sessions left is there. Join as {link.host} with "
                "another home: --home DIR"
            )
        try:
            tunnel.greet(tunnel.Pass(link=link, machine=_machine(home), code=code()))
        except (tunnel.Shut, tunnel.Refused) as error:
            raise CannotRun(f"{error}.") from error
        homes.write_private(home.membership_file, json.dumps(asdict(link)))


def _machine(home: Home) -> str:
    """What proves that this home is the one that used its link. It is there before the link is used, so that whoever was cut off in the
    middle may use it again."""
    file = home.path / "machine.key"
    if not file.exists():
        homes.write_private(file, secrets.token_urlsafe(32))
    return file.read_text().strip()


def work(home: Home) -> None:
    """Be the worker of the host that this home joined as, until told to stop. Raises `CannotRun`."""
    own = joined(home)
    if own is None:
        raise CannotRun(
            f"{home.path} has not joined a service. Make a link there (ao host link NAME), then: ao worker --join LINK"
        )
    homes.refuse_full_disk(home)
    tunnel.refusal(home).unlink(missing_ok=True)
    with ExitStack() as stack:
        lock = stack.enter_context(homes.locked(home))
        waker, writer = stack.enter_context(told_to_stop())
        try:
            _run(home, own, waker, [lock, waker, writer])
        except Stopped:
            if tunnel.refusal(home).exists():
                raise CannotRun(f"{tunnel.refusal(home).read_text()}.") from None
            print("stopped. Agents that are at work go on; the next start finds them again.", file=sys.stderr)


def _run(home: Home, own: tunnel.Pass, waker: int, keep: list[int]) -> None:
    greeting = _welcome(own)
    _set_environment(home, own, greeting)
    processes = door.load("ops.local.processes")
    processes.warm_up()
    way = Way(child=Child(name="tunnel", body=lambda: tunnel.keep(home, own), log=rotated(home.logs / "tunnel.log")))
    worker = Child(name="host", body=processes.joined_worker, log=rotated(home.logs / "host.log"))
    tree = Tree(children=[], servers=way, keep_from_children=[*keep, *ready_descriptor()])
    try:
        way.begin(tree.keep_from_children, home)
        tree.children = [worker]
        tree.start()
        name, where = own.link.host, f"{own.link.address}:{own.link.port}"
        if not tell_ready({"host": name, "service": greeting["base_url"]}, [f"{name} works for {where}"]):
            print(
                f"{name} works for {where}, home {home.path}. Ctrl-C stops the worker; agents that are at work go on.",
                flush=True,
            )
        tree.keep_from_children = keep
        way.descriptors = keep
        tree.tend(waker)
    finally:
        tree.stop()


def _welcome(own: tunnel.Pass) -> dict[str, Any]:
    """What the gate tells us. A machine that is on before its service waits for it."""
    told = ""
    while True:
        try:
            return tunnel.greet(own)
        except tunnel.Refused as refused:
            raise CannotRun(f"{refused}.") from refused
        except tunnel.Shut as shut:
            if str(shut) != told:
                told = str(shut)
                waits = f"{told}: it is tried again until it does"
                if not tell_ready({"host": own.link.host, "service": ""}, [waits]):
                    print(f"ao: {waits}", file=sys.stderr, flush=True)
            time.sleep(AGAIN)


def _set_environment(home: Home, own: tunnel.Pass, greeting: dict[str, Any]) -> None:
    """What the settings read: the servers are where the tunnel offers them."""
    database, broker = greeting[POSTGRES], greeting[VALKEY]
    paths = tunnel.sockets(home)
    folder, socket = quote(str(paths[POSTGRES].parent)), quote(str(paths[VALKEY]))
    os.environ |= {
        "DATABASE_URL": f"postgresql://{_login(database)}/{quote(database['name'])}?host={folder}",
        "REDIS_URL": f"unix://{_login(broker) if broker['password'] else ''}{socket}",
        "AO_JOINED": own.link.host,
        "AO_BASE_URL": str(greeting["base_url"]),
        "AO_SECRET_KEY": homes.secret_key(home),
    }
    door.set_environment(home, None)


def _login(server: dict[str, str]) -> str:
    word = f":{quote(server['password'], safe='')}" if server["password"] else ""
    return f"{quote(server['user'], safe='')}{word}@"


def work_detached(home: Home) -> None:
    """Be the worker in the background; returns when it is up."""
    answer = launch_detached(home, ["worker", "--home", str(home.path)])
    for sentence in answer["told"]:
        print(sentence)
    print(f"home {home.path}; stop it with `ao stop --home {home.path}`")


@dataclass(slots=True, kw_only=True)
class Way:
    """The tunnel, as the tree sees the servers: before the worker there, after it gone, and there again when it died."""

    child: Child
    descriptors: list[int] | None = None

    def begin(self, descriptors: list[int], home: Home) -> None:
        """Start it, and return when the sockets are offered."""
        self.descriptors = descriptors
        for path in tunnel.sockets(home).values():
            path.unlink(missing_ok=True)
        self.child.fork(descriptors)
        while not all(path.is_socket() for path in tunnel.sockets(home).values()):
            if self.child.died() is not None:
                raise CannotRun(f"the tunnel to the service does not start: see {self.child.log}")
            time.sleep(0.01)

    def tend(self) -> list[str]:
        """Start it again where it has died."""
        code = self.child.died()
        if self.child.pid is None and time.monotonic() >= self.child.not_before:
            self.child.fork(self.descriptors or [])
        return [f"tunnel (it ended with {code})"] if code is not None else []

    def stop(self) -> None:
        """End it."""
        deadline = time.monotonic() + STOP_SECONDS
        while self.child.pid is not None and self.child.died() is None:
            os.kill(self.child.pid, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
            time.sleep(0.02)
