"""Merging on GitHub: that head and no other, approved by somebody who may, as the project wants it, through a queue where one is demanded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Job, Workspace
from orchestrator.services import tasks
from tests.fakegithub.world import ROBOT
from tests.github.lab import REVIEWER, GitHubLab, github_lab
from tests.github.test_rows import AUTO_MERGE, look, reached, settle
from tests.lab import FIX, turns
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


def _pushed_by_hand(lab: GitHubLab, branch: str) -> str:
    before = lab.github.world.refs()
    clone = lab.here.folder / "by-hand"
    lab.here.repository.git("clone", "-q", "-b", branch, str(lab.github.world.git_dir), str(clone))
    made = Repository(clone)
    sha = made.commit({"BY_HAND": "mine\n"})
    made.git("push", "-q", "origin", branch)
    lab.github.world.moved(before)
    return sha


def test_i7_a_head_that_moves_between_the_last_look_and_the_merge_is_not_merged() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        here.rule("approved-and-green", **AUTO_MERGE)
        task = here.submit(script=turns(FIX))
        reached(lab, task, TaskStatus.REVIEW_PENDING)
        moved: list[str] = []

        def meddle() -> None:
            if not moved:
                moved.append(_pushed_by_hand(lab, task.branch))

        forge = here.tools.scm
        here.equip(replace(here.tools, scm=lambda row: Meddled(forge(row), meddle)))
        world.review(REVIEWER, lab.pull(task).number, "APPROVED")
        here.until(lambda: look(task) and bool(moved), "somebody pushes at that moment")
        settle(lab, task)
        assert (lab.pull(task).state, lab.pull(task).head_sha) == ("open", moved[0])
        reached(lab, task, TaskStatus.REVIEW_PENDING)  # the approval was of another head
        world.review(REVIEWER, lab.pull(task).number, "APPROVED")
        reached(lab, task, TaskStatus.MERGED)
        assert world.git("rev-parse", "main^2") == moved[0]


def test_i7_only_the_approval_of_somebody_who_may_write_merges() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        here.rule("approved-and-green", **AUTO_MERGE)
        world.people["reader"] = "read"
        world.people["helper-app"] = "write"
        world.bots.add("helper-app")
        task = here.submit(script=turns(FIX))
        reached(lab, task, TaskStatus.REVIEW_PENDING)
        for author in (ROBOT, "reader", "helper-app", "mallory"):
            world.review(author, lab.pull(task).number, "APPROVED")
        settle(lab, task)
        assert lab.pull(task).state == "open"
        world.review(REVIEWER, lab.pull(task).number, "APPROVED")
        reached(lab, task, TaskStatus.MERGED)


def test_a_required_check_that_was_renamed_keeps_it_from_being_merged_and_is_named() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        here.rule("approved-and-green", **AUTO_MERGE)
        here.set(scm={**here.project.scm, "requiredChecks": ["ci", "old name"]})
        task = here.submit(script=turns(FIX))
        here.until(lambda: look(task) and bool(world.pulls), "the pull request is there")
        lab.runners.join()
        world.check(lab.pull(task).head_sha, "new name", "success")
        world.review(REVIEWER, lab.pull(task).number, "APPROVED")
        settle(lab, task)
        assert reached(lab, task, TaskStatus.CI_PENDING).reason == "not reported yet: old name"
        assert lab.pull(task).state == "open"
        here.set(scm={**here.project.scm, "requiredChecks": ["ci", "new name"]})
        here.until(lambda: look(task) and lab.pull(task).state == "merged", "the project names it as it is called now")


@pytest.mark.parametrize(("method", "parents"), [("merge", 2), ("squash", 1), ("rebase", 1)])
def test_it_is_merged_as_the_project_wants_it_and_cleaned_up(method: str, parents: int) -> None:
    with github_lab(merge_method=method) as lab:
        here, world = lab.here, lab.github.world
        here.rule("approved-and-green", **AUTO_MERGE)
        task = here.submit(script=turns(FIX))
        reached(lab, task, TaskStatus.REVIEW_PENDING)
        world.review(REVIEWER, lab.pull(task).number, "APPROVED")
        reached(lab, task, TaskStatus.MERGED)
        assert len(world.git("log", "-1", "--format=%P", "main").split()) == parents
        here.until(lambda: world.sha(f"refs/heads/{task.branch}") is None, "the branch is deleted")
        here.until(lambda: not Workspace.objects.exclude(state="removed").exists(), "the workspace is removed")


def test_a_head_in_the_merge_queue_is_waited_for_without_calling_anybody_and_merged_by_it() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        world.merge_queue = True
        here.rule("approved-and-green", **AUTO_MERGE)
        task = here.submit(script=turns(FIX))
        reached(lab, task, TaskStatus.REVIEW_PENDING)
        world.review(REVIEWER, lab.pull(task).number, "APPROVED")
        here.until(lambda: look(task) and lab.pull(task).queued, "it is in the queue")
        here.later(timedelta(hours=2))
        here.hurry()
        settle(lab, task)
        assert "is in the merge queue of main, place 1" in reached(lab, task, TaskStatus.MERGING).reason
        assert here.escalations(task) == []
        head = lab.pull(task).head_sha
        with world.settled():
            world.merge(lab.pull(task), method="merge", title="Queue", message="", by="github-merge-queue")
        reached(lab, task, TaskStatus.MERGED)
        assert task.pull_requests.get().merged_head == head


def test_a_head_that_the_queue_gave_up_calls_a_human_with_the_reason_and_goes_in_again_when_told_to() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        world.merge_queue = True
        here.rule("approved-and-green", **AUTO_MERGE)
        task = here.submit(script=turns(FIX))
        reached(lab, task, TaskStatus.REVIEW_PENDING)
        world.review(REVIEWER, lab.pull(task).number, "APPROVED")
        here.until(lambda: look(task) and lab.pull(task).queued, "it is in the queue")
        world.dequeue(lab.pull(task), "failed_checks")

        def called() -> bool:
            here.hurry()
            return look(task) and bool(here.escalations(task))

        here.until(called, "a human is called")
        assert "the merge queue of main gave #1 up: failed checks" in here.escalations(task)[0].question
        settle(lab, task)
        assert (lab.pull(task).queued, len(here.escalations(task))) == (False, 1)
        tasks.retry(task=task, actor=here.me)
        here.until(lambda: look(task) and lab.pull(task).queued, "it is in the queue again")


def test_an_objection_takes_the_head_out_of_the_queue() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        world.merge_queue = True
        here.rule("approved-and-green", **AUTO_MERGE)
        task = here.submit(script=turns(FIX, "cat; sleep 60"))
        reached(lab, task, TaskStatus.REVIEW_PENDING)
        world.review(REVIEWER, lab.pull(task).number, "APPROVED")
        here.until(lambda: look(task) and lab.pull(task).queued, "it is in the queue")
        world.review(REVIEWER, lab.pull(task).number, "CHANGES_REQUESTED", "wait, not this")

        def out() -> bool:
            here.hurry()
            return look(task) and not lab.pull(task).queued

        here.until(out, "it is taken out of the queue")
        assert Job.objects.filter(verb="Merge", code="overtaken").count() == 1
        assert lab.pull(task).state == "open"
