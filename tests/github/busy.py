"""Repositories on which much happens: their branches are kept in memory, and whether a pull request can be merged is known a while after it
was first asked for, as on GitHub."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from tests.fakegithub import world as worlds
from tests.fakegithub.prepared import Prepared
from tests.fakegithub.rest import Rest
from tests.fakegithub.server import FakeGitHub
from tests.fakegithub.views import Views
from tests.fakegithub.world import ROBOT, Pull, World

THINKS_FOR = timedelta(seconds=5)
REVIEWERS = ("grace", "alan", "edsger", "barbara")


@dataclass(slots=True)
class Busy(World):
    """A world without git but for its base branch, which a mirror fetches."""

    branches: dict[str, str] = field(default_factory=dict)
    known_at: dict[int, datetime | None] = field(default_factory=dict)  # None: nobody has asked yet

    def sha(self, ref: str) -> str | None:
        return self.branches.get(ref.removeprefix("refs/heads/"))

    def conflicts(self, pull: Pull) -> bool:
        del pull
        return False

    def thinks(self, pull: Pull) -> bool:
        """Asking makes it be worked out."""
        if pull.number not in self.known_at:
            return False
        at = self.known_at[pull.number] = self.known_at[pull.number] or worlds.clock() + THINKS_FOR
        if at <= worlds.clock():
            del self.known_at[pull.number]
            return False
        return True

    def git(self, *words: str, check: bool = True) -> str:
        """Every branch has commits of its own here."""
        return "1" if words[0] == "rev-list" else World.git(self, *words, check=check)

    def merge(self, pull: Pull, *, method: str, title: str, message: str, by: str) -> str:
        """The base gets a commit, and of every open pull request it has to be worked out anew whether it can be merged."""
        del method
        base = self.branches[pull.base]
        who = ("-c", f"user.name={by}", "-c", f"user.email={by}@users.noreply.example.invalid")
        sha = self.git(*who, "commit-tree", "-p", base, "-m", title, "-m", message, f"{base}^{{tree}}")
        self.git("update-ref", f"refs/heads/{pull.base}", sha, base)
        self.branches[pull.base] = sha
        self.end(pull, "merged", sha=sha, by=by)
        self.heard.append(("push", f"refs/heads/{pull.base}", 0))
        self.known_at |= dict.fromkeys((one.number for one in self.pulls.values() if one.state == "open"), None)
        return sha


def repositories(github: FakeGitHub, count: int) -> list[FakeGitHub]:
    """So many busy repositories at the same address, for the same people."""
    github.graph = Prepared(github.world, github.rest.views)
    return [_repository(github, n, github.root / f"acme/busy-{n}.git") for n in range(count)]


def _repository(github: FakeGitHub, n: int, bare: Path) -> FakeGitHub:
    shutil.copytree(github.world.git_dir, bare)
    world = Busy(bare, full=f"acme/busy-{n}")
    world._ids = itertools.count((n + 1) * 10_000_000)
    world.branches["main"] = World.sha(github.world, "refs/heads/main") or ""
    world.people |= {ROBOT: "write", **dict.fromkeys(REVIEWERS, "write")}
    views = Views(world, github.base)
    made = FakeGitHub(world, github.base, github.judge, Rest(world, views), Prepared(world, views), github.root)
    github.neighbours[world.full] = made
    return made
