"""A machine that joins a running service: `ao worker --join` on it, as a person there would type it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.machines import Machine
from tests.installation import ROOT, Installation, wait_for

HOME = "/var/lib/ao"
PYTHON = str(Path(sys.executable).resolve().parents[1])  # it may be below /root, which is each machine's own
CLEAN = (
    "env",
    "-i",
    f"--chdir={ROOT}",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
)


@dataclass(slots=True, kw_only=True)
class Spare:
    """One machine as a spare of one service."""

    machine: Machine
    service: Installation
    name: str

    def ao(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run `ao` on the machine to its end."""
        argv = [*self.machine.entering(), *CLEAN, sys.executable, str(ROOT / "ao"), *words]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60, check=False)

    def join(self, link: str) -> None:
        """Join and return when its worker is up and the service has seen it."""
        self.must("worker", "--join", link, "--home", HOME, "--detach")
        self.seen()

    def start(self) -> None:
        """Go on after a stop, a kill or a reboot."""
        self.must("worker", "--home", HOME, "--detach")
        self.seen()

    def stop(self) -> None:
        self.must("stop", "--home", HOME)

    def must(self, *words: str) -> str:
        done = self.ao(*words)
        assert done.returncode == 0, f"{done.stderr}{self.log('ao')}{self.log('host')}"
        return done.stdout

    def seen(self) -> None:
        wait_for(self.is_there, f"{self.name} is seen")

    def is_there(self) -> bool:
        row = self.service.call("GET", f"/hosts/{self.name}/").json()
        return row["seen_at"] is not None and row["silent_since"] is None

    def log(self, name: str) -> str:
        """What a process of it said."""
        file = self.machine.root / HOME.lstrip("/") / "logs" / f"{name}.log"
        return f"\n--- {name}\n{file.read_text()[-4000:]}" if file.exists() else ""

    def kill(self) -> None:
        """kill -9 of everything of the worker; hostkit, guards and agents live on."""
        pids = [*self.machine.processes("ops.local.main worker")]
        self.machine.inside("/bin/sh", "-c", 'kill -9 "$@"', "kill", *map(str, pids))
        wait_for(lambda: not self.machine.processes("ops.local.main worker"), "it is dead")

    def rooms(self) -> str:
        return self.machine.inside("sh", "-c", f"ls {HOME}/hostkit/rooms")


def link(here: Installation, name: str, *words: str) -> str:
    """The link that an administrator makes on the service's machine."""
    argv = [sys.executable, "-m", "ops.local.main", "host", "link", name, *words, "--home", str(here.home)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def gate_for(machine: Machine) -> tuple[str, str]:
    """The words with which a service listens for this machine."""
    return "--listen", f"{machine.gateway}:0"


@contextmanager
def joined(machine: Machine, service: Installation, *words: str, name: str = "spare") -> Iterator[Spare]:
    """The machine as a host of the running service."""
    spare = Spare(machine=machine, service=service, name=name)
    spare.join(link(service, name, *words))
    yield spare
