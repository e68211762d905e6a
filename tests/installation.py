"""The whole service as its users run it: `ao start` on a home of its own, spoken to over its API; its processes can be found and killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.repositories import Repository

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 90.0


def wait_for(true: Callable[[], object], what: str, *, seconds: float = PATIENCE, every: float = 0.05) -> None:
    """Return when the condition holds. Raises AssertionError that says what never came true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"never within {seconds:.0f} s: {what}"
        time.sleep(every)


def alive(pid: int) -> bool:
    """Whether the process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass(slots=True)
class Installation:
    """One home with its service."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    url: str = ""
    token: str = ""
    port: int = 0
    ends: ExitStack = field(default_factory=ExitStack)  # what is let go of when it is over

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def start(self, *arguments: str) -> float:
        """Start the service and answer how long that took, in seconds."""
        began = time.monotonic()
        words = [
            sys.executable,
            "-m",
            "ops.local.main",
            "start",
            *arguments,
            "--home",
            str(self.home),
            "--port",
            str(self.port),
        ]
        with (self.folder / "stderr.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*words, "--json", "--no-open"],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment(),
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the service did not start:\n{(self.folder / 'stderr.log').read_text()[-4000:]}"
        ready = json.loads(line)
        self.url, self.token = ready["url"], ready["token"]
        self.port = int(self.url.rpartition(":")[2])
        return time.monotonic() - began

    def _environment(self) -> dict[str, str]:
        kept = {
            key: value
            for key, value in os.environ.items()
            if key not in {"DATABASE_URL", "REDIS_URL", "AO_HOME", "AO_SECRET_KEY"}
        }
        return {**kept, "PYTHONWARNINGS": "ignore", **self.environment}

    def stop(self) -> None:
        """Stop it as Ctrl-C does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
            self._closed()

    def kill(self) -> None:
        """kill -9 of the supervisor; what it started dies with it, agents and their guards live on."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self._closed()

    def _closed(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None

    def child(self, name: str) -> int | None:
        """The pid of a process of the service (web, control, host, beat): the child whose output goes to that log."""
        log = str(self.home / "logs" / f"{name}.log")
        return next((pid for pid in self._children() if _output(pid) == log), None)

    def _children(self) -> list[int]:
        if self.process is None:
            return []
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def server(self, word: str) -> int | None:
        """The pid of an embedded server, by a word of its command line."""
        return next((pid for pid in self._children() if word in _command(pid)), None)

    def hostkit(self) -> list[int]:
        """serve and its guards: the processes that hostkit runs for this home."""
        mark = str(self.home / "hostkit")
        return [
            int(p.name)
            for p in Path("/proc").iterdir()
            if p.name.isdigit() and mark in _command(int(p.name)) and "workers.hostkit" in _command(int(p.name))
        ]

    def marked(self) -> list[int]:
        """Every process that belongs to a run."""
        found = []
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                try:
                    if (
                        b"AO_RUN=" in (path / "environ").read_bytes()
                        and str(self.folder).encode() in (path / "environ").read_bytes()
                    ):
                        found.append(int(path.name))
                except (FileNotFoundError, ProcessLookupError, PermissionError):
                    continue
        return found

    def database(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection to the embedded database, which every statement of its own commits."""
        return psycopg.connect(
            host=str(self.home / "run" / "postgres"), user="ao", dbname="ao", autocommit=True, connect_timeout=2
        )

    def call(self, method: str, path: str, **more: object) -> httpx.Response:
        """One call of the API."""
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}  # type: ignore[dict-item]
        return httpx.request(method, f"{self.url}/api/v1{path}", headers=headers, timeout=30, **more)  # type: ignore[arg-type]

    def patient(self, method: str, path: str, **more: object) -> httpx.Response:
        """A call that is made again while the service is away, as a client of a database would; its key makes it one effect."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answer = self.call(method, path, **dict(more))
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code < 500:
                return answer
            assert answer is None or answer.status_code == 503, f"{answer.status_code}: {answer.text[:500]}"
            assert time.monotonic() < deadline, f"{method} {path} is not answered"
            time.sleep(0.1)


def running(*words: str) -> bool:
    """Whether a process of this machine was called with exactly these words."""
    return any(
        _command(int(entry.name)) == f"{' '.join(words)} " for entry in Path("/proc").iterdir() if entry.name.isdigit()
    )


def _output(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/fd/1").readlink())
    except OSError:
        return ""


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@contextmanager
def installation(**environment: str) -> Iterator[Installation]:
    """A folder for a service, and nothing of it left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="ao-test-"))
    folder.chmod(0o755)
    made = Installation(folder=folder, environment=environment)
    try:
        yield made
    finally:
        made.ends.close()
        made.stop()
        for pid in [*made.hostkit(), *made.marked()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        wait_for(lambda: not made.hostkit(), "hostkit is gone", seconds=10)
        shutil.rmtree(folder, ignore_errors=True)


def plain_repository(folder: Path, files: Mapping[str, str]) -> Repository:
    """A repository that takes pushes to its checked-out branch."""
    made = Repository.make(folder, files)
    made.git("config", "receive.denyCurrentBranch", "updateInstead")
    return made
