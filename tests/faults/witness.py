"""Those who saw what agents did: one looks at the processes of the machines, the model's log says what it was told."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.machines import Machine
from tests.scripted_model import ScriptedModel
from workers.hostkit import processes

TICKS = 100.0  # of /proc's start times, a second
EVERY = 0.03
STARTING = 10.0  # seconds in which a process may become another program
_MESSAGE = re.compile(r"\[message ([0-9a-f-]{36})\]")
_TALKS = b"--input-format"


@dataclass(slots=True)
class Life:
    """One process of an agent: whose turn it is, when it began, and when it was seen alive last; seconds since this machine's boot."""

    pid: int
    task: int
    turn: tuple[str, str]  # session, number
    began: float
    seen: float


class Witness:
    """Looks many times a second at which agents live on the machines. What it says of a life's end is too early, never too late."""

    def __init__(self, machines: Sequence[Machine], program: str) -> None:
        self._networks = {Path(f"/run/netns/{one.name}").stat().st_ino for one in machines}
        self._program = program.encode()
        self._strangers: set[tuple[int, int]] = set()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._lives: dict[tuple[int, int], Life] = {}
        self.wrong: list[BaseException] = []
        self.struck: Counter[int] = Counter()  # task -> how often its agent was killed by a test

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch, name="witness", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def victim(self) -> Life | None:
        """A living agent whose task has been struck least."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        with self._lock:
            living = [life for life in self._lives.values() if now - life.seen < 10 * EVERY and _lives(life)]
        return min(living, key=lambda life: self.struck[life.task], default=None)

    def strike(self, life: Life) -> None:
        self.struck[life.task] += 1

    def starts(self) -> Counter[tuple[str, str]]:
        """How many processes each turn had."""
        with self._lock:
            return Counter(life.turn for life in self._lives.values())

    def overlaps(self) -> list[tuple[Life, Life]]:
        """Lives of one task that were there at the same time."""
        with self._lock:
            lives = sorted(self._lives.values(), key=lambda life: life.task)
        return [
            pair
            for _, same in itertools.groupby(lives, key=lambda life: life.task)
            for pair in itertools.combinations(same, 2)
            if pair[0].began < pair[1].seen and pair[1].began < pair[0].seen
        ]

    def marked(self) -> list[int]:
        """Every process on the machines that belongs to a run."""
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._of_a_run(entry)]

    def _of_a_run(self, entry: Path) -> bool:
        try:
            return (entry / "ns/net").stat().st_ino in self._networks and b"AO_RUN=" in (entry / "environ").read_bytes()
        except OSError:
            return False

    def _watch(self) -> None:
        try:
            while not self._over.wait(EVERY):
                self._look()
        except BaseException as error:  # noqa: BLE001  # told by the driver
            self.wrong.append(error)

    def _look(self) -> None:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        for entry in Path("/proc").iterdir():
            stat = processes.stat(int(entry.name)) if entry.name.isdigit() else None
            if stat is None or stat.state == "Z":
                continue
            key = (int(entry.name), stat.start)
            if key in self._lives:
                self._lives[key].seen = max(now, self._lives[key].seen)
            elif key not in self._strangers:
                self._meet(key, stat.parent, now)

    def _meet(self, key: tuple[int, int], parent: int, now: float) -> None:
        """A process that was not seen before. One that is about to become another program is met again."""
        pid, start = key
        try:
            ours = Path(f"/proc/{pid}/ns/net").stat().st_ino in self._networks
            if ours and _is_agent(pid, self._program) and not _is_agent(parent, self._program):
                environ = dict(
                    line.decode().split("=", 1)
                    for line in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                    if b"=" in line
                )
                turn = (environ["AO_SESSION"], environ["AO_TURN"])
                with self._lock:
                    self._lives[key] = Life(pid, int(environ["AO_TASK"]), turn, start / TICKS, max(now, start / TICKS))
            elif not ours or now - start / TICKS > STARTING:
                self._strangers.add(key)
        except (OSError, KeyError):
            return  # it ended while it was looked at


def _is_agent(pid: int, program: bytes) -> bool:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return words[0] == program and _TALKS in words


def _lives(life: Life) -> bool:
    stat = processes.stat(life.pid)
    return stat is not None and stat.state != "Z" and abs(stat.start / TICKS - life.began) < 1 / TICKS


def guard_of(pid: int) -> int | None:
    """The process of hostkit that an agent's process is below."""
    while pid > 1:
        if b"workers.hostkit" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
        stat = processes.stat(pid)
        pid = stat.parent if stat is not None else 0
    return None


def told(model: ScriptedModel) -> Counter[str]:
    """How often each message stands in one conversation, at most: every request shows the model the whole of it."""
    most: dict[str, int] = defaultdict(int)
    for one in list(model.heard):
        for name, times in Counter(_MESSAGE.findall(_said(one.body))).items():
            most[name] = max(most[name], times)
    return Counter(most)


def _said(body: str) -> str:
    """All that was said to the model in a conversation, as text; a request without tools is none."""
    content = json.loads(body)
    if not content.get("tools"):
        return ""
    return json.dumps([message for message in content["messages"] if message.get("role") != "assistant"])
