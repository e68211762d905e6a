"""Acceptance rows of the reaction engine on GitHub, where they are not in `test_loop.py` (D4, D9, D10)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Event, Job, Project, PullRequest, Task, Turn
from orchestrator.ports import SCM, Refused
from orchestrator.services import reviews, tasks
from tests.github.lab import REVIEWER, GitHubLab, github_lab
from tests.lab import FIX, NOTHING, TRY, register, turns
from tests.repositories import Repository
from workers import mirrors
from workers.plugins.scms.local import LocalForge

pytestmark = pytest.mark.django_db(transaction=True)
AUTO_MERGE = {"auto": True, "action": ["auto-merge"]}


def reached(lab: GitHubLab, task: Task, *statuses: TaskStatus) -> Task:
    """Step, with every look due at once, until the task is there."""

    def there() -> bool:
        look(task)
        task.refresh_from_db()
        return task.status in statuses

    lab.here.until(there, f"{task} is {' or '.join(statuses)}")
    return task


def look(task: Task) -> bool:
    """The next look is due."""
    PullRequest.objects.filter(task=task).update(poll_at=None)
    return True


def settle(lab: GitHubLab, task: Task) -> None:
    """Rounds with looks in which what must not happen has its chance to."""
    for _ in range(4):
        look(task)
        lab.here.settle(2)


def test_d1_two_sends_then_one_escalation_then_nothing() -> None:
    with github_lab() as lab:
        here = lab.here
        task = here.submit(script=turns(TRY))
        here.until(lambda: look(task) and len(here.escalations(task)) == 1, "a human is called")
        tasks.send(task=task, text="try something else", actor=here.me)
        here.until(lambda: look(task) and here.turn(task).n == 4 and _red(task) == 4, "the fourth head is red")
        settle(lab, task)
        assert (len(here.sent(task, "ci-failed")), len(here.escalations(task)), here.doubles()) == (2, 1, 0)


def test_d14_counting_goes_on_after_a_restart_in_the_middle_of_the_series() -> None:
    with github_lab() as lab:
        here = lab.here
        task = here.submit(script=turns(TRY))
        here.until(lambda: look(task) and here.turn(task).n == 2, "the first answer is under way")
        here.forget()
        here.until(lambda: look(task) and len(here.escalations(task)) == 1, "a human is called")
        settle(lab, task)
        assert len(here.sent(task, "ci-failed")) == 2


def _red(task: Task) -> int:
    return PullRequest.objects.get(task=task).checks.filter(conclusion="failure").values("head_sha").distinct().count()


def test_d2_a_review_is_told_at_once_and_a_human_is_called_once_after_half_an_hour() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        task = here.submit(script=turns(FIX, NOTHING))
        reached(lab, task, TaskStatus.REVIEW_PENDING)
        number = lab.pull(task).number
        world.review(REVIEWER, number, "CHANGES_REQUESTED", "not like this", [("README", 2, "why here?")])
        here.until(lambda: look(task) and "why here?" in here.heard(task), "the agent is told")
        assert "README:2" in here.heard(task, 2)
        assert "not like this" in here.heard(task, 2)
        here.later(timedelta(minutes=29))
        settle(lab, task)
        assert not here.escalations(task)
        here.later(timedelta(minutes=2))
        settle(lab, task)
        here.later(timedelta(hours=3))
        settle(lab, task)
        assert (len(here.escalations(task)), len(here.sent(task, "changes-requested"))) == (1, 1)


def test_d3_auto_merge_merges_exactly_the_approved_head_once() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        here.rule("approved-and-green", **AUTO_MERGE)
        task = here.submit(script=turns(FIX))
        reached(lab, task, TaskStatus.REVIEW_PENDING)
        head = lab.pull(task).head_sha
        world.review(REVIEWER, lab.pull(task).number, "APPROVED")
        reached(lab, task, TaskStatus.MERGED)
        settle(lab, task)
        (merge,) = world.git("log", "--merges", "--format=%H", "main").split()
        assert world.git("rev-parse", f"{merge}^2") == head
        assert PullRequest.objects.get().merged_head == head


def test_d13_the_same_number_on_another_forge_is_another_pull_request() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        second = Repository.make(here.folder / "other", {"README": "hello\n"})
        second.git("config", "receive.denyCurrentBranch", "updateInstead")
        other = register(second, here.me)
        here.equip(replace(here.tools, scm=_forges(lab, local=other)))
        mirrors.fetch(other, here.tools, timeout=30)
        one, two = here.submit(script=turns(FIX)), here.submit(script=turns(FIX), project=other)
        reached(lab, one, TaskStatus.REVIEW_PENDING)
        here.reach(two, TaskStatus.REVIEW_PENDING)
        assert {pull.number for pull in PullRequest.objects.all()} == {1}
        reviews.submit_review(task=two, decision="approve", actor=here.other)
        here.reach(two, TaskStatus.MERGEABLE)
        tasks.request_merge(task=two, actor=here.me)
        here.reach(two, TaskStatus.MERGED)
        settle(lab, one)
        assert (lab.pull(one).state, "fixed" in second.ask("show", "main:README")) == ("open", True)
        assert "fixed" not in world.git("show", "main:README")


def _forges(lab: GitHubLab, *, local: Project) -> Callable[[Project], SCM]:
    """This project's forge is the built-in one; all others' stay what they are."""
    elsewhere, mirror = lab.here.tools.scm, lab.here.tools.mirror
    return lambda row: LocalForge(project=row, mirror=mirror(row)) if row.pk == local.pk else elsewhere(row)


def test_d15_what_is_uncommitted_at_the_end_is_kept_under_a_ref_and_shown() -> None:
    with github_lab() as lab:
        here = lab.here
        task = here.submit(script="cat; echo precious > WORK; touch $HOME/ready; sleep 60")
        here.until(lambda: here.turn(task).started_at is not None and _there(lab, task), "it has written something")
        tasks.cancel(task=task, actor=here.me)
        here.reach(task, TaskStatus.CANCELLED)
        here.until(lambda: here.session(task).workspace.state == "removed", "its workspace is removed")
        saved = here.session(task).saved_ref
        mirror = here.tools.mirror(here.project)
        assert Event.objects.filter(task=task, kind="work.saved", text__contains=saved).exists()
        assert here.repository.ask("--git-dir", str(mirror.path), "show", f"{saved}:WORK") == "precious"


def _there(lab: GitHubLab, task: Task) -> bool:
    try:
        lab.here.port.inner.read("home/ready", workspace=lab.here.session(task).workspace.name, cap=10)
    except Refused:
        return False
    return True


def test_d16_a_review_that_the_agent_did_not_take_is_tried_again_then_a_human_is_called() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        task = here.submit(script=turns(FIX, NOTHING))
        reached(lab, task, TaskStatus.REVIEW_PENDING)
        here.port.down.add("start")
        world.review(REVIEWER, lab.pull(task).number, "COMMENTED", "", [("README", 2, "why here?")])
        waiting = Job.objects.filter(verb="StartTurn", attempts__gt=0)
        here.until(lambda: look(task) and waiting.exists(), "the start failed")
        for _ in range(3):
            here.hurry()
            here.step()
        assert Turn.objects.get(n=2).messages.filter(confirmed_at__isnull=True).count() == 1
        here.later(timedelta(minutes=11))
        here.settle(3)
        assert len(here.escalations(task)) == 1
        here.port.down.clear()
        here.hurry()
        here.until(lambda: "why here?" in here.heard(task), "it is told in the end")
        assert (len(here.sent(task, "changes-requested")), here.doubles()) == (1, 0)
