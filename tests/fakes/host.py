"""A machine in memory: the Host port with a clock of the test's own, scripted programs, and the faults a machine can have.

Nothing here sleeps or threads. Time is what `clock` says; deadlines and `after` actions happen inside `tick`, which every call does first.
A program is a callable that gets its `FakeProcess` when the run starts and from then on reacts to input and to time.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from orchestrator.ports import (
    Chunk,
    Command,
    Completed,
    HostFacts,
    Look,
    Refused,
    Room,
    Run,
    RunEnd,
    RunState,
    Sandbox,
    Unavailable,
)

CHUNK = 256 * 1024
ANSWER = 1024 * 1024

Program = Callable[["FakeProcess"], None]
Handler = Callable[["FakeHost", Command], Completed]


class UnstartableError(Exception):
    """Raised by a program that cannot be executed; its message becomes the run's `detail`."""


@dataclass(slots=True, kw_only=True, eq=False)
class Scheduled:
    """Something that happens to a process at an instant, if it still lives then."""

    at: datetime
    action: Callable[[], None]


@dataclass(slots=True, kw_only=True, eq=False)
class FakeProcess:
    """One run as its program sees it: write output, read `stdin`, end. `on_stdin` is called with each message and with b"" at its end."""

    run: Run
    host: FakeHost
    started_at: datetime
    deadline: float | None
    listening: bool  # its stdin is open
    stdin: bytearray = field(default_factory=bytearray)
    on_stdin: Callable[[bytes], None] | None = None
    output: bytearray = field(default_factory=bytearray)
    dropped: int = 0
    delivered: set[str] = field(default_factory=set)
    scheduled: list[Scheduled] = field(default_factory=list)
    end: RunEnd | None = None
    exit_code: int | None = None
    signal: int | None = None
    ended_at: datetime | None = None
    detail: str = ""

    @property
    def live(self) -> bool:
        return self.end is None

    def write(self, data: bytes) -> None:
        """Append to the journal up to the run's cap; the rest is counted as dropped."""
        if self.live:
            room = max(0, self.run.output_cap - len(self.output))
            self.output += data[:room]
            self.dropped += max(0, len(data) - room)

    def exit(self, code: int = 0) -> None:
        self.finish(RunEnd.EXITED, exit_code=code)

    def die(self, signal: int) -> None:
        self.finish(RunEnd.EXITED, signal=signal)

    def after(self, span: timedelta, action: Callable[[], None]) -> None:
        """Do `action` once the clock has moved on by `span`."""
        self.scheduled.append(Scheduled(at=self.host.now() + span, action=action))

    def finish(
        self,
        end: RunEnd,
        *,
        exit_code: int | None = None,
        signal: int | None = None,
        detail: str = "",
        at: datetime | None = None,
    ) -> None:
        """End the run once; what comes later changes nothing."""
        if not self.live:
            return
        self.end, self.exit_code, self.signal, self.detail = end, exit_code, signal, detail
        self.ended_at = at or self.host.now()
        if self.dropped:
            self.output += b"\n[ao] dropped %d bytes\n" % self.dropped

    def feed(self, data: bytes) -> None:
        self.stdin += data
        if self.on_stdin is not None and self.live:
            self.on_stdin(data)

    def state(self) -> RunState:
        return RunState(
            id=self.run.id,
            fence=self.run.fence,
            epoch=self.run.epoch,
            live=self.live,
            end=self.end,
            exit_code=self.exit_code,
            signal=self.signal,
            size=len(self.output),
            dropped=self.dropped,
            started_at=None if self.end is RunEnd.UNSTARTABLE else self.started_at,
            ended_at=self.ended_at,
            detail=self.detail,
        )


@dataclass(slots=True)
class Fence:
    """The highest epoch seen for a fence, and whether that epoch was ended."""

    epoch: int = -1
    ended: bool = False


def tiny_shell(process: FakeProcess) -> None:
    """Understands `sh -c` with `echo WORDS`, `cat`, `sleep SECONDS`, `exit N` and `kill -N $$`, joined by semicolons."""
    argv = process.run.argv
    if argv[0] != "sh" or len(argv) != 3:
        raise UnstartableError(f"{argv[0]}: no such program")
    _go_on(process, [part.strip() for part in argv[2].split(";")])


