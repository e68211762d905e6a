"""Real git repositories for tests, in folders that every account may enter."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "Somebody",
    "GIT_AUTHOR_EMAIL": "somebody@example.invalid",
    "GIT_COMMITTER_NAME": "Somebody",
    "GIT_COMMITTER_EMAIL": "somebody@example.invalid",
}


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that agents' accounts can get through, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp(prefix="ao-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository with a tree, as a person has it."""

    path: Path

    @classmethod
    def make(cls, path: Path, files: Mapping[str, str] | None = None) -> Repository:
        path.mkdir(parents=True)
        made = cls(path)
        made.git("init", "-q", "-b", "main")
        made.commit(files or {"README": "hello\n"})
        return made

    def git(self, *args: str, stdin: bytes = b"") -> bytes:
        done = subprocess.run(
            ["git", *args], cwd=self.path, env=ENVIRONMENT, input=stdin, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def ask(self, *args: str) -> str:
        return self.git(*args).decode().strip()

    def commit(self, files: Mapping[str, str | bytes], message: str = "a change") -> str:
        for name, content in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "--all")
        self.git("commit", "-q", "-m", message)
        return self.head

    @property
    def head(self) -> str:
        return self.ask("rev-parse", "HEAD")

    def clone(self, path: Path, *, branch: str) -> Repository:
        self.git("clone", "-q", str(self.path), str(path))
        made = Repository(path)
        made.git("checkout", "-q", "-b", branch)
        return made

    def bundle(self, base: str, *refs: str) -> bytes:
        return self.git("bundle", "create", "-q", "-", f"^{base}", *refs)
