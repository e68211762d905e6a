"""An installation of its own for a test: started, spoken to, killed and stopped by its real commands."""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]


def until(condition: Callable[[], object], *, seconds: float = 30) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@dataclass(slots=True, kw_only=True)
class Installation:
    """One home, and the `ao` that runs it."""

    home: Path
    url: str = ""
    token: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def ao(self, *words: str, seconds: float = 90) -> subprocess.CompletedProcess[str]:
        """Run an `ao` command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "ops.local.main", *words], cwd=ROOT, env=self.environment, text=True,
            capture_output=True, timeout=seconds, check=False,
        )  # fmt: skip

    def start(self, *words: str) -> Mapping[str, Any]:
        """Start it in the background, and remember how to reach it."""
        done = self.ao("start", *words, "--home", str(self.home), "--port", "0", "--detach", "--json")
        assert done.returncode == 0, done.stderr
        told: Mapping[str, Any] = json.loads(done.stdout)
        self.url, self.token = told["url"], told["token"]
        return told

    def stop(self) -> str:
        """Stop it."""
        return self.ao("stop", "--home", str(self.home)).stdout

    def get(self, path: str) -> tuple[int, str]:
        """Ask the web for a page or the API for an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", int(self.url.rpartition(":")[2]), timeout=10)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}", "Host": "localhost"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)
        finally:
            connection.close()

    def supervisor(self) -> psutil.Process:
        """The process that holds the home."""
        return psutil.Process(int((self.home / "lock").read_text()))

    def processes(self) -> list[psutil.Process]:
        """Every process of the tree, the supervisor first."""
        supervisor = self.supervisor()
        return [supervisor, *supervisor.children(recursive=True)]


def left_behind(home: Path) -> list[psutil.Process]:
    """Processes that name this home on their command line, such as the programs that watch agents."""
    return [
        process for process in psutil.process_iter(["cmdline"]) if str(home) in " ".join(process.info["cmdline"] or [])
    ]


@contextmanager
def installation() -> Iterator[Installation]:
    """Give a home of its own, and leave nothing of it."""
    with tempfile.TemporaryDirectory(prefix="ao-i-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in {"DATABASE_URL", "REDIS_URL", "AO_HOME", "AO_SECRET_KEY"}
        }
        made = Installation(home=Path(folder) / "home", environment=environment)
        try:
            yield made
        finally:
            made.stop()
            for process in left_behind(made.home):
                process.kill()
