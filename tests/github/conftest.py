"""A GitHub, a project on it, and somebody's clone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from orchestrator.models import Project
from orchestrator.ports import Proposal
from orchestrator.services import projects
from orchestrator.services.events import Actor
from tests.fakegithub.server import FakeGitHub, fake_github
from tests.fakegithub.world import FULL, ROBOT_TOKEN
from tests.repositories import Repository, open_folder
from workers.git.mirror import Mirror
from workers.plugins.scms.github import people
from workers.plugins.scms.github.forge import GitHubForge
from workers.plugins.scms.github.project import forge

BRANCH = "demo/1-fix-add"


@dataclass(frozen=True, slots=True)
class Scene:
    """What a test has in its hands."""

    github: FakeGitHub
    project: Project
    mirror: Mirror
    forge: GitHubForge
    clone: Repository

    def push(self, branch: str = BRANCH, files: dict[str, str] | None = None) -> str:
        """A commit of the agent's on a branch, at the remote."""
        if self.clone.ask("branch", "--show-current") != branch:
            known = self.clone.ask("branch", "--list", branch)
            self.clone.git("checkout", "-q", *([branch] if known else ["-b", branch, "origin/main"]))
        before = self.github.world.refs()
        sha = self.clone.commit(files or {"calc.py": f"# {self.clone.head}\n"})
        self.clone.git("push", "-q", "--force", "origin", branch)
        self.github.world.moved(before)
        return sha

    def advance_base(self, files: dict[str, str]) -> str:
        """Somebody else's commit on the base branch."""
        self.clone.git("checkout", "-q", "-B", "main", "origin/main")
        self.clone.commit(files)
        self.clone.git("push", "-q", "origin", "main")
        self.clone.git("fetch", "-q", "origin")
        return self.clone.head

    def open(self, branch: str = BRANCH) -> int:
        """A pull request of ours."""
        return self.forge.open_pull_request(proposal(branch)).number


def proposal(branch: str = BRANCH) -> Proposal:
    return Proposal(
        branch=branch,
        base_branch="main",
        head_sha="",
        title="Make add add",
        body="It subtracts.",
        marker="ao-task-1",
    )


def bare_repository(folder: Path, files: dict[str, str]) -> Repository:
    """The bare repository that the fake GitHub serves, and a clone of it."""
    origin = Repository.make(folder / "origin", files)
    bare = folder / f"{FULL}.git"
    bare.parent.mkdir(parents=True)
    origin.git("clone", "-q", "--bare", str(origin.path), str(bare))
    origin.git("clone", "-q", str(bare), str(folder / "clone"))
    return Repository(folder / "clone")


@pytest.fixture
def scene(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("ACME_TOKEN", ROBOT_TOKEN)
    people.MEMORY.forget()
    with open_folder() as folder:
        clone = bare_repository(folder, {"calc.py": "def add(a, b):\n    return a - b\n"})
        with fake_github(folder) as github:
            yield _scene(folder, github, clone)
            assert github.judge.offences == []


def _scene(folder: Path, github: FakeGitHub, clone: Repository) -> Scene:
    ada = get_user_model().objects.create_user(username="ada")
    project, _ = projects.register(
        key="demo",
        name="Demo",
        remote=github.clone_url,
        default_branch="main",
        agent="command",
        scm={"plugin": "github", "apiUrl": github.base, "token": "${ACME_TOKEN}"},
        actor=Actor(user=ada, name="ada", at=timezone.now()),
    )
    mirror = Mirror(path=folder / "mirror.git", remote_url=project.remote, token=lambda: ROBOT_TOKEN)
    mirror.create(base_branch="main")
    made = forge(project, mirror=mirror, token=lambda: ROBOT_TOKEN)
    return Scene(github, project, mirror, made, clone)
