"""kill -9 of every part of the system while its project is on GitHub, whose webhooks are lost while the web is down."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from orchestrator.services import deliveries
from tests.fakegithub.ci import Runners
from tests.fakegithub.hooks import Hooks
from tests.fakegithub.server import FakeGitHub, fake_github
from tests.fakegithub.world import FULL, ROBOT_TOKEN
from tests.faults.agents import CHECK
from tests.faults.matrix import Matrix, agent, cells
from tests.installation import Installation, installation
from tests.repositories import Repository

KILLS = 32
STEPS = ("Prepare", "StartTurn", "turn", "Publish", "OpenPullRequest", "Merge", "EndSession")
SECRET = "a secret between us"


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_whatever_is_killed_github_sees_each_pull_request_and_each_merge_once() -> None:
    environment = {
        "ACME_TOKEN": ROBOT_TOKEN,
        deliveries.SECRET: SECRET,
        "AO_GITHUB_WRITES_A_MINUTE": "100000",
    }
    with installation(**environment) as here, on_github(here) as (matrix, github):
        for target, step in cells(most=KILLS, steps=STEPS):
            matrix.strike(target, step)
        matrix.finish()
        verdict = matrix.verdict()
        opened = [pull.head for pull in github.world.pulls.values()]
    verdict["doubled pull requests"] = len(opened) - len(set(opened))
    sys.stderr.write(json.dumps(verdict, indent=1) + "\n")
    nothing = {
        name: verdict[name]
        for name in verdict
        if name not in {"kills", "at the step", "accepted", "files on main", "escalations"}
    }
    assert nothing == dict.fromkeys(nothing, 0)
    assert (verdict["kills"], verdict["files on main"]) == (KILLS, verdict["accepted"])
    assert {pull.state for pull in github.world.pulls.values()} == {"merged"}
    assert github.judge.offences == []


@contextmanager
def on_github(here: Installation) -> Iterator[tuple[Matrix, FakeGitHub]]:
    """The matrix with its project on a GitHub that rings."""
    origin = Repository.make(here.folder / "repository", {"README": "hello\n", "ci.sh": f"{CHECK}\n"})
    bare = here.folder / f"{FULL}.git"
    bare.parent.mkdir(parents=True)
    origin.git("clone", "-q", "--bare", str(origin.path), str(bare))
    with fake_github(here.folder) as github:
        runners = Runners(github.world, script="ci.sh")
        here.start(str(origin.path))
        log, command = agent(here.folder, 0.15)
        matrix = Matrix(here=here, repository=Repository(bare), log=log)
        scm = {
            "plugin": "github",
            "apiUrl": github.base,
            "token": "${ACME_TOKEN}",
            "requiredChecks": ["ci"],
            "requiredApprovals": 0,
        }
        matrix.configure(command, scm, remote=github.clone_url)
        with ringing(Hooks(github, f"{here.url}/webhooks/github/", SECRET)):
            yield matrix, github
        runners.join()


@contextmanager
def ringing(hooks: Hooks) -> Iterator[None]:
    """Webhooks are delivered as things happen; those that nobody answers are lost."""
    over = threading.Event()

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
