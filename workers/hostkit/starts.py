"""Starting and ending runs, exactly once per id and never against the fence.

`start` is called in a child of serve, which becomes the run's guard. What must be true after any crash is on disk before the program runs:
the fence's epoch first, then the run's folder by one rename.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from workers.hostkit import accounts, disk, launch, processes, records, rooms, sandbox
from workers.hostkit.bell import Bell
from workers.hostkit.errors import Refused, Unavailable, Unstartable
from workers.hostkit.guard import Guard
from workers.hostkit.records import RunFolder

GONE_WAIT = 3.0  # seconds that a guard gets to finish after its last grace
KEEP_TOMBSTONES = 7 * 24 * 3600


class Here(NamedTuple):
    """What an operation knows of the machine it is on."""

    layout: disk.Layout
    ways: sandbox.Ways


class Caller(Protocol):
    """Who is to be answered."""

    def send(self, content: dict[str, Any]) -> None: ...

    def leave(self) -> None:
        """Let go of the connection in this process; another one answers."""
        ...


class Request(NamedTuple):
    """A run to be started, as it came over the wire."""

    run: dict[str, Any]
    stdin: bytes
    files: dict[str, bytes]

    @property
    def fence(self) -> str:
        return disk.safe_name(self.run["fence"], "fence")


def start(here: Here, request: Request, caller: Caller, *, until: float) -> None:
    """Answer the state of the run, known or started now; in the latter case stay as its guard until it is over.

    A child of the guard does what comes before the program and answers. The guard itself touches as little as it can, because each page
    of memory that it touches is its own for as long as the run lives.
    """
    planned, planning = os.pipe()
    telling, told = os.pipe()
    guard = processes.me()
    starter = os.fork()
    if starter != 0:
        caller.leave()
        os.close(planning)
        os.close(telling)
        _guard(here.layout, planned, told, starter)
        return
    os.close(planned)
    os.close(told)
    fence = here.layout.fence(request.fence)
    folder = RunFolder(fence / "runs" / disk.safe_name(request.run["id"], "run"))
    bell = Bell(here.layout)
    with here.layout.room_on_disk():
        fence.mkdir(mode=0o700, exist_ok=True)
        with disk.locked(fence / "lock", until=until):
            if not folder.exists():
                disk.write_all(planning, json.dumps(_begin(here, request, folder, bell, guard, until)).encode())
                os.close(planning)
                os.read(telling, 1)  # its end comes when the program runs, or cannot
    if folder.ending() is None and not folder.guarded():
        bury(folder, bell)
    caller.send({"state": folder.state()})
    bell.ring(folder)


def _begin(
    here: Here, request: Request, folder: RunFolder, bell: Bell, guard: processes.Process, until: float
) -> dict[str, Any]:
    """Put everything on disk that must be there before the program runs; what the guard is to execute."""
    room = _admit(here, request, folder.fence, bell, until)
    identity = _identity(request.run, guard)
    plan = plan_in(here, request.run, room, records.marker_of(identity))
    _prepare(here, request, room, folder)
    _settle(request, folder, identity)
    sandboxed = request.run["sandbox"] == "bubblewrap"
    return {"folder": str(folder.path), "identity": identity, "plan": plan, "sandboxed": sandboxed}


def _guard(layout: disk.Layout, planned: int, told: int, starter: int) -> None:
    """In the guard: wait for what is to be executed, execute it, watch it. Nothing comes when the run is not to be started."""
    order = b""
    while piece := os.read(planned, 65536):
        order += piece
    os.close(planned)
    if not order:
        os.waitpid(starter, 0)
        return
    processes.prctl(processes.PR_SET_CHILD_SUBREAPER, 1)
    orders = json.loads(order)
    argv, env, cwd, account, drop = orders["plan"]
    plan = launch.Plan(tuple(argv), env, cwd, launch.Account(*account), drop)
    guard = Guard(
        RunFolder(Path(orders["folder"])),
        orders["identity"],
        Bell(layout),
        sandboxed=orders["sandboxed"],
        starter=starter,
    )
    stdin, feeding = os.pipe()
    output, stdout = os.pipe()
    try:
        program = launch.spawn(plan, stdin=stdin, stdout=stdout, stderr=stdout)
    except Unstartable as error:
        guard.finish({"end": "unstartable", "exit_code": None, "signal": None, "detail": str(error)})
        return
    for handle in (stdin, stdout, told):
        os.close(handle)
    guard.watch(program, stdin=feeding, output=output)


def _admit(here: Here, request: Request, fence: Path, bell: Bell, until: float) -> rooms.Room:
    """Let the run through or refuse it; afterwards no run of a lower epoch is alive."""
    epoch = request.run["epoch"]
    known = disk.read_json(fence / "fence.json") or {"epoch": -1, "ended_at": None}
    if epoch < known["epoch"]:
        raise Refused(f"epoch {epoch} of {fence.name} is lower than {known['epoch']}", code="epoch-too-low")
    if epoch == known["epoch"] and known["ended_at"] is not None:
        raise Refused(f"epoch {epoch} of {fence.name} was ended", code="ended")
    room = rooms.find(here.layout, disk.safe_name(request.run["workspace"], "workspace"))
    need_sandbox(here, request.run["sandbox"])
    here.layout.need_space()
    if epoch > known["epoch"]:
        disk.write_json(fence / "fence.json", {"epoch": epoch, "ended_at": None})
        for other in records.runs_of(fence):
            identity = other.identity()
            if identity and identity["epoch"] < epoch:
                halt(other, bell, grace=None, until=until)
    return room


def need_sandbox(here: Here, level: str) -> None:
    if level == "container":
        raise Refused("containers need docker or podman, which this hostkit does not drive", code="no-sandbox")
    if level == "bubblewrap" and not any(here.ways):
        raise Refused(
            "bubblewrap does not work here: install the package bubblewrap and allow user namespaces", code="no-sandbox"
        )


def plan_in(here: Here, run: dict[str, Any], room: rooms.Room, marker: str) -> launch.Plan:
    """What is executed in the room, inside its sandbox."""
    places = room.places(run["id"])
    argv = tuple(rooms.expand(word, places) for word in run["argv"])
    if not argv:
        raise Refused("a run without a program", code="bad-run")
    cwd = rooms.expand(run["cwd"], places)
    env = room.environment(run["env"], marker, places)
    if run["sandbox"] != "bubblewrap":
        return launch.Plan(argv, env, cwd, room.account)
    inside, drop = sandbox.bubblewrap(
        argv,
        root=str(room.root),
        cwd=cwd,
        readonly=[rooms.expand(path, places) for path in run["readonly"]],
        network=run.get("network", True),
        account=room.account,
        ways=here.ways,
    )
    return launch.Plan(inside, env, "/", room.account, drop=drop)


def _prepare(here: Here, request: Request, room: rooms.Room, folder: RunFolder) -> None:
    """The files below HOME and the run's own temporary folder, written as the room's account."""
    places = room.places(request.run["id"])

    def prepare() -> None:
        Path(places["run"]).mkdir(mode=0o700, exist_ok=True)
        for path, data in request.files.items():
            rooms.write(room, f"{places['home']}/{path}", data)

    for path in request.files:
        rooms.inside(room, f"{places['home']}/{path}")
    if request.files or any(
        "{run}" in word for word in (*request.run["argv"], *request.run["env"].values(), request.run["cwd"])
    ):
        said = accounts.acting(room.account, prepare)
        if said is not None:
            here.layout.need_space()
            raise Refused(f"the files of run {folder.id} cannot be written: {said}", code="bad-files")


def _identity(run: dict[str, Any], guard: processes.Process) -> dict[str, Any]:
    return {
        **{name: run[name] for name in ("id", "fence", "epoch", "workspace", "output_cap", "keep_stdin_open")},
        "nonce": os.urandom(12).hex(),
        "boot_id": processes.boot_id(),
        "guard": {"pid": guard.pid, "start": guard.start},
        "started_at": time.time(),
    }


def _settle(request: Request, folder: RunFolder, identity: dict[str, Any]) -> None:
    """Put the run's identity on disk; from here on it is never started again."""
    fresh = RunFolder(folder.path.with_name(f".{folder.id}.new"))
    if fresh.path.exists():
        launch.run_short(("rm", "-rf", "--", str(fresh.path)), timeout=5)
    fresh.messages.mkdir(mode=0o700, parents=True)
    fresh.reserve_exit()
    os.mkfifo(fresh.control, 0o600)
    if request.stdin:
        disk.write_file(fresh.messages / "00000000.stdin", request.stdin, durable=False)
    records.set_deadline(folder.fence, request.run["deadline"])
    disk.write_json(fresh.path / "run.json", identity)
    fresh.path.rename(folder.path)
    disk.sync_folder(folder.path.parent)


