"""The Host port over hostkit's protocol, on whatever carries bytes to a host's serve.

A host that is reached differently (a unix socket, an SSH channel) brings a `Dial` and nothing else. Each call has a connection to itself,
so that a long look delays nobody; idle connections are kept for the next call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from orchestrator.ports import (
    Chunk,
    Command,
    Completed,
    HostFacts,
    Look,
    PortError,
    Refused,
    Room,
    Run,
    RunEnd,
    RunState,
    Sandbox,
    Unavailable,
)
from workers.hostkit import frames, release

RECEIVE = 256 * 1024
KEPT = 8  # idle connections
SLACK = 2.0  # seconds that an answer may be late after its operation's own time is up
GRACE = 5.0  # seconds between interrupt, terminate and kill
Answer = TypeVar("Answer")


class Stream(Protocol):
    """Bytes to and from one serve. Both directions raise OSError; `receive` answers b"" at the end."""

    def send(self, data: bytes, *, timeout: float) -> None: ...

    def receive(self, count: int, *, timeout: float) -> bytes: ...

    def usable(self) -> bool:
        """Whether an idle stream may be used again: nothing has arrived on it, not even its end."""
        ...

    def close(self) -> None: ...


class Dial(Protocol):
    """Makes a stream to the host's serve, starting it if need be. Raises `Unavailable` or `Refused`."""

    def __call__(self, *, timeout: float) -> Stream: ...


class LostConnectionError(Exception):
    """The connection ended before the whole answer was there."""


class WireHost:
    """The Host port, spoken over streams: at most `most` of them at a time, where the way to the host carries no more."""

    def __init__(self, dial: Dial, *, most: int | None = None) -> None:
        self._dial = dial
        self._most = most
        self._idle: list[Stream] = []
        self._open = 0  # streams that are at work, idle or being made
        self._changed = threading.Condition()

    def close(self) -> None:
        """Close the idle connections."""
        with self._changed:
            idle, self._idle = self._idle, []
        for stream in idle:
            self._end(stream)

    # --- the port ---

    def facts(self, *, programs: Sequence[str] = (), timeout: float = 10) -> HostFacts:
        return self._ask({"op": "facts", "programs": list(programs)}, timeout=timeout, read=_facts)

    def open_workspace(self, workspace: str, *, timeout: float = 10) -> Room:
        return self._ask({"op": "open_workspace", "workspace": workspace}, timeout=timeout, read=_room)

    def remove_workspace(self, workspace: str, *, timeout: float = 30) -> None:
        self._ask({"op": "remove_workspace", "workspace": workspace}, timeout=timeout)

    def start(self, run: Run, *, timeout: float = 10) -> RunState:
        files = dict(run.files)
        asked = {name: value for name, value in asdict(run).items() if name not in ("stdin", "files")}
        parts = [run.stdin, *files.values()]
        return self._ask({"op": "start", "run": asked, "files": list(files)}, parts, timeout=timeout, read=_one_state)

    def look(self, *, cursors: Mapping[str, int], wait: float, timeout: float) -> Look:
        asked = {"op": "look", "cursors": dict(cursors), "wait": min(wait, max(0.0, timeout - 1))}
        return self._ask(asked, timeout=timeout, read=_look)

    def send(self, run: str, *, message: str, data: bytes, timeout: float = 10) -> None:
        self._ask({"op": "send", "run": run, "message": message}, [data], timeout=timeout)

    def close_input(self, run: str, *, timeout: float = 10) -> None:
        self._ask({"op": "close_input", "run": run}, timeout=timeout)

    def renew(self, deadlines: Mapping[str, float], *, timeout: float = 10) -> None:
        self._ask({"op": "renew", "deadlines": dict(deadlines)}, timeout=timeout)

    def stop(self, run: str, *, timeout: float = 20) -> RunState:
        grace = min(GRACE, timeout / 4)
        return self._ask({"op": "stop", "run": run, "grace": grace}, timeout=timeout, read=_one_state)

    def end(self, fence: str, *, epoch: int, timeout: float = 30) -> None:
        self._ask({"op": "end", "fence": fence, "epoch": epoch}, timeout=timeout)

    def command(self, command: Command, *, timeout: float = 50) -> Completed:
        asked = {name: value for name, value in asdict(command).items() if name != "stdin"}
        request = {"op": "command", "command": asked}
        return self._ask(request, [command.stdin], timeout=timeout, repeatable=False, read=_completed)

    def read(self, path: str, *, workspace: str, cap: int, timeout: float = 30) -> bytes:
        asked = {"op": "read", "path": path, "workspace": workspace, "cap": cap}
        return self._ask(asked, timeout=timeout, read=lambda answer: answer.parts()[0])

    def write(self, path: str, data: bytes, *, workspace: str, timeout: float = 30) -> None:
        self._ask({"op": "write", "path": path, "workspace": workspace}, [data], timeout=timeout)

    # --- below ---

    def _ask(
        self,
        content: dict[str, Any],
        parts: list[bytes] | None = None,
        *,
        timeout: float,
        repeatable: bool = True,
        read: Callable[[frames.Message], Answer] = lambda _: None,  # type: ignore[assignment, return-value]  # nobody reads it
    ) -> Answer:
        """One request and its answer, as `read` understands it. What is safe to ask twice is asked again when an idle connection turns out
        to be dead."""
        until = time.monotonic() + timeout
        request = {**content, "timeout": timeout}
        while True:
            stream, fresh = self._connection(until)
            try:
                answer = exchange(stream, request, parts, until=until + SLACK)
            except (OSError, LostConnectionError, frames.BrokenStreamError) as error:
                self._end(stream)
                if fresh or not repeatable or time.monotonic() >= until:
                    raise Unavailable(
                        f"the host did not answer {content['op']}: {str(error) or type(error).__name__}"
                    ) from error
                continue
            return self._understood(stream, answer, content["op"], read)

    def _understood(
        self, stream: Stream, answer: frames.Message, op: str, read: Callable[[frames.Message], Answer]
    ) -> Answer:
        """A host that answers nonsense is one that does not answer."""
        try:
            understood = read(_checked(answer))
        except PortError:
            self._keep(stream)
            raise
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            self._end(stream)
            raise Unavailable(f"the host's answer to {op} cannot be understood: {error!r:.200}") from error
        self._keep(stream)
        return understood

    def _connection(self, until: float) -> tuple[Stream, bool]:
        """A connection, and whether it is new."""
        while (stream := self._idle_one(until)) is not None:
            if stream.usable():
                return stream, False
            self._end(stream)
        try:
            return self._dial(timeout=max(0.1, until - time.monotonic())), True
        except BaseException:
            self._end(None)
            raise

    def _idle_one(self, until: float) -> Stream | None:
        """An idle stream, or None: there is room for a new one, and it is ours to make."""
        with self._changed:
            while not self._idle and self._most is not None and self._open >= self._most:
                if not self._changed.wait(max(0.0, until - time.monotonic())):
                    raise Unavailable(f"all {self._most} lines to the host were busy for too long")
            if self._idle:
                return self._idle.pop()
            self._open += 1
            return None

    def _keep(self, stream: Stream) -> None:
        with self._changed:
            if len(self._idle) < KEPT:
                self._idle.append(stream)
                self._changed.notify()
                return
        self._end(stream)

    def _end(self, stream: Stream | None) -> None:
        """Close a stream, or give up one that could not be made; somebody else may have its place."""
        if stream is not None:
            stream.close()
        with self._changed:
            self._open -= 1
            self._changed.notify()


