"""The operations that may take a while. Each runs in a child of serve with plain blocking code and answers its caller by itself."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from workers.hostkit import accounts, disk, frames, launch, processes, records, rooms, starts
from workers.hostkit.bell import Bell
from workers.hostkit.errors import KitError, Refused, Unavailable, Unstartable
from workers.hostkit.records import RunFolder

PIECE = 64 * 1024


class Reply:
    """The caller's connection, lent to a child; `done` tells serve that the answer is out and the connection its own again."""

    def __init__(self, caller: socket.socket, done: int) -> None:
        self._caller = caller
        self._done = done

    def fileno(self) -> int:
        return self._caller.fileno()

    def send(self, content: dict[str, Any], parts: list[bytes] | None = None) -> None:
        for piece in frames.message({"ok": content}, parts):
            self._caller.sendall(piece)
        self._over()

    def send_files(self, content: dict[str, Any], handles: list[int]) -> None:
        """An answer whose parts are open files, sent piece by piece."""
        sizes = [os.fstat(handle).st_size for handle in handles]
        left = sum(sizes)
        header: dict[str, Any] = {"ok": content, "parts": sizes}
        if left == 0:
            self._caller.sendall(frames.frame(header))
        for handle, size in zip(handles, sizes):  # noqa: B905 - strict= is younger than what runs on hosts
            for offset in range(0, size, frames.BODY):
                data = os.pread(handle, frames.BODY, offset)
                left -= len(data)
                self._caller.sendall(frames.frame({**header, "more": True} if left else header, data))
                header = {}
        self._over()

    def fail(self, error: KitError) -> None:
        self._caller.sendall(frames.frame(failure(error)))
        self._over()

    def leave(self) -> None:
        """Let go of it without an answer, because another process answers."""
        self._caller.close()
        os.close(self._done)

    def _over(self) -> None:
        self._caller.close()
        os.write(self._done, b".")
        os.close(self._done)


def failure(error: KitError) -> dict[str, Any]:
    return {"error": {"kind": error.kind, "code": error.code, "message": str(error), "evidence": error.evidence}}


class Call(NamedTuple):
    """One request, with what is needed to carry it out. `folder` is the run that it names, if it names a known one."""

    here: starts.Here
    content: dict[str, Any]
    parts: list[bytes]
    reply: Reply
    until: float
    folder: RunFolder | None

    def known_run(self) -> RunFolder:
        if self.folder is None:
            raise Refused(f"there is no run {self.content.get('run')}", code="no-run")
        return self.folder


def start(call: Call) -> None:
    names = call.content["files"]
    stdin, *contents = call.parts
    request = starts.Request(call.content["run"], stdin, dict(zip(names, contents)))  # noqa: B905
    starts.start(call.here, request, call.reply, until=call.until)


def stop(call: Call) -> None:
    folder = call.known_run()
    starts.halt(folder, Bell(call.here.layout), grace=call.content["grace"], until=call.until)
    call.reply.send({"state": folder.state()})


def end(call: Call) -> None:
    starts.end(call.here, call.content["fence"], call.content["epoch"], until=call.until)
    call.reply.send({})


def send(call: Call) -> None:
    """Put a message where the guard finds it, once per id, and wait until it is all in the program's stdin."""
    folder, layout = call.known_run(), call.here.layout
    message = disk.safe_name(call.content["message"], "message")
    with layout.room_on_disk(), disk.locked(folder.path / "send.lock", until=call.until):
        names = [entry.name for entry in folder.messages.iterdir() if not entry.name.startswith(".")]
        found = [name for name in names if name.removesuffix(records.DONE).partition(".")[2] == message]
        if not found:
            _check_listening(folder)
            layout.need_space()
            sequence = 1 + max((int(name.partition(".")[0]) for name in names), default=0)
            found = [f"{sequence:08d}.{message}"]
            disk.write_file(folder.messages / found[0], call.parts[0])
    waiting = folder.messages / found[0].removesuffix(records.DONE)
    done = waiting.with_name(waiting.name + records.DONE)
    folder.tell("inbox")
    while not done.exists():
        if folder.ending() is not None or folder.deaf.exists() or not folder.guarded():
            raise Refused(
                f"run {folder.id} ended or closed its input before message {message} was in it", code="not-live"
            )
        if time.monotonic() > call.until:
            raise Unavailable(f"run {folder.id} does not read its input; message {message} waits for it")
        time.sleep(0.001)
    call.reply.send({})