# --- ending ---------------------------------------------------------------------------------------------------------------------------


def end(here: Here, fence_name: str, epoch: int, *, until: float) -> None:
    """Leave a tombstone for that epoch and all below it, then stop their runs. A higher one may still start: it is a successor's."""
    fence = here.layout.fence(fence_name)
    bell = Bell(here.layout)
    with here.layout.room_on_disk():
        fence.mkdir(mode=0o700, exist_ok=True)
        with disk.locked(fence / "lock", until=until):
            known = disk.read_json(fence / "fence.json") or {"epoch": -1, "ended_at": None}
            if epoch > known["epoch"] or (epoch == known["epoch"] and known["ended_at"] is None):
                disk.write_json(fence / "fence.json", {"epoch": epoch, "ended_at": time.time()})
            for folder in records.runs_of(fence):
                identity = folder.identity()
                if identity and identity["epoch"] <= epoch:
                    halt(folder, bell, grace=None, until=until)


def halt(folder: RunFolder, bell: Bell, *, grace: float | None, until: float) -> None:
    """Make sure that nothing of the run is alive: asked to stop with `grace` seconds a step, or killed at once."""
    if folder.ending() is not None:
        return
    folder.tell("kill" if grace is None else f"stop {grace}")
    patience = min(until, time.monotonic() + (grace or 0) * 2 + GONE_WAIT)
    while folder.ending() is None and folder.guarded() and time.monotonic() < patience:
        time.sleep(0.002)
    if folder.ending() is None and folder.guarded():
        _kill_guard(folder)
    bury(folder, bell)


