"""Merging on GitHub: approved by somebody who may, as the project wants it, through a queue where one is demanded. That it is that head and
no other, and that its checks are known, is in `test_rows.py`."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Job, PullRequest, Task, Workspace
from orchestrator.services import tasks
from tests.fakegithub.world import ROBOT
from tests.github.lab import REVIEWER, GitHubLab, github_lab
from tests.github.test_loop import reached
from tests.lab import FIX, turns

pytestmark = pytest.mark.django_db(transaction=True)


AUTO_MERGE = {"auto": True, "action": ["auto-merge"]}


def look(task: Task) -> bool:
    """The next look is due."""
    PullRequest.objects.filter(task=task).update(poll_at=None)
    return True


def settle(lab: GitHubLab, task: Task) -> None:
    """Rounds with looks in which what must not happen has its chance to."""
    for _ in range(4):
        look(task)
        lab.here.settle(2)


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