def close_input(call: Call) -> None:
    """Let the guard close the program's stdin behind the messages that wait for it. None is taken from now on."""
    folder = call.known_run()
    with disk.locked(folder.path / "send.lock", until=call.until):
        folder.last.touch()
    folder.tell("inbox")
    call.reply.send({})


def _check_listening(folder: RunFolder) -> None:
    identity = folder.identity()
    closed = folder.deaf.exists() or folder.last.exists()
    listening = identity is not None and identity["keep_stdin_open"] and not closed
    if not listening or folder.ending() is not None:
        raise Refused(f"run {folder.id} takes no input", code="not-live")


def open_workspace(call: Call) -> None:
    room = rooms.open_room(call.here.layout, disk.safe_name(call.content["workspace"], "workspace"), until=call.until)
    call.reply.send({"room": room.answer()})


def remove_workspace(call: Call) -> None:
    """Answered once nothing runs and the room is in the trash; the deleting comes after."""
    layout, workspace = call.here.layout, disk.safe_name(call.content["workspace"], "workspace")
    bell = Bell(layout)
    for fence in layout.fences.iterdir():
        for folder in records.runs_of(fence):
            if folder.ending() is None and (folder.identity() or {}).get("workspace") == workspace:
                starts.halt(folder, bell, grace=None, until=call.until)
    trash = rooms.remove(layout, workspace, until=call.until)
    call.reply.send({})
    if trash is not None:
        delete([trash])


def delete(trash: list[Path]) -> None:
    """Become the program that deletes what is in the trash. It never follows symlinks."""
    if trash:
        os.execvp("rm", ["rm", "-rf", "--one-file-system", "--", *map(str, trash)])


def read(call: Call) -> None:
    room = rooms.find(call.here.layout, call.content["workspace"])
    launch.drop(room.account)
    handle = rooms.read(room, call.content["path"], cap=call.content["cap"])
    call.reply.send_files({}, [handle])


def write(call: Call) -> None:
    call.here.layout.need_space()
    room = rooms.find(call.here.layout, call.content["workspace"])
    launch.drop(room.account)
    os.umask(0o077)
    rooms.write(room, call.content["path"], call.parts[0])
    call.reply.send({})


# --- commands -------------------------------------------------------------------------------------------------------------------------


def command(call: Call) -> None:
    """Run a short program to its end. It, and all that it started, is gone when its time is up or its caller is."""
    asked = call.content["command"]
    plan = _command_plan(call, asked)
    processes.prctl(processes.PR_SET_CHILD_SUBREAPER, 1)
    stdin, feeding = os.pipe()
    taking = [os.pipe(), os.pipe()]
    try:
        program = launch.spawn(plan, stdin=stdin, stdout=taking[0][1], stderr=taking[1][1])
    except Unstartable as error:
        call.reply.send({"code": 127, "truncated": False}, [b"", str(error).encode()])
        return
    for handle in (stdin, taking[0][1], taking[1][1]):
        os.close(handle)
    with call.here.layout.room_on_disk():
        outputs = [Spool(call.here.layout, reading, asked["output_cap"]) for reading, _ in taking]
        try:
            status = _attend(call, program, call.parts[0], feeding, outputs)
        except BaseException:
            processes.slay(lambda: processes.descendants([os.getpid()]))
            raise
    truncated = any(output.truncated for output in outputs)
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    told = {"code": code, "truncated": truncated}
    little = [output.little for output in outputs if output.little is not None]
    if len(little) == len(outputs):
        call.reply.send(told, little)
    else:
        with call.here.layout.room_on_disk():
            call.reply.send_files(told, [output.file() for output in outputs])


