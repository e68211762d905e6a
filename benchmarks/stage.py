"""The service under measurement: started as its users start it, with Django of this process attached to its database."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx

from ops.local import door, servers
from ops.local import home as homes
from ops.local.home import Home
from tests.installation import Installation, installation, plain_repository
from tests.repositories import Repository

PATIENCE = 120.0
# Tells when it has read its whole prompt, by the machine's clock, and ends its turn.
PROMPTED = ["/bin/bash", "-c", "IFS= read -r -d '' prompt; echo prompted $EPOCHREALTIME ${#prompt}"]


@dataclass(slots=True, kw_only=True)
class Stage:
    """One running service with one repository."""

    service: Installation
    repository: Repository
    client: httpx.Client

    def post(self, title: str) -> tuple[int, float]:
        """Hand in a task: its id, and when we began to."""
        began = time.time()
        answer = self.client.post("/tasks/", json={"project": "app", "title": title})
        answer.raise_for_status()
        return int(answer.json()["id"]), began

    @property
    def folder(self) -> Path:
        return self.service.folder

    @property
    def home(self) -> Path:
        return self.service.home


def until(true: Callable[[], object], what: str, *, every: float = 0.02, seconds: float = PATIENCE) -> None:
    """Return when it is so. Raises TimeoutError that says what never came true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"never within {seconds:.0f} s: {what}")
        time.sleep(every)


def files(count: int) -> Mapping[str, str]:
    """A tree of so many small files in folders of a hundred."""
    return {f"d{n // 100:03d}/f{n:05d}.txt": f"line one of {n}\nline two of {n}\n" * 8 for n in range(count)}


@contextmanager
def stage(*, files_count: int = 100, **environment: str) -> Iterator[Stage]:
    """A service on a repository of so many files, whose agent ends its turn as soon as it has its prompt."""
    with installation(**environment) as service:
        repository = plain_repository(service.folder / "app", files(files_count))
        service.start(str(repository.path))
        os.environ["AO_PORT"] = str(service.port)  # cookies are named after it
        attach(service.home)
        with client_of(service) as client:
            made = Stage(service=service, repository=repository, client=client)
            settle()
            yield made


@contextmanager
def bare() -> Iterator[Path]:
    """Only the servers of a home and a database with one project: no process of the service runs. Gives the home."""
    folder = Path(tempfile.mkdtemp(prefix="ao-bench-"))
    folder.chmod(0o755)
    home = homes.prepare(folder / "home")
    try:
        with homes.locked(home):
            pair = servers.start(home)
            try:
                attach(home.path)
                door.load("ops.local.installation").migrate()
                door.load("benchmarks.rows").found_project()
                yield home.path
            finally:
                pair.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def client_of(service: Installation) -> httpx.Client:
    """A program that keeps its connection, as programs do."""
    headers = {"Authorization": f"Bearer {service.token}"}
    return httpx.Client(base_url=f"{service.url}/api/v1", headers=headers, timeout=60)


def attach(home: Path) -> None:
    """Let Django of this process speak to the database of that home. Once a process."""
    door.set_environment(Home(path=home), servers.addresses(Home(path=home)))
    door.load("orchestrator.models")


def settle() -> None:
    """Settings of a busy team on one machine, and a mirror that is there."""
    models = door.load("orchestrator.models")
    models.Host.objects.update(capacity=1000)
    models.Project.objects.update(
        agent="command",
        agent_config={"command": PROMPTED},
        max_sessions=1000,
        cleanup_grace=timedelta(0),
        scm=NO_CHECKS,
    )
    until(lambda: models.Project.objects.exclude(base_sha="").exists(), "the mirror is there")


NO_CHECKS = {"plugin": "local", "requiredChecks": [], "checks": {}}


def git(*words: str, folder: Path) -> None:
    """Run git as a person would."""
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)
