"""As people run it: `ao start` finds Claude Code on the PATH, a file says how to reach its model, and everything else is commands."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.installation import wait_for
from tests.ops.installed import Installation, installation
from tests.repositories import Repository
from tests.scripted_model import Rule, Say, ask, scripted_model, sh

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(240)]

FILES = {"README": "hello\n", "Makefile": "test:\n\tgrep -q fixed README\n"}
WRONG = [
    ask("Which word?", "fixed", "mended"),
    sh("echo nearly >> README && git commit -qam 'Try'"),
    Say(text="Tried."),
]
RIGHT = [sh("echo fixed >> README && git commit -qam 'Fix it'"), Say(text="Fixed, and committed.")]
RULES = (Rule(match="Fix the failing test", steps=WRONG), Rule(match="Checks failed at", steps=RIGHT))


@pytest.fixture
def place(claude: str) -> Iterator[Installation]:
    with installation() as made:
        programs = made.home.parent / "bin"
        programs.mkdir()
        (programs / "claude").symlink_to(claude)
        made.environment["PATH"] = f"{programs}:{os.environ['PATH']}"
        yield made


def ao(place: Installation, *words: str) -> Any:
    """What a command of the client answers."""
    place.environment |= {"AO_URL": place.url, "AO_TOKEN": place.token}
    done = place.ao(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_task_of_the_command_line_is_asked_about_mended_and_merged(place: Installation) -> None:
    app = Repository.make(place.home.parent / "shop", FILES)
    app.git("config", "receive.denyCurrentBranch", "updateInstead")
    with scripted_model(RULES) as model:
        place.environment |= model.environment
        place.start(str(app.path))
        (project,) = json.loads(place.get("/api/v1/projects/")[1])["results"]
        assert project["agent"] == "claude-code"
        ao(place, "apply", str(settings(place, app, model.environment)))
        task = ao(place, "spawn", "Fix the failing test", "--project", "shop")["id"]
        reached(place, task, "needs_input")
        assert ao(place, "status", str(task))["request"]["options"] == ["fixed", "mended"]
        ao(place, "answer", str(task), "fixed")
        reached(place, task, "review_pending")
        ao(place, "review", str(task), "approve")
        reached(place, task, "mergeable")
        ao(place, "merge", str(task))
        done = reached(place, task, "merged")
    assert "fixed" in app.ask("show", "main:README")
    assert done["usage"]["cost_usd"] > 0
    assert done["session"]["turn"] == 2


def settings(place: Installation, app: Repository, environment: dict[str, str]) -> Path:
    """The file that a team keeps: secrets and addresses are named, and read where the service runs."""
    file = place.home.parent / "agent-orchestrator.yaml"
    env = {name: f"${{{name}}}" for name in environment}
    file.write_text(json.dumps({"projects": {"shop": {"path": str(app.path), "env": env}}}))
    return file


def reached(place: Installation, task: int, status: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def there() -> bool:
        found.update(json.loads(place.get(f"/api/v1/tasks/{task}/")[1]))
        return found["status"] == status

    wait_for(there, f"task {task} is {status}")
    return found