def _command_plan(call: Call, asked: dict[str, Any]) -> launch.Plan:
    if asked["workspace"] is not None:
        workspace = disk.safe_name(asked["workspace"], "workspace")
        starts.need_sandbox(call.here, asked["sandbox"])
        room = rooms.find(call.here.layout, workspace)
        marker = f"{rooms.marker_prefix(workspace)}{os.urandom(12).hex()}"
        return starts.plan_in(call.here, {**asked, "id": ""}, room, marker)
    if asked["sandbox"] != "none":
        raise Refused("a command outside every workspace has no sandbox", code="no-sandbox")
    account = accounts.mine()
    places = {
        "home": accounts.home(),
        "work": str(call.here.layout.home),
        "tmp": str(call.here.layout.run),
        "run": str(call.here.layout.run),
    }
    env = rooms.Room("", call.here.layout.home, account).environment(
        asked["env"], f"AO_RUN=command:{os.urandom(12).hex()}", places
    )
    argv = tuple(rooms.expand(word, places) for word in asked["argv"])
    return launch.Plan(argv, env, rooms.expand(asked["cwd"], places), account)


class Spool:
    """What a program writes to one pipe, up to a cap: a little in memory, and all of it on disk once it is more."""

    def __init__(self, layout: disk.Layout, reading: int, cap: int) -> None:
        self.reading: int | None = reading
        self.truncated = False
        self._layout = layout
        self._left = cap
        self._little = b""
        self._file: int | None = None
        os.set_blocking(reading, False)

    @property
    def little(self) -> bytes | None:
        """All that was written; None: it is on disk."""
        return self._little if self._file is None else None

    def file(self) -> int:
        """All that was written, as an open file."""
        if self._file is None:
            self._file = self._nameless()
            disk.write_all(self._file, self._little)
        return self._file

    def take(self) -> None:
        """Read what is there; what is over the cap is read and dropped, so that the program goes on."""
        while self.reading is not None:
            try:
                data = os.read(self.reading, PIECE)
            except BlockingIOError:
                return
            if not data:
                os.close(self.reading)
                self.reading = None
                return
            self.truncated = self.truncated or len(data) > self._left
            self._keep(data[: self._left])
            self._left -= min(self._left, len(data))

    def _keep(self, data: bytes) -> None:
        if self._file is None and len(self._little) + len(data) <= PIECE:
            self._little += data
        else:
            disk.write_all(self.file(), data)

    def _nameless(self) -> int:
        try:
            return os.open(self._layout.run, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:  # a filesystem without nameless files
            name = self._layout.run / f"spool.{os.getpid()}.{self.reading}"
            file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            name.unlink()
            return file


def _attend(call: Call, program: int, stdin: bytes, feeding: int, outputs: list[Spool]) -> int:
    """Feed and drain the program until it ends, then kill what it left behind; its wait status."""
    over = os.pidfd_open(program)
    os.set_blocking(feeding, False)
    poll = select.poll()
    poll.register(over, select.POLLIN)
    poll.register(feeding, select.POLLOUT)
    poll.register(call.reply.fileno(), select.POLLRDHUP)
    reading = {output.reading: output for output in outputs if output.reading is not None}
    for handle in reading:
        poll.register(handle, select.POLLIN)
    waiting, ready = memoryview(stdin), set[int]()
    while over not in ready:
        ready = {handle for handle, _ in poll.poll(max(0.0, call.until - time.monotonic()) * 1000 + 1)}
        if feeding in ready and not (waiting := _feed(feeding, waiting)):
            poll.unregister(feeding)
            os.close(feeding)
        for handle in ready & reading.keys():
            reading[handle].take()
            if reading[handle].reading is None:
                poll.unregister(handle)
                del reading[handle]
        if call.reply.fileno() in ready:
            raise Unavailable("the caller is gone")
        if time.monotonic() >= call.until:
            raise Unavailable(f"{call.content['command']['argv'][:1]} took too long and was killed")
    status = os.waitpid(program, 0)[1]
    if not processes.childless():
        processes.slay(lambda: processes.descendants([os.getpid()]))
    for output in reading.values():
        output.take()
    return status


def _feed(feeding: int, waiting: memoryview) -> memoryview:
    """What is still to be written after as much went into the pipe as fits; nothing when nobody reads it."""
    try:
        return waiting[os.write(feeding, waiting) :] if waiting else waiting
    except BlockingIOError:
        return waiting
    except BrokenPipeError:
        return waiting[:0]


OPERATIONS: dict[str, Callable[[Call], None]] = {
    "start": start,
    "stop": stop,
    "end": end,
    "send": send,
    "close_input": close_input,
    "open_workspace": open_workspace,
    "remove_workspace": remove_workspace,
    "read": read,
    "write": write,
    "command": command,
}
