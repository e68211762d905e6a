"""The one process of a host that answers: it knows every run, tails their journals and lends itself to the slow operations by forking.

It keeps nothing that is not on disk, so it may be killed at any time; the next one finds every guard again. One thread, one loop, so that
it may fork without care. Run as `serve HOME STAMP`; it detaches, and the command ends once the socket answers.
"""

from __future__ import annotations

import fcntl
import gc
import os
import resource
import selectors
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers.hostkit import accounts, bell, disk, frames, launch, processes, records, release, sandbox, starts, tasks
from workers.hostkit.errors import KitError, Refused, Unavailable

LOCK = "serve.lock"
LOG_CAP = 1024 * 1024
CHUNK = 256 * 1024
ANSWER = 1024 * 1024
TICK = 1.0  # seconds: the poll that is the truth when a bell was lost
HOUSEKEEPING = 600.0
RECEIVE = 256 * 1024
CREDENTIALS = struct.Struct("3i")
BACKLOG = 128


class Entry:
    """One run as serve remembers it: what never changes about it, and its guard."""

    def __init__(self, folder: records.RunFolder) -> None:
        self.folder = folder
        self.identity: dict[str, Any] | None = None
        self.ending: dict[str, Any] | None = None
        self.guard: int | None = None  # handle that becomes readable when the guard is gone
        self.burying = False

    @property
    def live(self) -> bool:
        return self.identity is not None and self.ending is None

    def state(self) -> dict[str, Any]:
        identity = self.identity or {"id": self.folder.id}
        size = self.ending["size"] if self.ending else self.folder.size()
        size = max(size, self.folder.size()) if self.ending else size
        over = self.ending is None and size >= identity.get("output_cap", size + 1)
        return records.state_of(identity, self.ending, size=size, dropped=self.folder.dropped() if over else 0)