def _kill_guard(folder: RunFolder) -> None:
    identity = folder.identity()
    guard = records.guard_of(identity) if identity else None
    if guard is None:
        return
    below = processes.descendants([guard.pid])
    processes.slay(
        lambda: [
            process for process in (guard, *below, *processes.descendants([guard.pid])) if processes.alive(process)
        ]
    )


def bury(folder: RunFolder, bell: Bell) -> None:
    """Write the end of a run whose guard is gone without one, after killing what carries its marker."""
    identity = folder.identity()
    if identity is None or folder.ending() is not None:
        return
    marker = records.marker_of(identity).encode()
    if not processes.slay(lambda: processes.marked(marker)):
        raise Unavailable(f"processes of run {folder.id} cannot be killed")
    rebooted = identity["boot_id"] != processes.boot_id()
    folder.write_exit(
        {
            "end": "lost",
            "exit_code": None,
            "signal": None,
            "size": folder.size(),
            "dropped": folder.dropped(),
            "ended_at": time.time(),
            "detail": "the machine was restarted" if rebooted else "its guard is gone",
        }
    )
    bell.ring(folder)


def clear_tombstones(layout: disk.Layout, *, now: float) -> None:
    """Forget fences that were ended long ago, together with their runs."""
    for fence in layout.fences.iterdir():
        known = disk.read_json(fence / "fence.json")
        old = known is not None and known["ended_at"] is not None and known["ended_at"] < now - KEEP_TOMBSTONES
        if old and all(folder.ending() is not None for folder in records.runs_of(fence)):
            fence.rename(layout.trash / f"fence.{fence.name}.{time.time_ns()}")
