"""Looks at a repository before it is registered: is it one, which branch, which tests, which agents' programs."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.local.errors import CannotRun
from orchestrator.domain.naming import github_api, slug
from orchestrator.ports import PortError
from workers.git.remote import default_branch, remote_at

LOOKS_LIKE_URL = re.compile(r"^(?:[a-z+]+://|[\w.-]+@[\w.-]+:)")
# In this order, the first that is installed is chosen. Each takes its prompt from standard input or a file, and needs nobody.
PROGRAMS = {
    "claude-code": ("claude", "claude -p --permission-mode acceptEdits"),
    "codex": ("codex", "codex exec --full-auto -"),
    "opencode": ("opencode", """sh -c 'exec opencode run "$(cat "$AO_PROMPT_FILE")"'"""),
    "aider": ("aider", """sh -c 'exec aider --yes-always --no-check-update --message-file "$AO_PROMPT_FILE"'"""),
}
# Plug-ins that can be told where their program is.
TOLD_WHERE = frozenset({"claude-code"})
INSTALL = {
    "claude-code": "npm install -g @anthropic-ai/claude-code",
    "codex": "npm install -g @openai/codex",
    "opencode": "npm install -g opencode-ai",
    "aider": "python3 -m pip install aider-install && aider-install",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a repository looks like, and what was chosen for it."""

    key: str
    name: str
    remote: str
    checkout: str
    default_branch: str
    test_command: str | None
    programs: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def uses_github(self) -> bool:
        """Whether pull requests, checks and reviews are GitHub's: for that we need a token."""
        return on_github(self.remote) and bool(os.environ.get("GITHUB_TOKEN"))

    @property
    def scm(self) -> dict[str, Any]:
        """The project's forge settings: GitHub with its own checks, else the repository's tests as a required check, or none required,
        said openly."""
        if self.uses_github:
            return {"plugin": "github"}
        if self.test_command is None:
            return {"plugin": "local", "requiredChecks": []}
        return {"plugin": "local", "checks": {"tests": self.test_command}}

    def agent(self, known: set[str]) -> tuple[str, dict[str, Any]]:
        """Choose the agent among the programs found: by its own plug-in where we have one, else as a plain command."""
        for name in self.programs:
            return (name, found_at(name)) if name in known else ("command", {"command": PROGRAMS[name][1]})
        return "command", {}

    def told(self, key: str) -> list[str]:
        """Say what was found and chosen for the project of this key, a line each."""
        tests = f"tests: {self.test_command}" if self.test_command else (
            "tests: no test command found, so no check is required before a merge (requiredChecks: [])"
        )  # fmt: skip
        agents = (
            f"agents: {', '.join(self.programs)} (using {self.programs[0]})"
            if self.programs
            else f"agents: none is installed. For one: {INSTALL['claude-code']}"
        )
        forge = []
        if self.uses_github:
            tests = "forge: GitHub, with its own pull requests, checks and reviews"
        elif on_github(self.remote):
            forge = [
                "forge: the built-in one; GitHub's own with GITHUB_TOKEN, or `gh auth login`, before it is registered"
            ]
        return [f"project {key}: {self.remote}", f"branch: {self.default_branch}", *forge, tests, agents, *self.notes]


def found_at(agent: str) -> dict[str, Any]:
    """Settings that name the program by its path where an agent in its sandbox would not find it by its name."""
    path = Path(shutil.which(PROGRAMS[agent][0]) or "/usr").resolve()
    return {"program": str(path)} if agent in TOLD_WHERE and not path.is_relative_to("/usr") else {}


def look(source: str) -> Found:
    """Look at the repository that somebody named, a path or a URL; every way in which it cannot be used is one sentence."""
    if LOOKS_LIKE_URL.match(source) and not source.startswith("file://"):
        return look_at_url(source)
    return look_at_path(Path(source.removeprefix("file://")).expanduser())


def look_at_path(path: Path) -> Found:
    """Look at a repository on this machine; with an `origin` that is the remote, else the repository itself is."""
    if not path.exists():
        raise CannotRun(f"{path} does not exist. Give the path of a git repository, or a URL.")
    if not os.access(path, os.R_OK | os.X_OK):
        raise CannotRun(f"{path} may not be read by this user. Change its permissions, or start as its owner.")
    root = path.resolve()
    inside = git(root, "rev-parse", "--is-bare-repository")
    if inside.returncode != 0:
        if "detected dubious ownership" in inside.stderr:
            raise CannotRun(
                f"{path} belongs to somebody else, and git refuses it: {inside.stderr.strip().splitlines()[0]}"
            )
        raise CannotRun(f"{path} is not a git repository. Make it one (git init, a first commit), or give another.")
    if inside.stdout.strip() == "false":
        root = Path(git(root, "rev-parse", "--show-toplevel").stdout.strip() or root)
    if not git(root, "for-each-ref", "--count=1", "refs/heads", "refs/remotes").stdout.strip():
        raise CannotRun(f"{path} has no commits yet. Make a first commit, then start again.")
    origin = git(root, "remote", "get-url", "origin")
    if origin.returncode == 0 and origin.stdout.strip():
        return with_origin(root, origin.stdout.strip())
    return without_origin(root, path)


def with_origin(root: Path, origin: str) -> Found:
    """The remote is the checkout's origin."""
    remote = origin if LOOKS_LIKE_URL.match(origin) else str((root / origin).resolve())
    branch = ask_default_branch(remote)
    return found(root=root, remote=remote, checkout=str(root), branch=branch, notes=dirt(root))