class Caller:
    """One connection: a request at a time, its answer, or the wait for something to look at."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.reader = frames.Reader()
        self.unsent = memoryview(b"")
        self.cursors: dict[str, int] | None = None  # of the look that it waits in
        self.until = 0.0


class Serve:
    """The loop and everything it remembers."""

    def __init__(self, layout: disk.Layout, listening: socket.socket, bells: socket.socket, stamp: int) -> None:
        self._layout = layout
        self._account = accounts.mine()
        accounts.home()  # asked by many children, and known to them from here
        self._ways = sandbox.try_out(self._account)
        self._here = starts.Here(layout, self._ways)
        self._git = launch.run_short(("git", "--version"), timeout=5)[1].removeprefix("git version ")
        self._version = release.digest(Path(__file__).parent)
        self._boot_id = processes.boot_id()
        self._stamp = stamp
        self._listening = listening
        self._bells = bells
        self._selector = selectors.DefaultSelector()
        self._entries: dict[str, Entry] = {}
        self._live: set[str] = set()
        self._callers: set[Caller] = set()
        self._children: set[int] = set()
        self._turn = 0
        self._retired = False
        self._cleaned_at = -HOUSEKEEPING

    def run(self) -> None:
        """Answer until retired."""
        self._selector.register(self._listening, selectors.EVENT_READ, self._accept)
        self._selector.register(self._bells, selectors.EVENT_READ, self._hear)
        self._find_runs()
        gc.collect()
        gc.freeze()  # so that the collector does not touch, and thereby copy, what forked guards share
        ticked_at = 0.0
        while not self._retired:
            for key, _ in self._selector.select(TICK):
                key.data()
            now = time.monotonic()
            if now - ticked_at >= TICK:
                ticked_at = now
                self._tick(now)
        for caller in list(self._callers):
            if caller.cursors is not None:
                self._answer_look(caller)

    # --- runs ---

    def _find_runs(self) -> None:
        for fence in self._layout.fences.iterdir():
            for folder in records.runs_of(fence):
                self._notice(folder)

    def _notice(self, folder: records.RunFolder) -> Entry:
        """Bring what is remembered about a run up to what is on disk."""
        entry = self._entries.get(folder.id)
        if entry is None:
            entry = self._entries[folder.id] = Entry(folder)
        if entry.identity is None:
            entry.identity = folder.identity()
        if entry.identity is not None and entry.ending is None:
            entry.ending = folder.ending()
            if entry.ending is None:
                self._live.add(folder.id)
                self._mind_guard(entry)
            else:
                self._forget_guard(entry)
        return entry

    def _mind_guard(self, entry: Entry) -> None:
        """Hold on to the guard's handle; a run without a living guard is buried."""
        if entry.guard is not None or entry.burying:
            return
        guard = records.guard_of(entry.identity) if entry.identity else None
        handle = None
        if guard is not None:
            try:
                handle = os.pidfd_open(guard.pid)
            except OSError:
                handle = None
        if handle is not None and guard is not None and processes.alive(guard):
            entry.guard = handle
            self._selector.register(handle, selectors.EVENT_READ, lambda: self._lost(entry))
            return
        if handle is not None:
            os.close(handle)
        self._bury(entry)

    def _forget_guard(self, entry: Entry) -> None:
        self._live.discard(entry.folder.id)
        if entry.guard is not None:
            self._selector.unregister(entry.guard)
            os.close(entry.guard)
            entry.guard = None

    def _lost(self, entry: Entry) -> None:
        """A guard is gone: with its end on disk that is as it should be, without it the run is lost."""
        self._forget_guard(entry)
        self._reap()
        entry.ending = entry.folder.ending()
        if entry.ending is None:
            self._live.add(entry.folder.id)
            self._bury(entry)
        self._wake(entry)

    def _bury(self, entry: Entry) -> None:
        if entry.burying:
            return
        entry.burying = True
        strays = [child for child in processes.descendants([os.getpid()]) if child.pid not in self._below()]

        def bury() -> None:
            for stray in strays:  # what a dead guard leaves falls to us, its subreaper, with or without a marker
                processes.kill(stray, signal.SIGKILL)
            starts.bury(entry.folder, bell.Bell(self._layout))

        def buried() -> None:
            entry.burying = False
            self._wake(self._notice(entry.folder))

        self._lend(bury, buried)

    def _below(self) -> set[int]:
        """Our own children and everything below them."""
        return self._children | {process.pid for process in processes.descendants(self._children)}

    def _known(self, run: str) -> Entry | None:
        """The run with that id, also one whose bell was lost."""
        if run in self._entries:
            entry = self._notice(self._entries[run].folder)
            return entry if entry.identity is not None else None
        if disk.NAME.fullmatch(run):
            for fence in self._layout.fences.iterdir():
                folder = records.RunFolder(fence / "runs" / run)
                if folder.exists():
                    return self._notice(folder)
        return None

    # --- looking ---

    def _hear(self) -> None:
        """The bell rang, perhaps for many runs."""
        rung: set[bytes] = set()
        try:
            while len(rung) < 64:
                rung.add(self._bells.recv(512))
        except BlockingIOError:
            pass
        for words in rung:
            fence, _, run = words.decode(errors="replace").partition(" ")
            if disk.NAME.fullmatch(fence) and disk.NAME.fullmatch(run):
                self._wake(self._notice(records.RunFolder(self._layout.runs(fence) / run)))

    def _wake(self, entry: Entry) -> None:
        size = entry.folder.size()
        for caller in list(self._callers):
            if caller.cursors is not None and _worth_telling(entry, size, caller.cursors):
                self._answer_look(caller)

    def _look(self, caller: Caller, content: dict[str, Any]) -> None:
        self._hear()  # what was rung before the question belongs into the answer
        cursors: dict[str, int] = content["cursors"]
        caller.cursors = cursors
        caller.until = time.monotonic() + content["wait"]
        seen = {run: self._entries[run] for run in self._live}
        seen.update({run: entry for run in cursors.keys() - self._live if (entry := self._known(run)) is not None})
        if content["wait"] <= 0 or any(_worth_telling(entry, entry.folder.size(), cursors) for entry in seen.values()):
            self._answer_look(caller)

    def _answer_look(self, caller: Caller) -> None:
        cursors, caller.cursors = caller.cursors or {}, None
        asked = {run: self._entries[run] for run in cursors if run in self._entries}
        shown = {**asked, **{run: self._entries[run] for run in self._live}}
        chunks: list[dict[str, Any]] = []
        parts: list[bytes] = []
        left = ANSWER
        for run in self._fairly([run for run in asked if cursors[run] >= 0]):
            data = _tail(asked[run].folder.journal, cursors[run], min(CHUNK, left))
            left -= len(data)
            if data:
                chunks.append({"run": run, "offset": cursors[run]})
                parts.append(data)
        states = [entry.state() for entry in shown.values() if entry.identity is not None]
        self._say(caller, {"ok": {**self._clock(), "runs": states, "chunks": chunks}}, parts)

    def _fairly(self, runs: list[str]) -> list[str]:
        """Another run comes first each time, so that a flood cannot keep the others from the answer."""
        self._turn += 1
        first = self._turn % len(runs) if runs else 0
        return runs[first:] + runs[:first]

    def _clock(self) -> dict[str, Any]:
        return {"boot_id": self._boot_id, "boottime": processes.boottime(), "free_bytes": self._layout.free_bytes()}

    # --- the other quick operations ---

    def _facts(self, content: dict[str, Any]) -> dict[str, Any]:
        found = {name: path for name in content["programs"] if (path := launch.find_program(name)) is not None}
        return {
            **self._clock(),
            "hostkit": self._version,
            "root": os.getuid() == 0,
            "home": str(self._layout.home),
            "git": self._git,
            "sandboxes": ["none", "bubblewrap"] if any(self._ways) else ["none"],
            "programs": found,
        }

    def _renew(self, content: dict[str, Any]) -> dict[str, Any]:
        with self._layout.room_on_disk():
            for fence, boottime in content["deadlines"].items():
                if self._layout.fence(fence).is_dir():
                    records.set_deadline(self._layout.fence(fence), boottime)
        for run in self._live:
            entry = self._entries[run]
            if entry.identity is not None and entry.identity["fence"] in content["deadlines"]:
                entry.folder.tell("deadline")
        return {}

    def _hello(self, content: dict[str, Any]) -> dict[str, Any]:
        """Say which hostkit answers; retire for a newer one, and only for that: old and new may both be about for a while."""
        theirs = (content["release"], content["stamp"])
        self._retired = content["version"] != self._version and theirs > (release.RELEASE, self._stamp)
        return {"version": self._version, "release": release.RELEASE, "retired": self._retired}

    # --- callers ---

    def _accept(self) -> None:
        connection, _ = self._listening.accept()
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        if CREDENTIALS.unpack(credentials)[1] not in (0, os.getuid()):
            connection.close()
            return
        connection.setblocking(False)
        caller = Caller(connection)
        self._callers.add(caller)
        self._listen_to(caller)

    def _listen_to(self, caller: Caller) -> None:
        self._selector.register(caller.socket, selectors.EVENT_READ, lambda: self._receive(caller))

    def _receive(self, caller: Caller) -> None:
        try:
            data = caller.socket.recv(RECEIVE)
            requests = list(caller.reader.feed(data))
        except BlockingIOError:
            return
        except (OSError, frames.BrokenStreamError):
            data, requests = b"", []
        if not data:
            self._hang_up(caller)
        for request in requests:
            try:
                self._handle(caller, request)
            except KitError as error:
                self._say(caller, tasks.failure(error))
            except BlockingIOError:  # fork: too many processes
                self._hang_up(caller)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self._say(caller, tasks.failure(Refused(f"not understood: {error!r}", code="bad-request")))

    def _handle(self, caller: Caller, request: frames.Message) -> None:
        content = request.content
        quick: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "hello": self._hello,
            "facts": self._facts,
            "renew": self._renew,
        }
        operation = content["op"]
        if operation == "look":
            self._look(caller, content)
        elif operation in quick:
            self._say(caller, {"ok": quick[operation](content)})
        elif operation in tasks.OPERATIONS:
            self._delegate(caller, request)
        else:
            raise Refused(f"there is no operation {operation}", code="bad-request")

    def _delegate(self, caller: Caller, request: frames.Message) -> None:
        """Let a child carry it out and answer; meanwhile the connection is the child's."""
        content = request.content
        until = time.monotonic() + content["timeout"]
        named = self._known(content["run"]) if isinstance(content.get("run"), str) else None
        folder = named.folder if named is not None else None
        reading, writing = os.pipe()

        def work() -> None:
            os.close(reading)
            caller.socket.settimeout(max(5.0, content["timeout"]))
            reply = tasks.Reply(caller.socket, writing)
            try:
                tasks.OPERATIONS[content["op"]](tasks.Call(self._here, content, request.parts(), reply, until, folder))
            except KitError as error:
                reply.fail(error)
            except (KeyError, TypeError, ValueError) as error:
                reply.fail(Refused(f"not understood: {error!r}", code="bad-request"))
            except OSError as error:
                reply.fail(Unavailable(f"{content['op']}: {error}"))

        def back() -> None:
            self._selector.unregister(reading)
            answered = os.read(reading, 1)
            os.close(reading)
            if answered:
                self._listen_to(caller)
            else:
                self._hang_up(caller)

        self._selector.unregister(caller.socket)
        self._selector.register(reading, selectors.EVENT_READ, back)
        try:
            self._lend(work, None, keep={caller.socket.fileno(), reading, writing})
        finally:
            os.close(writing)

    def _lend(self, work: Callable[[], None], over: Callable[[], None] | None, keep: set[int] | None = None) -> None:
        """Do `work` in a child; call `over` here when the child has ended."""
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                gc.disable()
                os.setsid()
                launch.close_all_but({0, 1, 2, *(keep or ())})
                work()
                status = 0
            except BaseException:  # noqa: BLE001 - the top of a process: what went wrong is written down, whatever it was
                traceback.print_exc()
            finally:
                os._exit(status)
        self._children.add(pid)
        handle = os.pidfd_open(pid)

        def ended() -> None:
            self._selector.unregister(handle)
            os.close(handle)
            self._reap()
            if over is not None:
                over()

        self._selector.register(handle, selectors.EVENT_READ, ended)

    def _reap(self) -> None:
        self._children -= processes.reap().keys()

    def _say(self, caller: Caller, content: dict[str, Any], parts: list[bytes] | None = None) -> None:
        caller.unsent = memoryview(bytes(caller.unsent) + b"".join(frames.message(content, parts)))
        self._flush(caller)

    def _flush(self, caller: Caller) -> None:
        """Send what goes; wait for the caller to take the rest."""
        try:
            while caller.unsent:
                caller.unsent = caller.unsent[caller.socket.send(caller.unsent) :]
        except BlockingIOError:
            self._selector.modify(caller.socket, selectors.EVENT_WRITE, lambda: self._flush(caller))
            return
        except OSError:
            self._hang_up(caller)
            return
        if caller in self._callers:
            self._selector.modify(caller.socket, selectors.EVENT_READ, lambda: self._receive(caller))

    def _hang_up(self, caller: Caller) -> None:
        self._callers.discard(caller)
        if caller.socket.fileno() in self._selector.get_map():
            self._selector.unregister(caller.socket)
        caller.cursors = None
        caller.socket.close()

    # --- time ---

    def _tick(self, now: float) -> None:
        """What the bells may have missed, and who has waited long enough."""
        waiting = [caller for caller in self._callers if caller.cursors is not None]
        for run in list(self._live):
            self._wake(self._notice(self._entries[run].folder))
        for caller in waiting:
            if caller.cursors is not None and now >= caller.until:
                self._answer_look(caller)
        if not self._layout.home.is_dir():
            self._retired = True
        elif now - self._cleaned_at > HOUSEKEEPING:
            self._cleaned_at = now
            self._entries = {run: entry for run, entry in self._entries.items() if entry.folder.path.exists()}
            self._lend(self._clean, None)

    def _clean(self) -> None:
        starts.clear_tombstones(self._layout, now=time.time())
        tasks.delete(list(self._layout.trash.iterdir()))


