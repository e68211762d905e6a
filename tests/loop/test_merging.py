"""Merging on the built-in forge: that head and no other, approved by somebody who may, as the project wants it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import PullRequest, Task, Workspace
from orchestrator.services import reviews
from tests.lab import CHECKED, FIX, NOTHING, TRY, Lab, lab, turns
from tests.repositories import Repository

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True, slots=True)
class Meddled:
    """A forge on which something happens between our last look and the merge."""

    inner: Any
    meddle: Any

    def merge(self, number: int, **more: Any) -> str:
        self.meddle()
        return str(self.inner.merge(number, **more))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def _pushed_by_hand(here: Lab, task: Task) -> str:
    clone = here.folder / "by-hand"
    here.repository.git("clone", "-q", "-b", task.branch, str(here.repository.path), str(clone))
    made = Repository(clone)
    sha = made.commit({"BY_HAND": "mine\n"})
    made.git("push", "-q", "origin", task.branch)
    return sha


def _approve(here: Lab, task: Task) -> None:
    reviews.submit_review(task=task, decision="approve", actor=here.other)


def test_i7_a_head_that_moves_between_the_last_look_and_the_merge_is_not_merged() -> None:
    with lab(scm=CHECKED) as here:
        here.rule("approved-and-green", auto=True, action=["auto-merge"])
        task = here.submit(script=turns(FIX, NOTHING))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        moved: list[str] = []

        def meddle() -> None:
            if not moved:
                moved.append(_pushed_by_hand(here, task))

        forge = here.tools.scm
        here.equip(replace(here.tools, scm=lambda row: Meddled(forge(row), meddle)))
        _approve(here, task)
        here.until(lambda: bool(moved), "somebody pushes at that moment")
        for _ in range(4):
            here.observe()
        assert here.repository.ask("rev-list", "--merges", "--count", "main") == "0"
        here.until(lambda: PullRequest.objects.get().head_sha == moved[0], "the new head is seen")
        here.reach(task, TaskStatus.REVIEW_PENDING)  # the approval was of another head
        _approve(here, task)
        here.reach(task, TaskStatus.MERGED)
        assert here.repository.ask("rev-parse", "main^2") == moved[0]


def test_i7_the_requester_does_not_approve_where_the_project_says_so() -> None:
    with lab(scm={**CHECKED, "selfApproval": False}) as here:
        here.rule("approved-and-green", auto=True, action=["auto-merge"])
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        reviews.submit_review(task=task, decision="approve", actor=here.me)
        here.settle()
        assert here.reach(task, TaskStatus.REVIEW_PENDING).pull_requests.get().state == "open"
        _approve(here, task)
        here.reach(task, TaskStatus.MERGED)


def test_a_required_check_that_is_called_otherwise_keeps_it_from_being_merged_and_is_named() -> None:
    with lab(scm={**CHECKED, "requiredChecks": ["tests", "old name"]}) as here:
        here.rule("approved-and-green", auto=True, action=["auto-merge"])
        task = here.submit(script=turns(FIX))
        here.until(lambda: PullRequest.objects.get().checks.filter(conclusion="success").exists(), "its check is green")
        _approve(here, task)
        here.settle()
        assert here.reach(task, TaskStatus.CI_PENDING).reason == "not reported yet: old name"
        assert PullRequest.objects.get().state == "open"


@pytest.mark.parametrize(("method", "parents", "commits"), [("merge", 2, 3), ("squash", 1, 1), ("rebase", 1, 2)])
def test_it_is_merged_as_the_project_wants_it_and_cleaned_up(method: str, parents: int, commits: int) -> None:
    two = f"{FIX}; echo more >> README; git commit -qam 'And more'"
    with lab(scm=CHECKED, merge_method=method) as here:
        here.rule("approved-and-green", auto=True, action=["auto-merge"])
        before = here.repository.ask("rev-parse", "main")
        task = here.submit(script=turns(two))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        _approve(here, task)
        here.reach(task, TaskStatus.MERGED)
        here.settle()
        assert len(here.repository.ask("log", "-1", "--format=%P", "main").split()) == parents
        assert here.repository.ask("rev-list", "--count", f"{before}..main") == str(commits)
        assert "more" in here.repository.ask("show", "main:README")
        here.until(lambda: task.branch not in here.repository.ask("branch", "--list"), "the branch is deleted")
        here.until(lambda: not Workspace.objects.exclude(state="removed").exists(), "the workspace is removed")


def test_d9_thirty_failed_checks_are_all_named() -> None:
    names = [f"suite-{n:02}" for n in range(30)]
    with lab(scm={"plugin": "local", "checks": dict.fromkeys(names, "sh test.sh")}) as here:
        task = here.submit(script=turns(TRY, FIX))
        here.until(lambda: len(here.sent(task, "ci-failed")) == 1, "the agent is told")
        words = here.sent(task, "ci-failed")[0].text
        assert [name for name in names if f"{name}: failure" not in words] == []
