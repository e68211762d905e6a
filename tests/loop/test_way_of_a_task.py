"""The way of a task on the built-in forge, with real git and a real host."""

from __future__ import annotations

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import PullRequest, Workspace
from orchestrator.services import reviews, tasks
from tests.lab import lab

pytestmark = pytest.mark.django_db(transaction=True)

FIX = "cat > /dev/null; echo fixed >> README; git commit -qam 'Fix it'"


def test_a_task_goes_from_words_to_a_merged_change() -> None:
    with lab(scm={"plugin": "local", "checks": {"tests": "sh test.sh"}}) as here:
        task = here.submit(script=FIX)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        reviews.submit_review(task=task, decision="approve", actor=here.other)
        here.reach(task, TaskStatus.MERGEABLE)
        tasks.request_merge(task=task, actor=here.me)
        here.reach(task, TaskStatus.MERGED)
        assert "fixed" in here.repository.ask("show", "main:README")
        here.until(lambda: not Workspace.objects.exclude(state="removed").exists(), "workspaces are removed")
        assert PullRequest.objects.get().state == "merged"
        here.until(
            lambda: task.branch not in here.repository.ask("branch", "--format=%(refname:short)"),
            "the branch is deleted",
        )


def test_a_task_that_needs_no_change_is_done() -> None:
    with lab() as here:
        task = here.submit(script="cat > /dev/null; echo 'nothing to do here'")
        here.reach(task, TaskStatus.DONE)
        assert not PullRequest.objects.exists()


def test_what_an_agent_leaves_uncommitted_is_committed_for_it() -> None:
    with lab() as here:
        task = here.submit(script="cat > /dev/null; echo new > NEW")
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert "NEW" in here.repository.ask("ls-tree", "--name-only", task.branch)
