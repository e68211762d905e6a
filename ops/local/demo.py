"""`ao demo`: the whole service on a home of its own, with sample repositories and scripted agents; throws everything away at the end."""

import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any

from ops.local import door
from ops.local import home as homes
from ops.local import servers as pairs
from ops.local.demo_play import agent, scenes
from ops.local.errors import CannotRun
from ops.local.home import Home
from ops.local.start import Doors, await_web, children, in_a_fork, listening, settle
from ops.local.tree import Child, Stopped, Tree, drain, rotated, told_to_stop
from workers.hostkit.serve import LOCK as SERVE_LOCK
from workers.plugins.hosts.local import LocalHost

PACE = 2.5  # seconds that a step of an agent takes when people watch
PATIENCE = 300.0
# These name servers, keys and addresses of a real installation; the demo has nothing to do with them.
REAL = ("DATABASE_URL", "REDIS_URL", "AO_SECRET_KEY", "AO_BASE_URL", "AO_HOME")
LOOK_EVERY = 0.5
SERVE_LEAVES = 10.0  # seconds that hostkit may take to see that its home is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asked for. `pace` None: a pace to watch, or none at all with `wait`."""

    home: Path
    port: int
    wait: bool
    as_json: bool
    keep: bool
    pace: float | None = None
    patience: float = PATIENCE


def default_home() -> Path:
    """Beside the real home, so that it is on a disk that was chosen for such things."""
    real = homes.default_home()
    return real.with_name(f"{real.name}-demo")


def demo(wanted: Wanted) -> int:
    """Play the demo; gives the exit code. Raises `CannotRun` when it cannot begin."""
    for name in REAL:
        os.environ.pop(name, None)
    home = fresh(wanted.home)
    code = 0
    try:
        with ExitStack() as stack:
            lock = stack.enter_context(homes.locked(home))
            listener = stack.enter_context(listening("127.0.0.1", wanted.port))
            waker, writer = stack.enter_context(told_to_stop())
            code = 1
            try:
                code = run(wanted, home, listener, waker, [lock, waker, writer])
            except Stopped:
                code = 130 if wanted.wait else 0
    finally:
        let_go(home)
        if wanted.keep or code == 1:
            print(f"kept: {home.path} (its logs: {home.logs})", file=sys.stderr)
        else:
            throw_away(home)
    return code


def run(wanted: Wanted, home: Home, listener: socket, waker: int, keep: list[int]) -> int:
    """Start the service and the person, and look after both until the end of the play or until told to stop."""
    began = time.monotonic()
    stage, result = home.path / "stage", home.path / "result.json"
    prepare(stage)
    pace = wanted.pace if wanted.pace is not None else (0.0 if wanted.wait else PACE)
    with serving(home, listener, keep) as (tree, ready):
        plays = door.load("ops.local.demo_play.person")
        patience = wanted.patience if wanted.wait else None
        person = Child(
            name="person",
            body=lambda: plays.play(plays.Stage(folder=stage, pace=pace), patience=patience, result=result),
            log=rotated(home.logs / "person.log"),
        )
        if wanted.wait:
            watch(tree, person, waker, keep)
            return tell(result, as_json=wanted.as_json, seconds=time.monotonic() - began, log=person.log)
        tree.children.append(person)
        welcome(ready, as_json=wanted.as_json, seconds=time.monotonic() - began)
        tree.tend(waker)
    return 0


@contextmanager
def serving(home: Home, listener: socket, keep: list[int]) -> Iterator[tuple[Tree, Any]]:
    """The service of `ao start`, for as long as the block runs."""
    os.environ["AO_PORT"] = str(listener.getsockname()[1])
    pair = pairs.launch(home, durable=False)
    tree = Tree(children=[], servers=pair, keep_from_children=keep)
    try:
        door.set_environment(home, pair.addresses)
        processes = door.load("ops.local.processes")
        processes.warm_up()
        pair.wait()
        ready, _ = in_a_fork(lambda: settle(home, None, None))
        tree.children = children(processes, home, Doors(web=listener), flower=False)
        tree.start()
        await_web(tree, listener.getsockname()[1], home)
        yield tree, ready
    finally:
        tree.stop()


def welcome(ready: Any, *, as_json: bool, seconds: float) -> None:
    """Tell the person where to look."""
    if as_json:
        print(ready.as_json(), flush=True)
        return
    print(
        f"The demo is up after {seconds:.1f} s: {len(scenes.SCENES)} tasks, scripted agents, and a reviewer who acts by itself."
    )
    print(f"  log in once: {ready.login_url}")
    print("Three tasks are left to you at the end. Ctrl-C stops everything, and nothing of it is kept.", flush=True)