def _worth_telling(entry: Entry, size: int, cursors: dict[str, int]) -> bool:
    """Whether a look with these cursors has something to see in the run."""
    run = entry.folder.id
    if run not in cursors:
        return entry.live
    return entry.ending is not None or 0 <= cursors[run] < size


def _tail(journal: Path, offset: int, count: int) -> bytes:
    if count <= 0:
        return b""
    try:
        handle = os.open(journal, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(handle, count, offset)
    finally:
        os.close(handle)


# --- becoming serve -------------------------------------------------------------------------------------------------------------------


def bind(layout: disk.Layout, name: str, kind: socket.SocketKind) -> socket.socket:
    """A unix socket in the run folder, by way of the folder's handle because paths of sockets are short."""
    (layout.run / name).unlink(missing_ok=True)
    folder = os.open(layout.run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        bound = socket.socket(socket.AF_UNIX, kind)
        bound.bind(f"/proc/self/fd/{folder}/{name}")
    finally:
        os.close(folder)
    bound.setblocking(False)
    return bound


def serve(home: Path, stamp: int, ready: Callable[[], None]) -> None:
    """Be the home's serve, or leave at once when there is one."""
    layout = disk.Layout(home)
    os.umask(0o077)
    layout.make()
    lock = os.open(layout.run / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # A lock of the process and not of the file's handle: children do not have it.
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        ready()
        return
    processes.prctl(processes.PR_SET_CHILD_SUBREAPER, 1)
    bells = bind(layout, bell.SOCKET, socket.SOCK_DGRAM)
    listening = bind(layout, disk.SOCKET, socket.SOCK_STREAM)
    listening.listen(BACKLOG)
    ready()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    Serve(layout, listening, bells, stamp).run()
    (layout.run / disk.SOCKET).unlink(missing_ok=True)


def detach(home: Path, stamp: int) -> None:
    """Become a process of nobody, its words in a log, and let the starter go once the socket answers."""
    reading, writing = os.pipe()
    if os.fork() != 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    log_path = home / "run" / "serve.log"
    disk.Layout(home).make()
    fresh = os.O_TRUNC if log_path.exists() and log_path.stat().st_size > LOG_CAP else 0
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | fresh, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in enumerate((null, log, log)):
        os.dup2(source, target)
    launch.close_all_but({0, 1, 2, writing})
    os.chdir("/")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    serve(home, stamp, lambda: os.close(writing))


def main() -> None:
    detach(Path(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
