"""How tasks end: cancelled at every step, merged or closed by hand, restarted, tried again; and what people do to the repository meanwhile."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Job, PullRequest, Session, Task, Turn, Workspace
from orchestrator.services import escalations, reviews, tasks
from orchestrator.services.reconcile import reconcile
from orchestrator.services.tasks import NotNow
from tests.lab import CHECKED, FIX, NOTHING, Lab, lab, together, turns
from tests.repositories import Repository
from workers import runner

pytestmark = pytest.mark.django_db(transaction=True)


def _gone(here: Lab, task: Task) -> None:
    """Nothing of the task is left: no process, no workspace, no session."""
    here.until(lambda: not Session.objects.live().filter(task=task).exists(), "its session is ended")
    here.until(
        lambda: not Workspace.objects.filter(session__task=task).exclude(state="removed").exists(),
        "no workspace is left",
    )
    here.until(lambda: not _live(here), "no process is left")


def _live(here: Lab) -> list[str]:
    return [run.id for run in here.port.inner.look(cursors={}, wait=0, timeout=5).runs if run.live]


def test_a_task_is_cancelled_while_it_waits_for_a_host() -> None:
    with lab(paused=True) as here:
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.QUEUED)
        tasks.cancel(task=task, actor=here.me)
        here.reach(task, TaskStatus.CANCELLED)
        assert not Session.objects.exists()


def test_a_task_is_cancelled_while_its_workspace_is_made() -> None:
    with lab(post_create=["sleep 60"]) as here:
        task = here.submit(script=turns(FIX))
        here.until(lambda: Job.objects.filter(verb="Prepare", state="done").exists(), "postCreate runs")
        here.reach(task, TaskStatus.STARTING)
        tasks.cancel(task=task, actor=here.me)
        here.reach(task, TaskStatus.CANCELLED)
        _gone(here, task)


def test_a_task_is_cancelled_while_its_agent_works() -> None:
    with lab() as here:
        task = here.submit(script="cat; sleep 60")
        here.until(lambda: here.turn(task).started_at is not None, "the agent is at work")
        tasks.cancel(task=task, actor=here.me)
        here.reach(task, TaskStatus.CANCELLED)
        _gone(here, task)
        assert here.turn(task).end == "stopped"
        assert not PullRequest.objects.exists()


def test_a_task_is_cancelled_while_its_checks_run_and_its_pull_request_is_closed() -> None:
    with lab(scm={"plugin": "local", "checks": {"tests": "sleep 60"}}) as here:
        task = here.submit(script=turns(FIX))
        here.until(
            lambda: here.session(task).task.pull_requests.get().checks.get().status == "in_progress", "a check runs"
        )
        tasks.cancel(task=task, actor=here.me)
        here.reach(task, TaskStatus.CANCELLED)
        here.until(lambda: PullRequest.objects.get().state == "closed", "its pull request is closed")
        _gone(here, task)


def test_a_cancel_and_the_end_of_the_work_race_to_one_end() -> None:
    with lab() as here:
        task = here.submit(script=turns(FIX))
        here.until(lambda: Job.objects.filter(verb="Publish").exists(), "the work is about to be published")
        together(lambda: tasks.cancel(task=task, actor=here.me), here.step)
        here.reach(task, TaskStatus.CANCELLED)
        here.settle()
        assert not PullRequest.objects.filter(state="open").exists()
        _gone(here, task)


def test_a_merge_that_is_under_way_wins_over_a_cancel() -> None:
    with lab() as here:
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        reviews.submit_review(task=task, decision="approve", actor=here.other)
        here.reach(task, TaskStatus.MERGEABLE)
        tasks.request_merge(task=task, actor=here.me)
        reconcile(task_id=task.pk, now=timezone.now())
        (claim,) = Job.objects.claim(queues=["effects"], worker="w", lease=timedelta(seconds=30))
        tasks.cancel(task=task, actor=here.me)
        here.reach(task, TaskStatus.MERGING)
        runner.carry_out(claim, here.tools)
        here.reach(task, TaskStatus.MERGED)
        assert here.repository.ask("rev-list", "--merges", "--count", "main") == "1"


def test_cancelling_again_does_nothing_and_an_ended_task_takes_no_message() -> None:
    with lab() as here:
        task = here.submit(script=turns(NOTHING))
        here.reach(task, TaskStatus.DONE)
        with pytest.raises(NotNow, match="has ended"):
            tasks.send(task=task, text="more", actor=here.me)
        with pytest.raises(NotNow, match="has ended"):
            tasks.cancel(task=task, actor=here.me)


def test_a_restart_gives_a_new_session_and_the_old_agent_is_dead_before_the_new_one_starts() -> None:
    with lab() as here:
        task = here.submit(script="cat; sleep 60")
        here.until(lambda: here.turn(task).started_at is not None, "the first agent is at work")
        first = here.turn(task)
        tasks.restart(task=task, actor=here.me)
        tasks.send(task=task, text="and mind the gap", actor=here.me)
        here.until(
            lambda: here.session(task).epoch == 2 and here.turn(task).started_at is not None, "the second is at work"
        )
        here.until(lambda: Turn.objects.get(pk=first.pk).ended_at is not None, "the first is seen to be over")
        look = here.port.inner.look(cursors={first.run_id: -1, here.turn(task).run_id: -1}, wait=0, timeout=5)
        runs = {run.id: run for run in look.runs}
        old, new = runs[first.run_id], runs[here.turn(task).run_id]
        assert (old.live, new.live) == (False, True)
        assert old.ended_at is not None
        assert new.started_at is not None
        assert old.ended_at <= new.started_at
        here.until(lambda: "mind the gap" in here.heard(task), "what was said meanwhile is told")
        assert here.doubles() == 0


def test_what_was_merged_by_hand_is_merged() -> None:
    with lab() as here:
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        here.repository.git("merge", "-q", "--no-ff", "-m", "By hand", task.branch)
        here.observe()
        here.reach(task, TaskStatus.MERGED)
        _gone(here, task)


def test_a_pull_request_that_was_closed_by_hand_ends_its_task_and_asks() -> None:
    with lab() as here:
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        here.tools.scm(here.project).close(PullRequest.objects.get().number)
        here.reach(task, TaskStatus.CLOSED)
        assert task.attention == "respond"
        escalations.acknowledge(interruption=task.interruptions.get(), actor=here.me)
        here.until(lambda: Task.objects.get().attention == "done", "it leaves the column when it was seen")
        _gone(here, task)


def test_a_branch_that_somebody_deleted_closes_the_task_and_the_work_is_still_ours() -> None:
    with lab() as here:
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        head = PullRequest.objects.get().head_sha
        here.repository.git("branch", "-q", "-D", task.branch)
        here.observe()
        here.reach(task, TaskStatus.CLOSED)
        assert here.tools.mirror(here.project).has(head)


def test_a_push_of_a_person_on_the_branch_is_shown_and_never_overwritten() -> None:
    with lab() as here:
        task = here.submit(script=turns(FIX, FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        theirs = _push_by_hand(here, task)
        here.observe()
        here.until(lambda: PullRequest.objects.get().head_sha == theirs, "the person's head is shown")
        tasks.send(task=task, text="go on", actor=here.me)
        here.reach(task, TaskStatus.FAILED)
        assert "not our doing" in task.reason
        assert here.repository.ask("rev-parse", task.branch) == theirs
        assert len(here.escalations(task)) == 1


def _push_by_hand(here: Lab, task: Task) -> str:
    here.repository.git("clone", "-q", "-b", task.branch, str(here.repository.path), str(here.folder / "person"))
    person = Repository(here.folder / "person")
    sha = person.commit({"THEIRS": "by hand\n"}, "By hand")
    person.git("push", "-q", "origin", task.branch)
    return sha


def test_a_merge_waits_while_the_checkout_is_dirty_and_says_so() -> None:
    with lab() as here:
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        (here.repository.path / "README").write_text("my own unsaved work\n")
        reviews.submit_review(task=task, decision="approve", actor=here.other)
        here.reach(task, TaskStatus.MERGEABLE)
        tasks.request_merge(task=task, actor=here.me)
        here.until(lambda: "the merge waits" in Task.objects.get().reason, "it says what it waits for")
        assert "not committed" in Task.objects.get().reason
        here.repository.git("checkout", "-q", "README")
        here.hurry()
        here.reach(task, TaskStatus.MERGED)


def test_a_head_that_moves_after_the_approval_is_not_merged() -> None:
    with lab(scm=CHECKED) as here:
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        reviews.submit_review(task=task, decision="approve", actor=here.other)
        here.reach(task, TaskStatus.MERGEABLE)
        theirs = _push_by_hand(here, task)
        tasks.request_merge(task=task, actor=here.me)
        here.observe()
        here.until(lambda: PullRequest.objects.get().head_sha == theirs, "the new head is seen")
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert PullRequest.objects.get().state == "open"
        assert here.repository.ask("rev-list", "--merges", "--count", "main") == "0"
