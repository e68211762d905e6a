"""The guard of one run: parent and subreaper of its program, until nothing of the run is left.

It is forked from serve and needs nothing of it afterwards. It keeps the program's output up to the cap, puts messages into its stdin, and
kills everything of the run when the program ends, when it is told to, or when the absolute deadline passes. If the guard is killed, the
kernel kills the program (PDEATHSIG) and serve the rest.
"""

from __future__ import annotations

import os
import select
import signal
import time
from typing import Any

from workers.hostkit import disk, processes, records
from workers.hostkit.bell import Bell

PIECE = 16 * 1024
LONGEST_WAIT = 5.0  # seconds between looks at the deadline: poll's clock stands still while the machine sleeps, the deadline's does not
HELD_WAIT = 1.0
HELD_PATIENCE = 60
LAST_PIECES = 64


class Guard:
    """The loop around one program."""

    def __init__(
        self, folder: records.RunFolder, identity: dict[str, Any], bell: Bell, *, sandboxed: bool, starter: int
    ) -> None:
        self._folder = folder
        self._identity = identity
        self._bell = bell
        self._sandboxed = sandboxed
        self._starter = starter  # our child that answers the caller of the start; not a part of the run
        self._cap: int = identity["output_cap"]
        self._keep_open: bool = identity["keep_stdin_open"]
        self._journal = os.open(folder.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        # Read and write, so that it never comes to its end and a teller always finds it open.
        self._control = os.open(folder.control, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._size = 0
        self._dropped = 0
        self._dropped_told_at = 0.0
        self._deadline_known: float | None = None
        self._deadline_read_at = 0.0
        self._held = b""
        self._buffer = bytearray(PIECE)
        self._poll = select.poll()
        self._program = 0
        self._output = -1
        self._over = -1
        self._status: int | None = None
        self._end = "exited"
        self._steps: list[tuple[float, int]] = []
        self._input: int | None = None
        self._source: int | None = None  # the message that is being put into stdin
        self._source_name = ""
        self._pending = b""

    def watch(self, program: int, *, stdin: int, output: int) -> None:
        """Look after the program until its end is on disk."""
        self._program, self._input, self._output = program, stdin, output
        os.set_blocking(stdin, False)
        os.set_blocking(output, False)
        self._over = os.pidfd_open(program)  # readable once the program has ended
        for handle in (self._over, self._control, output):
            self._poll.register(handle, select.POLLIN)
        self._feed()
        while self._status is None:
            self._turn()
        self.finish(self._ending())

    def finish(self, ending: dict[str, Any]) -> None:
        """Leave nothing of the run alive, then write its end."""
        marker = records.marker_of(self._identity).encode()
        while not processes.slay(lambda: self._all(marker)):
            self._bell.ring(self._folder)
        self._drain()
        ending.update(size=self._folder.size(), dropped=self._dropped, ended_at=time.time())
        while True:
            try:
                self._folder.write_exit(ending)
                break
            except OSError:
                time.sleep(HELD_WAIT)
        self._bell.ring(self._folder)

    # --- one turn of the loop ---

    def _turn(self) -> None:
        ready = dict(self._poll.poll(self._patience() * 1000))
        self._reap()
        if self._held:
            self._keep(b"")
        elif self._output in ready:
            self._take()
        if self._control in ready:
            self._listen()
        if self._input is not None and self._input in ready:
            self._feed()
        self._mind_the_time()

    def _patience(self) -> float:
        now = time.monotonic()
        waits = [LONGEST_WAIT, *(at - now for at, _ in self._steps)]
        if self._held:
            waits.append(HELD_WAIT)
        if (deadline := self._deadline()) is not None:
            waits.append(deadline - processes.boottime())
        return max(0.0, min(waits)) + 0.001

    def _reap(self) -> None:
        """Collect the program's end, and the orphans that have become ours; these wait for the next turn without harm."""
        done = processes.reap()
        if self._program in done:
            self._status = done[self._program]

    def _mind_the_time(self) -> None:
        if self._status is None and self._passed(self._deadline()) and self._passed(self._deadline(fresh=True)):
            self._end = "deadline"
            self._kill_now()
        while self._steps and self._steps[0][0] <= time.monotonic():
            _, number = self._steps.pop(0)
            if number == signal.SIGKILL:
                self._kill_now()
            else:
                self._signal_program(number)

    def _passed(self, deadline: float | None) -> bool:
        return deadline is not None and processes.boottime() >= deadline

    def _deadline(self, *, fresh: bool = False) -> float | None:
        """The fence's deadline, read again each second at most: a busy program makes many turns."""
        if fresh or time.monotonic() - self._deadline_read_at > 1:
            self._deadline_known = self._folder.deadline()
            self._deadline_read_at = time.monotonic()
        return self._deadline_known

    def _below(self, table: dict[int, processes.Stat] | None = None) -> list[processes.Process]:
        return [process for process in processes.descendants([os.getpid()], table) if process.pid != self._starter]

    def _all(self, marker: bytes) -> list[processes.Process]:
        table = processes.every()
        return [*self._below(table), *processes.marked(marker, table)]

    def _kill_now(self) -> None:
        """Everything at once; the program's own end is collected right after."""
        self._steps = []
        processes.slay(self._below)
        self._status = processes.reap().get(self._program, self._status)

    def _signal_program(self, number: int) -> None:
        """Signal the program itself; in a sandbox it is the grandchild of bubblewrap, whose own death would take it along unasked."""
        target = [self._program]
        if self._sandboxed:
            table = processes.every()
            for _ in range(2):
                target = [pid for pid, seen in table.items() if seen.parent in target]
        for pid in target or [self._program]:
            if (seen := processes.stat(pid)) is not None:
                processes.kill(processes.Process(pid, seen.start), number)

    # --- what we are told ---

    def _listen(self) -> None:
        for line in os.read(self._control, 4096).decode(errors="replace").split("\n"):
            words = line.split()
            if not words:
                continue
            if words[0] == "inbox":
                self._feed()
            elif words[0] == "deadline":
                self._deadline(fresh=True)
            elif words[0] == "stop" and self._end == "exited":
                self._end = "stopped"
                grace, now = float(words[1]), time.monotonic()
                self._steps = [(now, signal.SIGINT), (now + grace, signal.SIGTERM), (now + 2 * grace, signal.SIGKILL)]
            elif words[0] == "kill":
                self._end = "stopped" if self._end == "exited" else self._end
                self._steps = [(time.monotonic(), signal.SIGKILL)]

    # --- output ---

    def _take(self) -> None:
        try:
            count = os.readv(self._output, [self._buffer])
        except BlockingIOError:
            return
        if count == 0:
            self._poll.unregister(self._output)  # closed by the program, which may live on
            return
        self._keep(memoryview(self._buffer)[:count])

    def _keep(self, data: bytes | memoryview) -> None:
        """Append to the journal up to the cap. On a full disk hold the bytes and read no more, so that the program waits."""
        data = self._held or data
        kept = data[: max(0, self._cap - self._size)]
        try:
            written = os.write(self._journal, kept) if kept else 0
        except OSError as error:
            if error.errno not in disk.FULL:
                raise
            self._hold(bytes(data))
            return
        self._size += written
        if written < len(kept):
            self._hold(bytes(data[written:]))
        else:
            self._drop(len(data) - len(kept))
            if self._held:
                self._held = b""
                self._poll.register(self._output, select.POLLIN)
        if written:
            self._bell.ring(self._folder)

    def _hold(self, data: bytes) -> None:
        if not self._held:
            self._poll.unregister(self._output)
        self._held = data

    def _drop(self, count: int) -> None:
        self._dropped += count
        if count and time.monotonic() - self._dropped_told_at > 1:
            self._dropped_told_at = time.monotonic()
            try:
                disk.write_json(self._folder.path / "dropped", {"bytes": self._dropped}, durable=False)
            except OSError:
                return  # told again with the next bytes, and at the end

    def _drain(self) -> None:
        """Take what is still in the pipe, wait a while for a full disk, and say how much was dropped."""
        for _ in range(LAST_PIECES):
            before = self._size + self._dropped
            for _ in range(HELD_PATIENCE):
                if not self._held:
                    break
                self._keep(b"")
                if self._held:
                    time.sleep(HELD_WAIT)
            if self._held:
                self._dropped += len(self._held)
                self._held = b""
                break
            self._take_last()
            if self._size + self._dropped == before and not self._held:
                break
        if self._dropped:
            try:
                os.write(self._journal, b"\n[ao] dropped %d bytes\n" % self._dropped)
            except OSError:
                return  # the exit record says it too

    def _take_last(self) -> None:
        if self._program:
            try:
                self._take()
            except KeyError:
                return  # its end was seen before

    # --- input ---

    def _feed(self) -> None:
        """Put waiting messages into stdin in their order, each marked as done once it is all in the pipe."""
        while self._input is not None:
            if not self._pending and not self._next_piece():
                if not self._keep_open or self._folder.last.exists():
                    self._close_input()
                else:
                    self._want_input(wanted=False)
                return
            try:
                self._pending = self._pending[os.write(self._input, self._pending) :]
            except BlockingIOError:
                self._want_input(wanted=True)
                return
            except BrokenPipeError:
                self._folder.deaf.touch()
                self._close_input()

    def _next_piece(self) -> bool:
        while True:
            if self._source is None and not self._next_message():
                return False
            assert self._source is not None  # noqa: S101 - for the type checker
            self._pending = os.read(self._source, PIECE)
            if self._pending:
                return True
            os.close(self._source)
            self._source = None
            waiting = self._folder.messages / self._source_name
            waiting.rename(waiting.with_name(self._source_name + records.DONE))

    def _next_message(self) -> bool:
        names = sorted(entry.name for entry in self._folder.messages.iterdir() if not entry.name.endswith(records.DONE))
        names = [name for name in names if not name.startswith(".")]
        if not names:
            return False
        self._source_name = names[0]
        self._source = os.open(self._folder.messages / names[0], os.O_RDONLY | os.O_CLOEXEC)
        return True

    def _want_input(self, *, wanted: bool) -> None:
        if self._input is None:
            return
        if wanted:
            self._poll.register(self._input, select.POLLOUT)
            return
        try:
            self._poll.unregister(self._input)
        except KeyError:
            return  # it was not waited for

    def _close_input(self) -> None:
        if self._input is not None:
            self._want_input(wanted=False)
            os.close(self._input)
            self._input = None
            self._folder.deaf.touch()

    def _ending(self) -> dict[str, Any]:
        code = os.waitstatus_to_exitcode(self._status or 0)
        if self._sandboxed and 128 < code <= 128 + signal.SIGRTMAX:
            code = 128 - code  # bubblewrap tells of its program's death as shells do
        return {"end": self._end, "exit_code": code if code >= 0 else None, "signal": -code if code < 0 else None}