def watch(tree: Tree, person: Child, waker: int, keep: list[int]) -> None:
    """Look after the service until the person has finished."""
    person.fork(keep)
    try:
        while person.died() is None:
            tree.tend_once()
            select.select([waker], [], [], LOOK_EVERY)
            drain(waker)
    finally:
        tree.children.append(person)  # it ends with the others, should it still be there


def tell(result: Path, *, as_json: bool, seconds: float, log: Path) -> int:
    """Say what came of it; 0 when every task is where it should be."""
    try:
        played = json.loads(result.read_text())
    except FileNotFoundError as error:
        raise CannotRun(f"the play broke off. Its last words are in {log}") from error
    rows = played["tasks"]
    if as_json:
        print(json.dumps({"tasks": rows}), flush=True)
    else:
        for row in rows:
            mark = "ok " if row["status"] == row["intended"] else "NOT"
            print(f"{mark} {row['title']}: {row['status']}, intended: {row['intended']}")
    wrong = [row["title"] for row in rows if row["status"] != row["intended"]]
    words = f"not as intended: {', '.join(wrong)}" if wrong else f"all {len(rows)} tasks are as intended"
    print(f"ao: {words} ({seconds:.1f} s)", file=sys.stderr)
    return 0 if played["settled"] else 1


# --- The stage ----------------------------------------------------------------------------------------------------------------------------


def prepare(stage: Path) -> None:
    """Put the repositories and the agent where agents' accounts may read them."""
    stage.mkdir()
    stage.chmod(0o755)
    script = stage / "agent.py"
    shutil.copyfile(agent.__file__, script)
    script.chmod(0o644)
    for name, files in scenes.SAMPLES.items():
        repository = stage / name
        repository.mkdir()
        for path, text in files.items():
            (repository / path).write_text(text)
        for words in (
            ("init", "--quiet", "--initial-branch=main"),
            ("add", "--all"),
            ("commit", "--quiet", "--message=Begin"),
        ):
            git(repository, *words)


def git(repository: Path, *words: str) -> None:
    """Run git as the demo's author, whatever this machine's own settings are."""
    settings = (
        "-c",
        "user.name=Demo",
        "-c",
        "user.email=demo@localhost",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "core.hooksPath=/dev/null",
    )
    done = subprocess.run(["git", *settings, *words], cwd=repository, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRun(f"git {words[0]} failed in {repository}: {done.stderr.strip()}")


# --- The home -----------------------------------------------------------------------------------------------------------------------------


def fresh(path: Path) -> Home:
    """An empty home that says that it is a demo's. One of an earlier demo is thrown away; anybody else's is refused."""
    home = Home(path=path.expanduser().absolute())
    if home.path.exists() and (not home.path.is_dir() or any(home.path.iterdir())):
        if not mark_of(home).is_file():
            raise CannotRun(f"{home.path} is not empty and not a demo's. Choose another place with --home DIR.")
        if homes.holder(home) is not None:
            raise CannotRun(
                f"a demo runs in {home.path} already. Stop it (Ctrl-C), or choose another place with --home DIR."
            )
        let_go(home)
        throw_away(home)
    prepared = homes.prepare(home.path)
    mark_of(prepared).touch()
    return prepared


def mark_of(home: Home) -> Path:
    """The file that says that a home is a demo's and may be thrown away."""
    return home.path / "this-is-a-demo"


def let_go(home: Home) -> None:
    """End whatever agents are still there, give their workspaces and accounts back, and see hostkit off."""
    place = home.path / "hostkit"
    if not (place / "run").is_dir():
        return
    host = LocalHost(place)
    try:
        for state in host.look(cursors={}, wait=0, timeout=20).runs:
            host.end(state.fence, epoch=state.epoch)
        for room in place.glob("rooms/[!.]*"):
            host.remove_workspace(room.name)
    finally:
        host.close()
    with (place / "run" / SERVE_LOCK).open("a") as lock:
        delete(place)
        deadline = time.monotonic() + SERVE_LEAVES
        # It holds this lock for as long as it lives, and leaves once its home is gone.
        while not free(lock.fileno()) and time.monotonic() < deadline:
            time.sleep(0.05)


def free(lock: int) -> bool:
    """Whether nobody holds the lock."""
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def throw_away(home: Home) -> None:
    """Delete the home, and its sockets where they are elsewhere."""
    delete(home.run)
    delete(home.path)


def delete(folder: Path) -> None:
    """Delete a folder that others may be deleting from at the same time, hence the tries."""
    for _ in range(50):
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
        if not folder.exists():
            return
        time.sleep(0.1)
    raise CannotRun(f"{folder} cannot be deleted. Delete it by hand: it is a demo's.")