def _go_on(process: FakeProcess, parts: list[str]) -> None:
    while parts and process.live:
        words = shlex.split(parts.pop(0))
        match words:
            case ["echo", *rest]:
                process.write(" ".join(rest).encode() + b"\n")
            case ["exit", code]:
                process.exit(int(code))
            case ["kill", number, _]:
                process.die(int(number.removeprefix("-")))
            case ["sleep", seconds]:
                process.after(timedelta(seconds=float(seconds)), lambda: _go_on(process, parts))
                return
            case ["cat"]:
                _cat(process, parts)
                return
            case _:
                raise UnstartableError(f"the fake shell does not know {words}")
    process.exit(0)


def _cat(process: FakeProcess, parts: list[str]) -> None:
    def copy(data: bytes) -> None:
        process.write(data)
        if not data:
            process.on_stdin = None
            _go_on(process, parts)

    process.on_stdin = copy


def no_commands(host: FakeHost, command: Command) -> Completed:
    """The default command handler: every short program ends well and says nothing."""
    del host, command
    return Completed(code=0, stdout=b"", stderr=b"")


@dataclass(slots=True, kw_only=True)
class FakeHost:
    """The Host port in memory. Public fields may be changed by a test at any time.

    `unreachable` makes every call fail before its effect; `lose_replies` counts calls whose effect happens and whose answer is lost.
    """

    clock: Callable[[], datetime]
    program: Program = tiny_shell
    on_command: Handler = no_commands
    name: str = "fake"
    home: str = "/fake"
    root: bool = True
    sandboxes: frozenset[Sandbox] = frozenset({Sandbox.NONE, Sandbox.BUBBLEWRAP})
    known_programs: dict[str, str] = field(default_factory=dict)
    free_bytes: int = 50 * 1024**3
    unreachable: bool = False
    lose_replies: int = 0
    boots: int = 1
    booted_at: datetime = field(init=False)
    processes: dict[str, FakeProcess] = field(default_factory=dict)
    fences: dict[str, Fence] = field(default_factory=dict)
    rooms: dict[str, Room] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.booted_at = self.clock() - timedelta(hours=1)

    # --- what a test does to the machine ---

    def now(self) -> datetime:
        return self.clock()

    @property
    def boottime(self) -> float:
        return (self.clock() - self.booted_at).total_seconds()

    def process(self, run: str) -> FakeProcess:
        return self.processes[run]

    def live(self) -> list[FakeProcess]:
        """The processes that run now, time taken into account."""
        self.tick()
        return [process for process in self.processes.values() if process.live]

    def tick(self) -> None:
        """Let everything happen that is due: deadlines and `after` actions, in the order of their instants."""
        while (due := min(self._due(), key=lambda scheduled: scheduled.at, default=None)) is not None:
            due.action()

    def kill_guard(self, run: str) -> None:
        """The guard is killed: the run dies with it and has no exit record."""
        self.processes[run].finish(RunEnd.LOST, detail="its guard is gone")

    def power_cut(self) -> None:
        """Everything that runs is gone; the disk stays; the next boot has another id and a clock of its own."""
        self.tick()
        for process in self.processes.values():
            process.finish(RunEnd.LOST, detail="the machine was restarted")
        self.boots += 1
        self.booted_at = self.clock()

    # --- the port ---

    def facts(self, *, programs: Sequence[str] = (), timeout: float = 10) -> HostFacts:
        del timeout
        with self._call("facts"):
            return HostFacts(
                boot_id=f"boot-{self.boots}",
                boottime=self.boottime,
                hostkit="fake",
                root=self.root,
                home=self.home,
                git="2.39.5",
                sandboxes=self.sandboxes,
                free_bytes=self.free_bytes,
                programs={name: self.known_programs[name] for name in programs if name in self.known_programs},
            )

    def open_workspace(self, workspace: str, *, timeout: float = 10) -> Room:
        del timeout
        with self._call("open_workspace"):
            return self._open(workspace)

    def remove_workspace(self, workspace: str, *, timeout: float = 30) -> None:
        del timeout
        with self._call("remove_workspace"):
            self._stop_all(lambda process: process.run.workspace == workspace)
            room = self.rooms.pop(workspace, None)
            if room is not None:
                self.files = {path: data for path, data in self.files.items() if not path.startswith(room.root + "/")}

    def start(self, run: Run, *, timeout: float = 10) -> RunState:
        del timeout
        with self._call("start"):
            if run.id not in self.processes:
                self._admit(run)
                self._launch(run)
            return self.processes[run.id].state()

    def look(self, *, cursors: Mapping[str, int], wait: float, timeout: float) -> Look:
        """As the port says, except that it never waits: a test moves the clock and looks again."""
        del wait, timeout
        with self._call("look"):
            seen = [process for process in self.processes.values() if process.live or process.run.id in cursors]
            return Look(
                boot_id=f"boot-{self.boots}",
                boottime=self.boottime,
                free_bytes=self.free_bytes,
                runs=tuple(process.state() for process in seen),
                chunks=tuple(self._chunks(cursors)),
            )

    def send(self, run: str, *, message: str, data: bytes, timeout: float = 10) -> None:
        del timeout
        with self._call("send"):
            process = self.processes.get(run)
            if process is None:
                raise Refused(f"there is no run {run}", code="no-run")
            if message in process.delivered:
                return
            if not process.live or not process.listening:
                raise Refused(f"run {run} takes no input", code="not-live")
            process.delivered.add(message)
            process.feed(data)

    def close_input(self, run: str, *, timeout: float = 10) -> None:
        del timeout
        with self._call("close_input"):
            process = self.processes.get(run)
            if process is None:
                raise Refused(f"there is no run {run}", code="no-run")
            if process.live and process.listening:
                process.listening = False
                process.feed(b"")

    def renew(self, deadlines: Mapping[str, float], *, timeout: float = 10) -> None:
        del timeout
        with self._call("renew"):
            for process in self.processes.values():
                if process.run.fence in deadlines:
                    process.deadline = deadlines[process.run.fence]

    def stop(self, run: str, *, timeout: float = 20) -> RunState:
        del timeout
        with self._call("stop"):
            process = self.processes.get(run)
            if process is None:
                raise Refused(f"there is no run {run}", code="no-run")
            process.finish(RunEnd.STOPPED, signal=2)
            return process.state()

    def end(self, fence: str, *, epoch: int, timeout: float = 30) -> None:
        del timeout
        with self._call("end"):
            known = self.fences.setdefault(fence, Fence())
            if epoch >= known.epoch:
                known.epoch, known.ended = epoch, True
            self._stop_all(lambda process: process.run.fence == fence and process.run.epoch <= epoch)

    def command(self, command: Command, *, timeout: float = 50) -> Completed:
        del timeout
        with self._call("command"):
            if command.workspace is not None and command.workspace not in self.rooms:
                raise Refused(f"there is no workspace {command.workspace}", code="no-workspace")
            self._need(command.sandbox)
            done = self.on_command(self, command)
            cap = command.output_cap
            truncated = done.truncated or len(done.stdout) > cap or len(done.stderr) > cap
            return Completed(code=done.code, stdout=done.stdout[:cap], stderr=done.stderr[:cap], truncated=truncated)

    def read(self, path: str, *, workspace: str, cap: int, timeout: float = 30) -> bytes:
        del timeout
        with self._call("read"):
            data = self.files.get(self._inside(path, workspace))
            if data is None:
                raise Refused(f"there is no file {path}", code="no-file")
            if len(data) > cap:
                raise Refused(f"{path} has {len(data)} bytes, over {cap}", code="too-large")
            return data

    def write(self, path: str, data: bytes, *, workspace: str, timeout: float = 30) -> None:
        del timeout
        with self._call("write"):
            self.files[self._inside(path, workspace)] = data

    # --- below ---

    @contextmanager
    def _call(self, name: str) -> Iterator[None]:
        self.calls.append(name)
        if self.unreachable:
            raise Unavailable(f"host {self.name} does not answer")
        self.tick()
        yield
        if self.lose_replies > 0:
            self.lose_replies -= 1
            raise Unavailable(f"host {self.name}: the answer was lost")

    def _due(self) -> Iterator[Scheduled]:
        now = self.clock()
        for process in self.processes.values():
            if not process.live:
                continue
            if process.deadline is not None and self.booted_at + timedelta(seconds=process.deadline) <= now:
                yield self._expiry(process, self.booted_at + timedelta(seconds=process.deadline))
            for scheduled in process.scheduled:
                if scheduled.at <= now:
                    yield Scheduled(at=scheduled.at, action=_once(process, scheduled))

    def _expiry(self, process: FakeProcess, at: datetime) -> Scheduled:
        return Scheduled(at=at, action=lambda: process.finish(RunEnd.DEADLINE, signal=9, at=at))

    def _open(self, workspace: str) -> Room:
        if workspace not in self.rooms:
            root = f"{self.home}/rooms/{workspace}"
            account = f"ao-agent-{len(self.rooms) + 1:03d}" if self.root else "ao"
            self.rooms[workspace] = Room(
                workspace=workspace,
                root=root,
                home=f"{root}/home",
                work=f"{root}/work",
                tmp=f"{root}/tmp",
                account=account,
            )
        return self.rooms[workspace]

    def _need(self, sandbox: Sandbox) -> None:
        if sandbox not in self.sandboxes:
            raise Refused(f"host {self.name} has no working sandbox {sandbox}", code="no-sandbox")

    def _admit(self, run: Run) -> None:
        fence = self.fences.setdefault(run.fence, Fence())
        if run.epoch < fence.epoch:
            raise Refused(f"epoch {run.epoch} of {run.fence} is lower than {fence.epoch}", code="epoch-too-low")
        if fence.ended and run.epoch == fence.epoch:
            raise Refused(f"epoch {run.epoch} of {run.fence} was ended", code="ended")
        if run.workspace not in self.rooms:
            raise Refused(f"there is no workspace {run.workspace}", code="no-workspace")
        self._need(run.sandbox)
        if self.free_bytes <= 0:
            raise Unavailable(f"the disk of {self.home} is full: {self.free_bytes} bytes free")
        fence.epoch, fence.ended = run.epoch, False
        self._stop_all(lambda process: process.run.fence == run.fence and process.run.epoch < run.epoch)

    def _launch(self, run: Run) -> None:
        process = FakeProcess(
            run=run, host=self, started_at=self.clock(), deadline=run.deadline, listening=run.keep_stdin_open
        )
        self.processes[run.id] = process
        home = self.rooms[run.workspace].home
        self.files.update({f"{home}/{path}": data for path, data in run.files.items()})
        try:
            self.program(process)
        except UnstartableError as error:
            process.finish(RunEnd.UNSTARTABLE, detail=str(error))
            return
        if run.stdin:
            process.feed(run.stdin)
        if not run.keep_stdin_open:
            process.feed(b"")

    def _stop_all(self, chosen: Callable[[FakeProcess], bool]) -> None:
        for process in self.processes.values():
            if chosen(process):
                process.finish(RunEnd.STOPPED, signal=9)

    def _chunks(self, cursors: Mapping[str, int]) -> Iterator[Chunk]:
        left = ANSWER
        for run, offset in cursors.items():
            process = self.processes.get(run)
            if process is None or offset < 0:
                continue
            data = bytes(process.output[offset : offset + min(CHUNK, left)])
            left -= len(data)
            if data:
                yield Chunk(run=run, offset=offset, data=data)

    def _inside(self, path: str, workspace: str) -> str:
        room = self.rooms.get(workspace)
        if room is None:
            raise Refused(f"there is no workspace {workspace}", code="no-workspace")
        for name in ("home", "work", "tmp"):
            path = path.replace(f"{{{name}}}", f"{room.root}/{name}")
        full = PurePosixPath(room.root, path)
        if not full.is_relative_to(room.root) or ".." in full.parts:
            raise Refused(f"{path} is not below the room of {workspace}", code="outside")
        return str(full)


def _once(process: FakeProcess, scheduled: Scheduled) -> Callable[[], None]:
    def act() -> None:
        process.scheduled.remove(scheduled)
        scheduled.action()

    return act
