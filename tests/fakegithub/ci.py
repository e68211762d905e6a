"""The runners: each new head of a pull request is checked out and the repository's own script is run on it, for real."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from datetime import UTC, datetime

from tests.fakegithub.world import CheckRun, World
from tests.repositories import ENVIRONMENT

NAME = "ci"


class Runners:
    """Runs `sh SCRIPT` for every head that the world tells of. `join` waits for those that run."""

    def __init__(self, world: World, *, script: str) -> None:
        self._world, self._script = world, script
        self._threads: list[threading.Thread] = []
        world.new_head = self.start
        world.again = self.carry_out

    def start(self, sha: str) -> None:
        self.carry_out(self._world.check(sha, NAME))

    def carry_out(self, run: CheckRun) -> None:
        """Run a job in a thread of its own."""
        thread = threading.Thread(target=self._run, args=(run,), name=f"ci-{run.id}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(timeout=60)

    def _run(self, run: CheckRun) -> None:
        with self._world.settled():
            run.status = "in_progress"
        with tempfile.TemporaryDirectory(prefix="ao-test-") as folder:
            subprocess.run(["git", "clone", "-q", str(self._world.git_dir), folder], check=True, env=ENVIRONMENT)
            subprocess.run(["git", "checkout", "-q", run.sha], cwd=folder, check=True, env=ENVIRONMENT)
            done = subprocess.run(
                ["sh", self._script],
                cwd=folder,
                env=ENVIRONMENT,
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
            )
        self._world.complete(
            run, "failure" if done.returncode else "success", log=self._log(done.stdout, done.returncode)
        )

    def _log(self, output: str, code: int) -> str:
        """As the service writes its logs: each line with its instant, steps as groups, the error last."""
        lines = [f"##[group]Run sh {self._script}", "##[endgroup]", *output.splitlines()]
        if code:
            lines.append(f"##[error]Process completed with exit code {code}.")
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.0000000Z")
        return "".join(f"{stamp} {line}\n" for line in lines)
