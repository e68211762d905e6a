"""kill -9 of every part of the system while its project is on GitHub, whose webhooks are lost while the web is down."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fakegithub.server import FakeGitHub
from tests.faults.agents import CHECK
from tests.faults.matrix import Matrix, cells, command_matrix
from tests.github.service import ENVIRONMENT, SCRIPT, bare, github_of, ringing
from tests.installation import Installation, installation

KILLS = 32
STEPS = ("Prepare", "StartTurn", "turn", "Publish", "OpenPullRequest", "Merge", "EndSession")


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_whatever_is_killed_github_sees_each_pull_request_and_each_merge_once() -> None:
    with installation(**ENVIRONMENT) as here, on_github(here) as (matrix, github):
        for target, step in cells(matrix.parts, STEPS)[:KILLS]:
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
    with github_of(here, {"README": "hello\n", SCRIPT: f"{CHECK}\n"}) as (github, clone):
        here.start(str(clone.path))
        scm = {
            "plugin": "github",
            "apiUrl": github.base,
            "token": "${ACME_TOKEN}",
            "requiredChecks": ["ci"],
            "requiredApprovals": 0,
        }
        matrix = command_matrix(here, bare(github), scm=scm, remote=github.clone_url)
        with ringing(github, here):
            yield matrix, github
