"""The whole service with its project on a GitHub of our own, whose runners run and whose webhooks ring."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.fakegithub.ci import Runners
from tests.fakegithub.hooks import Hooks
from tests.fakegithub.server import FakeGitHub, fake_github
from tests.fakegithub.world import FULL, ROBOT_TOKEN
from tests.installation import Installation
from tests.repositories import Repository

SECRET = "a secret between us"
ENVIRONMENT = {
    "ACME_TOKEN": ROBOT_TOKEN,
    "AO_GITHUB_WEBHOOK_SECRET  # noqa: S105 - the name of a variable": SECRET,
    "AO_GITHUB_WRITES_A_MINUTE": "100000",
}
SCRIPT = "ci.sh"


@contextmanager
def github_of(here: Installation, files: Mapping[str, str]) -> Iterator[tuple[FakeGitHub, Repository]]:
    """A GitHub whose repository holds these files and whose runners run its `ci.sh`; and somebody's clone of it."""
    origin = Repository.make(here.folder / "repository", files)
    bare = here.folder / f"{FULL}.git"
    bare.parent.mkdir(parents=True)
    origin.git("clone", "-q", "--bare", str(origin.path), str(bare))
    with fake_github(here.folder) as github:
        runners = Runners(github.world, script=SCRIPT)
        yield github, origin
        runners.join()


def bare(github: FakeGitHub) -> Repository:
    """What GitHub itself has of the repository."""
    return Repository(Path(github.world.git_dir))


@contextmanager
def ringing(github: FakeGitHub, here: Installation) -> Iterator[None]:
    """Webhooks are delivered as things happen; those that nobody answers are lost."""
    over, hooks = threading.Event(), Hooks(github, f"{here.url}/webhooks/github/", SECRET)

    def ring() -> None:
        while not over.wait(0.1):
            for one in hooks.pending():
                try:
                    hooks.deliver([one])
                except httpx.TransportError:
                    continue

    thread = threading.Thread(target=ring, name="webhooks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=30)
