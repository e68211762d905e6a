"""The lab on GitHub: one installation in one thread, its project on a GitHub of our own with runners and reviewers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from orchestrator.models import Project, Task
from orchestrator.ports import SCM
from tests.fakegithub.ci import Runners
from tests.fakegithub.server import FakeGitHub, fake_github
from tests.fakegithub.world import FULL, ROBOT_TOKEN, Pull
from tests.lab import Lab, lab
from workers import mirrors
from workers.git.mirror import Mirror
from workers.plugins.scms.github import people
from workers.plugins.scms.github.project import forge, tracker
from workers.plugins.scms.local import LocalForge
from workers.toolbox import Toolbox

REVIEWER = "grace"


@dataclass(frozen=True, slots=True)
class GitHubLab:
    """The installation, and the GitHub that its project is on."""

    here: Lab
    github: FakeGitHub
    runners: Runners

    def pull(self, task: Task) -> Pull:
        """The pull request of a task, as GitHub has it."""
        found = [pull for pull in self.github.world.pulls.values() if pull.head == task.branch]
        assert len(found) == 1
        return found[0]

    def tools_with_local(self, there: Project) -> Toolbox:
        """The workers' tools where one more project has the built-in forge."""
        tools = self.here.tools

        def mirror(row: Project) -> Mirror:
            own = Mirror(path=self.here.folder / f"mirror-{row.pk}.git", remote_url=row.remote)
            return own if row.pk == there.pk else tools.mirror(row)

        def scm(row: Project) -> SCM:
            return LocalForge(project=row, mirror=mirror(row)) if row.pk == there.pk else tools.scm(row)

        return replace(tools, mirror=mirror, scm=scm)


@contextmanager
def github_lab(files: Mapping[str, str] | None = None, **settings: object) -> Iterator[GitHubLab]:
    """A lab whose project is on GitHub; its runners run `test.sh`."""
    with lab(files, **settings) as here, on_github(here) as made:
        yield made


@contextmanager
def on_github(here: Lab) -> Iterator[GitHubLab]:
    """Let the project of a lab be on GitHub."""
    people.MEMORY.forget()
    bare = here.folder / f"{FULL}.git"
    bare.parent.mkdir(parents=True)
    here.repository.git("clone", "-q", "--bare", str(here.repository.path), str(bare))
    with fake_github(here.folder) as github:
        runners = Runners(github.world, script="test.sh")
        github.world.people[REVIEWER] = "write"
        here.set(remote=github.clone_url, scm={"plugin": "github", "apiUrl": github.base, "requiredChecks": ["ci"]})
        _move(here)
        try:
            yield GitHubLab(here, github, runners)
        finally:
            runners.join()
        assert github.judge.offences == []


def _move(here: Lab) -> None:
    """From here on the project's remote and forge are GitHub's."""

    def mirror(row: Project) -> Mirror:
        return Mirror(path=here.folder / f"github-{row.pk}.git", remote_url=row.remote, token=lambda: ROBOT_TOKEN)

    here.equip(
        replace(
            here.tools,
            mirror=mirror,
            scm=lambda row: forge(row, mirror=mirror(row), token=lambda: ROBOT_TOKEN),
            tracker=lambda row: tracker(row, token=lambda: ROBOT_TOKEN),
        )
    )
    mirrors.fetch(here.project, here.tools, timeout=30)
    here.project.refresh_from_db()
