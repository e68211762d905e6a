"""A machine with a worker of its own: from its link to merged changes, and whatever dies in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.hosts.machines import machine, needs_machines
from tests.hosts.spares import PYTHON, Spare, gate_for, joined
from tests.installation import Installation, installation, plain_repository, wait_for
from tests.repositories import Repository

pytestmark = [pytest.mark.e2e, pytest.mark.faults, pytest.mark.slow, pytest.mark.root, needs_machines]
AGENT = (
    'cat > /tmp/prompt; n=$(sed -n "s/.*Work \\([0-9]*\\).*/\\1/p" /tmp/prompt | head -n 1); '
    'hostname > "work-$n"; sleep 1; git add .; git commit -qm "Work $n"'
)
CONFIG = f"""
projects:
  app:
    path: {{path}}
    agent: command
    agentConfig: {{{{command: [/bin/sh, -c, {json.dumps(AGENT)}]}}}}
    reassignAfter: 20s
    scm: {{{{plugin: local, requiredChecks: [], requiredApprovals: 0}}}}
reactions:
  approved-and-green: {{{{auto: true, action: auto-merge}}}}
"""


@contextmanager
def service_with_a_spare(*words: str) -> Iterator[tuple[Installation, Repository, Spare]]:
    """The running service and one spare machine; its own takes no sessions."""
    with machine(shown=[PYTHON]) as made, installation() as here:
        repository = plain_repository(here.folder / "app", {"README": "hello\n"})
        config = here.folder / "agent-orchestrator.yaml"
        config.write_text(CONFIG.format(path=repository.path))
        here.start(str(repository.path), "--config", str(config), *gate_for(made))
        assert here.call("PATCH", "/hosts/local/", json={"capacity": 0}).status_code == 200
        with joined(made, here, *words) as spare:
            yield here, repository, spare


def merged(here: Installation) -> int:
    rows = here.call("GET", "/tasks/", params={"limit": 100}).json()["results"]
    return sum(row["status"] == "merged" for row in rows)


@pytest.mark.timeout(300)
def test_a_task_runs_on_a_machine_that_joined_and_is_merged_here() -> None:
    with service_with_a_spare("--labels", "fast") as (here, repository, spare):
        task = {"project": "app", "title": "Work 1", "labels": ["host:fast"]}
        assert here.call("POST", "/tasks/", json=task).status_code == 201
        wait_for(lambda: merged(here) == 1, "it is merged")
        assert repository.ask("show", "main:work-1") == spare.machine.name
        wait_for(lambda: spare.rooms() == "", "nothing is left there")