def agreed(stream: Stream, *, version: str, stamp: int, until: float) -> bool:
    """Whether the serve behind a stream may stay: an older one retires at our word, and the runs do not notice. Else the stream is closed."""
    hello = {"op": "hello", "version": version, "release": release.RELEASE, "stamp": stamp}
    try:
        answer = exchange(stream, hello, None, until=until)
    except (OSError, LostConnectionError, frames.BrokenStreamError):
        stream.close()
        return False
    said = answer.content.get("ok")
    if not isinstance(said, dict) or said.get("retired") is not False:
        stream.close()
        return False
    return True


def exchange(stream: Stream, content: dict[str, Any], parts: list[bytes] | None, *, until: float) -> frames.Message:
    """Send one request and wait for its answer."""
    for piece in frames.message(content, parts):
        stream.send(piece, timeout=_left(until))
    reader = frames.Reader()
    while True:
        data = stream.receive(max(RECEIVE, reader.wanted()), timeout=_left(until))
        if not data:
            raise LostConnectionError("the connection ended")
        for message in reader.feed(data):
            return message


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


def _checked(answer: frames.Message) -> frames.Message:
    """The content of a good answer; a bad one raises what the host said."""
    if "ok" in answer.content:
        return frames.Message({**answer.content["ok"], "parts": answer.content.get("parts", [])}, answer.body)
    error = answer.content["error"]
    if error["kind"] == "refused":
        raise Refused(error["message"], code=error["code"], evidence=error["evidence"])
    raise Unavailable(error["message"])


def _facts(answer: frames.Message) -> HostFacts:
    content = answer.content
    return HostFacts(
        boot_id=str(content["boot_id"]),
        boottime=float(content["boottime"]),
        hostkit=content["hostkit"],
        root=content["root"],
        home=content["home"],
        git=content["git"],
        sandboxes=frozenset(Sandbox(name) for name in content["sandboxes"]),
        free_bytes=int(content["free_bytes"]),
        programs=dict(content["programs"]),
    )


def _room(answer: frames.Message) -> Room:
    return Room(**answer.content["room"])


def _look(answer: frames.Message) -> Look:
    content = answer.content
    return Look(
        boot_id=str(content["boot_id"]),
        boottime=float(content["boottime"]),
        free_bytes=int(content["free_bytes"]),
        runs=tuple(_state(state) for state in content["runs"]),
        chunks=tuple(
            Chunk(run=str(chunk["run"]), offset=int(chunk["offset"]), data=data)
            for chunk, data in zip(content["chunks"], answer.parts(), strict=True)
        ),
    )


def _completed(answer: frames.Message) -> Completed:
    stdout, stderr = answer.parts()
    return Completed(
        code=int(answer.content["code"]), stdout=stdout, stderr=stderr, truncated=answer.content["truncated"]
    )


def _one_state(answer: frames.Message) -> RunState:
    return _state(answer.content["state"])


def _state(raw: Mapping[str, Any]) -> RunState:
    return RunState(
        id=raw["id"],
        fence=raw["fence"],
        epoch=raw["epoch"],
        live=raw["live"],
        end=RunEnd(raw["end"]) if raw["end"] else None,
        exit_code=raw["exit_code"],
        signal=raw["signal"],
        size=int(raw["size"]),
        dropped=int(raw["dropped"]),
        started_at=_instant(raw["started_at"]),
        ended_at=_instant(raw["ended_at"]),
        detail=raw["detail"],
    )


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
