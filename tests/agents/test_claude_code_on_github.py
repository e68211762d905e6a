"""The whole life of an issue with the real Claude Code on a GitHub with real runners and reviewers: on this machine, and on one over SSH."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import PullRequest, Task, Turn, Workspace
from tests.fakegithub.world import ROBOT, ROBOT_TOKEN
from tests.github.lab import REVIEWER, GitHubLab, on_github
from tests.hosts.lab import spare
from tests.hosts.machines import needs_machines
from tests.lab import Lab, lab
from tests.scripted_model import Rule, Say, ScriptedModel, edit, read, scripted_model, sh

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

FILES = {
    "calc.py": "def add(a, b):\n    return a - b\n",
    "test.sh": "python3 -c 'import calc; assert calc.add(2, 2) == 4'\n",
}
RULES = (
    Rule(
        match="asks for changes",
        steps=[
            edit("calc.py", "def add(a, b):", "def add(a: int, b: int) -> int:"),
            edit("calc.py", "    return", "    # Both are whole numbers.\n    return"),
            sh("git commit -qam 'Say what is added'"),
            Say(text="Both points are done: types, and a word on them."),
        ],
    ),
    Rule(
        match="Checks failed at",
        steps=[
            read("calc.py"),
            edit("calc.py", "a * b - 1", "a + b"),
            sh("sh test.sh && git commit -qam 'Add them'"),
            Say(text="It adds now."),
        ],
    ),
    Rule(
        match="add is wrong",
        steps=[
            read("calc.py"),
            edit("calc.py", "a - b", "a * b - 1"),
            sh("git commit -qam 'Try'"),
            Say(text="That should be it."),
        ],
    ),
)


@contextmanager
def claude_on_this_machine(program: str) -> Iterator[tuple[Lab, ScriptedModel]]:
    with scripted_model(RULES) as model, lab(FILES, **_settings(program, model)) as here:
        yield here, model


@contextmanager
def claude_over_ssh(program: str) -> Iterator[tuple[Lab, ScriptedModel]]:
    with spare(files=FILES) as here, scripted_model(RULES, address=here.machine.gateway) as model:
        installed = shutil.copy(program, here.machine.root / "usr/local/bin/claude")
        here.set(**_settings(f"/{Path(installed).relative_to(here.machine.root)}", model))
        yield here, model


def _settings(program: str, model: ScriptedModel) -> dict[str, object]:
    return {"agent": "claude-code", "agent_config": {"program": program}, "env": model.environment}


def _due(task: Task) -> bool:
    PullRequest.objects.filter(task=task).update(poll_at=None)
    task.refresh_from_db()
    return True


@pytest.mark.parametrize(
    "place", [claude_on_this_machine, pytest.param(claude_over_ssh, marks=[pytest.mark.root, needs_machines])]
)
def test_an_issue_becomes_a_merged_pull_request(claude: str, place: object) -> None:
    with place(claude) as (here, model), on_github(here) as lab:  # type: ignore[operator]
        task = live_through(lab)
        turns = list(Turn.objects.filter(session__task=task).order_by("n"))
        assert [turn.end for turn in turns] == ["finished"] * 3
        assert len({turn.session.native_id for turn in turns}) == 1
        assert sum(turn.cost_usd for turn in turns) > 0
        assert not any(ROBOT_TOKEN in heard.body for heard in model.heard)
        _tell(here, task, turns)


def live_through(lab: GitHubLab) -> Task:
    """Issue, pull request, red, green, changes requested in two threads, answered, approved, merged, cleared away."""
    here, world = lab.here, lab.github.world
    here.rule("approved-and-green", auto=True, action=["auto-merge"])
    issue = world.open_issue(REVIEWER, "add is wrong", "add(2, 2) is 0.")
    task = here.submit(title="", issue=f"#{issue.number}")
    here.until(lambda: _due(task) and task.status == TaskStatus.REVIEW_PENDING, "it is green and waits for a review")
    pull = lab.pull(task)
    assert (pull.author, f"Fixes #{issue.number}" in pull.body) == (ROBOT, True)
    assert [run.conclusion for run in world.checks.values()] == ["failure", "success"]
    points = [("calc.py", 1, "which types?"), ("calc.py", 2, "say a word on them")]
    world.review(REVIEWER, pull.number, "CHANGES_REQUESTED", "Two points.", points)
    here.until(
        lambda: _due(task) and all(thread.resolved for thread in world.threads.values()), "both threads are settled"
    )
    for thread in world.threads.values():
        assert [remark.author for remark in thread.remarks] == [REVIEWER, ROBOT]
        assert "Both points are done" in thread.remarks[1].body
    world.review(REVIEWER, pull.number, "APPROVED")
    here.until(lambda: _due(task) and task.status == TaskStatus.MERGED, "it is merged")
    assert (pull.state, issue.state) == ("merged", "closed")
    assert "def add(a: int, b: int) -> int:" in world.git("show", "main:calc.py")
    here.until(lambda: world.sha(f"refs/heads/{task.branch}") is None, "the branch is deleted")
    here.until(lambda: not Workspace.objects.exclude(state="removed").exists(), "the workspace is removed")
    assert here.doubles() == 0
    return task


def _tell(here: Lab, task: Task, turns: list[Turn]) -> None:
    """The transcript's size and what it cost, for whoever runs this by hand with -s."""
    told = [(turn.n, turn.last_words, turn.input_tokens, turn.output_tokens, float(turn.cost_usd)) for turn in turns]
    sys.stderr.write(f"{here.session(task).host}: {told}, {len(here.heard(task))} characters of transcript\n")
