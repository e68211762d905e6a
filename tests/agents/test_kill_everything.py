"""kill -9 of every part of the whole world: the service, GitHub's answers, machines over SSH and the real Claude Code on them.

The long form is a program: `python -m tests.faults --kills 200`.
"""

from __future__ import annotations

import json
import sys

import pytest

from tests.faults.verdict import outcome
from tests.faults.world import world
from tests.hosts.machines import needs_machines

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.root, pytest.mark.timeout(300), needs_machines]
# Each part once, where it hurts.
KILLS = (
    ("serve", "StartTurn"),
    ("web", "turn"),
    ("control", "Publish"),
    ("request", "OpenPullRequest"),
    ("valkey", "checks"),
    ("agent", "turn"),
    ("sshd", "Prepare"),
    ("answer", "Merge"),
    ("beat", "EndSession"),
    ("host", "StartTurn"),
    ("bridge", "HangUp"),
    ("guard", "turn"),
    ("postgres", "Publish"),
    ("everything", "turn"),
)


def test_whatever_is_killed_nothing_is_lost_and_nothing_happens_twice(claude: str) -> None:
    with world(claude) as made:
        assert {target for target, _ in KILLS} == set(made.parts)
        for target, step in KILLS:
            made.strike(target, step)
        verdict = outcome(made)
    sys.stderr.write(json.dumps(verdict.figures(), indent=1) + "\n")
    assert {name: found for name, found in verdict.nothing.items() if found} == {}
    assert verdict.counted["merged"] == verdict.counted["accepted"] >= 5
    assert verdict.counted["at the step"] >= 9