def without_origin(root: Path, path: Path) -> Found:
    """The repository itself is the remote, and the branch it has checked out is the default one."""
    head = git(root, "symbolic-ref", "--quiet", "--short", "HEAD")
    if head.returncode != 0:
        raise CannotRun(
            f"{path} has a detached HEAD, so its default branch is unknown. Check out the branch that changes are merged "
            f"into (git -C {path} checkout BRANCH), then start again.",
        )
    branch = head.stdout.strip()
    if git(root, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}").returncode != 0:
        raise CannotRun(
            f"{path} has no default branch: its HEAD names {branch}, which has no commit. Check out an existing branch, "
            "then start again.",
        )
    return found(root=root, remote=str(root), checkout=str(root), branch=branch, notes=dirt(root))


def look_at_url(url: str) -> Found:
    """Look at a repository elsewhere: its default branch, and a shallow copy for what its tests are."""
    shown = without_login(url)
    branch = ask_default_branch(url)
    with tempfile.TemporaryDirectory(prefix="ao-look-") as folder:
        copy = Path(folder) / "copy"
        cloned = git(Path(folder), "clone", "--quiet", "--depth=1", "--no-tags", "--", url, str(copy), token_for=url)
        notes = [] if cloned.returncode == 0 else [f"note: {shown} could not be looked into for its tests"]
        return found(root=copy, remote=shown, checkout="", branch=branch, notes=notes)


def ask_default_branch(remote: str) -> str:
    """Ask a remote for its default branch, with the environment's token where it may be shown."""
    try:
        return default_branch(remote, token=token(remote), timeout=30)
    except PortError as error:
        advice = "Check the address and that you may read it (GITHUB_TOKEN, `gh auth login`, or your SSH key)."
        raise CannotRun(f"{without_login(remote)} cannot be used: {error}. {advice}") from error


def on_github(remote: str) -> bool:
    """Whether the repository is on GitHub, or on the Enterprise server that GH_HOST names."""
    return github_api(remote, enterprise=os.environ.get("GH_HOST", "")) is not None


def token(remote: str) -> str | None:
    """The environment's token, for a remote over HTTPS that it belongs to."""
    return os.environ.get("GITHUB_TOKEN") if remote.startswith("https://") and on_github(remote) else None


def without_login(remote: str) -> str:
    """Show a remote without the name and password that it may carry."""
    return re.sub(r"^([a-z+]+://)[^/@]*@", r"\1", remote)


def found(*, root: Path, remote: str, checkout: str, branch: str, notes: list[str]) -> Found:
    """Put together what was found."""
    name = re.sub(r"\.git$", "", re.split(r"[/:]", remote.rstrip("/"))[-1]) or "project"
    return Found(
        key=slug(name, length=40) or "project",
        name=name[:120],
        remote=remote,
        checkout=checkout,
        default_branch=branch,
        test_command=test_command(root),
        programs=tuple(agent for agent, (program, _) in PROGRAMS.items() if shutil.which(program)),
        notes=tuple(notes),
    )


def dirt(root: Path) -> list[str]:
    """Note what is uncommitted: agents do not see it, and it is left alone."""
    count = len(git(root, "status", "--porcelain").stdout.splitlines())
    if not count:
        return []
    return [f"note: {count} uncommitted change(s) in {root} are not part of what agents work on, and are left alone"]


def test_command(root: Path) -> str | None:
    """Guess how a repository runs its tests; a guess that may be wrong is better left out."""
    files = {entry.name for entry in root.iterdir()} if root.is_dir() else set()
    if files & {"pytest.ini", "tox.ini", "conftest.py"} or uses_pytest(root):
        return "python3 -m pytest -q"
    if npm_script(root):
        return "npm test"
    if "Cargo.toml" in files:
        return "cargo test"
    if "go.mod" in files:
        return "go test ./..."
    makefile = next((root / name for name in ("Makefile", "makefile", "GNUmakefile") if name in files), None)
    if makefile and re.search(r"^test\s*:", makefile.read_text(errors="replace"), re.MULTILINE):
        return "make test"
    if any(root.glob("test_*.py")) or any(root.glob("tests/test_*.py")):
        return "python3 -m unittest discover -q" if imports_unittest(root) else "python3 -m pytest -q"
    return None


def uses_pytest(root: Path) -> bool:
    """Tell whether pyproject.toml speaks of pytest."""
    try:
        settings = tomllib.loads((root / "pyproject.toml").read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return False
    return "pytest" in settings.get("tool", {}) or "pytest" in json.dumps(settings.get("project", {}), default=str)


def imports_unittest(root: Path) -> bool:
    """Tell whether the test files are written for unittest."""
    files = [*root.glob("test_*.py"), *root.glob("tests/test_*.py")]
    return all("unittest" in file.read_text(errors="replace") for file in files)


def npm_script(root: Path) -> bool:
    """Tell whether package.json has a test script that somebody wrote."""
    try:
        script = json.loads((root / "package.json").read_text())["scripts"]["test"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return isinstance(script, str) and "no test specified" not in script


def git(folder: Path, *words: str, token_for: str = "") -> subprocess.CompletedProcess[str]:
    """Run git in the person's own repository, with the person's own access, and never with a question or a hook."""
    settings = {"core.fsmonitor": "false", "core.hooksPath": "/dev/null", "safe.directory": "*"}
    if token_for:
        settings |= dict(remote_at(token_for, token=token(token_for)).settings)
    environment = dict(os.environ) | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    environment["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (name, value) in enumerate(settings.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    try:
        return subprocess.run(
            ["git", *words], cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False,
            timeout=120, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise CannotRun(
            "git is not installed. Install it (apt install git, brew install git), then start again."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise CannotRun(
            f"git {words[0]} did not finish within two minutes. Check the network and the address."
        ) from error
