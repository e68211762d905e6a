"""`ao test`: the one script that checks everything, at a desk and in CI alike."""

import difflib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from ops.local import coding_agents
from ops.local.errors import CannotRun

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "docs" / "openapi.yaml"
# What some tests need beside Python packages; they skip, loudly, where it cannot be had.
SYSTEM_PROGRAMS = {
    "bwrap": "bubblewrap",
    "chromium": "chromium",
    "ip": "iproute2",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
}
SERVERS = frozenset({"openssh-server"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One check: what it is called, what it runs, and after how many seconds it is given up."""

    name: str
    words: Sequence[str]
    limit: float = 300

    def passes(self) -> bool:
        """Run it, and say how it went."""
        print(f"== {self.name}", flush=True)
        began = time.monotonic()
        # The tests make servers of their own; nobody's real ones may be meant by accident.
        environment = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
        process = subprocess.Popen([sys.executable, *self.words], cwd=ROOT, env=environment)
        try:
            ending = "ok" if process.wait(self.limit) == 0 else "FAILED"
        except subprocess.TimeoutExpired:
            ending = "FAILED, not done in time"
        finally:
            _end_all(process.pid)
        print(f"== {self.name}: {ending} ({time.monotonic() - began:.1f} s)", flush=True)
        return ending == "ok"


def _end_all(pid: int) -> None:
    """Kill a process and all below it, if it is still there."""
    try:
        process = psutil.Process(pid)
        below = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for one in (process, *below):
        with suppress(psutil.NoSuchProcess):
            one.kill()


STATIC = ("--settings", "tests.static_settings")
STEPS = (
    Step(name="ruff check", words=["-m", "ruff", "check", "."]),
    Step(name="ruff format", words=["-m", "ruff", "format", "--check", "."]),
    Step(name="mypy", words=["-m", "mypy"]),
    Step(
        name="import floors", words=["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    ),
    Step(name="migrations", words=["-W", "ignore", "manage.py", "makemigrations", "--check", "--dry-run", *STATIC]),
    Step(name="deployment", words=["manage.py", "check", "--deploy", "--fail-level", "WARNING", *STATIC]),
)

# A worker that died is not started again: xdist then waits for ever for tests that nobody has.
# Files keep the order of `tests/conftest.py`, the longest first.
_SHARED_OUT = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "--max-worker-restart", "0")
_PYTEST = ("-m", "pytest", *_SHARED_OUT, "-q")
WHOLE_SUITE = Step(
    name="pytest",
    words=[*_PYTEST, "--durations", "12", "--ignore", "tests/agents", "--ignore", "tests/e2e"],
    limit=45 * 60,
)
# In processes of their own: a browser's event loop runs as long as the process that drives it, and no asynchronous test can begin beside it.
BROWSER = Step(name="pages in a browser", words=[*_PYTEST, "--durations", "5", "tests/e2e"], limit=15 * 60)
# Real programs of coding agents, over the whole loop, against a scripted model.
AGENTS = "--agents"
AGENTS_STAGE = Step(
    name="agents",
    words=["-m", "pytest", "-n", "2", "--max-worker-restart", "0", "--durations", "5", "-q", "tests/agents"],
    limit=10 * 60,
)
A_DAY = 86_400.0


def everything(arguments: Sequence[str]) -> int:
    """Run every check but the agents' stage, or that with `--agents`, or pytest with other arguments; gives the exit code."""
    install_programs()
    if list(arguments) == [AGENTS]:
        return agents_stage()
    if arguments:
        return 0 if Step(name="pytest", words=["-m", "pytest", *arguments], limit=A_DAY).passes() else 1
    failed = [step.name for step in STEPS if not step.passes()]
    if not schema_is_current():
        failed.append("API schema")
    failed += [step.name for step in (WHOLE_SUITE, BROWSER) if not step.passes()]
    print(f"FAILED: {', '.join(failed)}" if failed else "everything passed", flush=True)
    return 1 if failed else 0


def agents_stage() -> int:
    """The tests with the real programs of coding agents; loudly left out where these cannot be had. Gives the exit code."""
    try:
        coding_agents.install_claude_code()
    except CannotRun as error:
        print(f"!! {error} The tests with the real program are SKIPPED", flush=True)
        return 0
    return 0 if AGENTS_STAGE.passes() else 1


def schema_is_current() -> bool:
    """Compare the API's schema with the one that is kept: a change of the contract is seen in review."""
    print("== API schema", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "openapi.yaml"
        words = ["manage.py", "spectacular", "--file", str(fresh), "--validate", "--fail-on-warn", *STATIC]
        made = subprocess.run([sys.executable, *words], cwd=ROOT, check=False).returncode == 0
        kept = SCHEMA.read_text().splitlines() if SCHEMA.exists() else []
        difference = list(
            difflib.unified_diff(kept, fresh.read_text().splitlines() if made else [], "kept", "now", lineterm="")
        )
    if made and not difference:
        print("== API schema: ok", flush=True)
        return True
    print("\n".join(difference[:60]))
    print(
        f"== API schema: FAILED. After a wanted change: ./ao manage spectacular --file {SCHEMA.relative_to(ROOT)}",
        flush=True,
    )
    return False


def install_programs() -> None:
    """As root on Debian, install what some tests need; elsewhere say what they will skip. A package that would start a server of the
    machine's own is left to the machine's owner."""
    missing = {program: package for program, package in SYSTEM_PROGRAMS.items() if not _installed(program)}
    starts_servers = SERVERS if Path("/run/systemd/system").is_dir() else frozenset[str]()
    wanted = [package for package in missing.values() if package not in starts_servers]
    if wanted and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        print(f"== installing {', '.join(wanted)}", flush=True)
        for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *wanted]):
            subprocess.run(["apt-get", *words], env=environment, check=False, stdout=subprocess.DEVNULL)
    for program, package in missing.items():
        if not _installed(program):
            print(f"!! {program} is not installed ({package}): the tests that need it are SKIPPED", flush=True)


def _installed(program: str) -> bool:
    """Servers stand in folders that are not on everybody's PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") is not None
