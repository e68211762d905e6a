"""Acceptance rows of the reaction engine on GitHub: the same promises as on the built-in forge, kept over another's API."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import timedelta

import httpx
import pytest
from django.db import connections

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Delivery, Event, Job, PullRequest, Task, Turn
from orchestrator.ports import Refused
from orchestrator.services import deliveries, reviews, tasks
from tests.fakegithub.hooks import Hooks
from tests.github.lab import REVIEWER, GitHubLab, github_lab
from tests.github.test_loop import SECRET, reached
from tests.lab import FIX, NOTHING, TRY, register, turns
from tests.repositories import Repository
from tests.web.serving import served
from workers import mirrors

pytestmark = pytest.mark.django_db(transaction=True)


def _looked(lab: GitHubLab) -> bool:
    """All pull requests are due for a look, and the runners are done."""
    lab.runners.join()
    PullRequest.objects.update(poll_at=None)
    return True


def _reds(lab: GitHubLab) -> int:
    return sum(run.conclusion == "failure" for run in lab.github.world.checks.values())


def test_d1_two_sends_then_one_escalation_then_nothing() -> None:
    with github_lab() as lab:
        here = lab.here
        task = here.submit(script=turns(TRY))
        here.until(lambda: _looked(lab) and len(here.escalations(task)) == 1, "a human is called")
        tasks.send(task=task, text="try something else", actor=here.me)
        here.until(lambda: _looked(lab) and _reds(lab) == 4, "the fourth head is red")
        for _ in range(4):
            _looked(lab)
            here.settle(2)
        assert len(here.sent(task, "ci-failed")) == 2
        assert len(here.escalations(task)) == 1
        assert here.doubles() == 0


def test_d2_a_review_is_told_at_once_and_a_human_is_called_once_after_half_an_hour() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        task = here.submit(script=turns(FIX, NOTHING))
        reached(lab, task, TaskStatus.REVIEW_PENDING)
        world.review(
            REVIEWER, lab.pull(task).number, "CHANGES_REQUESTED", "not like this", [("README", 2, "why here?")]
        )
        here.until(lambda: _looked(lab) and "why here?" in here.heard(task), "the agent is told")
        assert "README:2" in here.heard(task, 2)
        assert "not like this" in here.heard(task, 2)
        for span, called in ((timedelta(minutes=29), 0), (timedelta(minutes=2), 1), (timedelta(hours=3), 1)):
            here.later(span)
            _looked(lab)
            here.settle()
            assert len(here.escalations(task)) == called
        assert len(here.sent(task, "changes-requested")) == 1


def test_d3_auto_merge_merges_exactly_the_approved_head_once() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        here.rule("approved-and-green", auto=True, action=["auto-merge"])
        task = here.submit(script=turns(FIX))
        reached(lab, task, TaskStatus.REVIEW_PENDING)
        head = lab.pull(task).head_sha
        world.review(REVIEWER, lab.pull(task).number, "APPROVED")
        reached(lab, task, TaskStatus.MERGED)
        _looked(lab)
        here.settle()
        merges = world.git("log", "--merges", "--format=%H", "main").split()
        assert [world.git("rev-parse", f"{merge}^2") for merge in merges] == [head]
        assert sum(asked.startswith("PUT") and asked.endswith("/merge") for asked in lab.github.asked) == 1


def test_d13_the_same_number_in_another_repository_is_another_pull_request() -> None:
    with github_lab() as lab:
        here = lab.here
        second = Repository.make(here.folder / "other", {"README": "hello\n"})
        second.git("config", "receive.denyCurrentBranch", "updateInstead")
        there, before = register(second, here.me), here.tools
        here.tools = lab.tools_with_local(there)
        mirrors.fetch(there, here.tools, timeout=30)
        one, two = here.submit(script=turns(FIX)), here.submit(script=turns(FIX), project=there)
        reached(lab, one, TaskStatus.REVIEW_PENDING)
        here.reach(two, TaskStatus.REVIEW_PENDING)
        assert lab.pull(one).number == PullRequest.objects.get(task=two).number == 1
        reviews.submit_review(task=two, decision="approve", actor=here.other)
        here.reach(two, TaskStatus.MERGEABLE)
        tasks.request_merge(task=two, actor=here.me)
        here.reach(two, TaskStatus.MERGED)
        assert lab.pull(one).state == "open"
        here.tools = before


def test_d14_counting_goes_on_after_a_restart_in_the_middle_of_the_series() -> None:
    with github_lab() as lab:
        here = lab.here
        task = here.submit(script=turns(TRY))
        here.until(lambda: _looked(lab) and here.turn(task).n == 2, "the first answer is under way")
        here.forget()
        here.until(lambda: _looked(lab) and len(here.escalations(task)) == 1, "a human is called")
        here.settle()
        assert len(here.sent(task, "ci-failed")) == 2


def test_d18_an_agent_that_cannot_resume_is_told_its_task_and_what_went_before() -> None:
    with github_lab() as lab:
        here = lab.here
        task = here.submit(title="Fix the greeting", script=turns(TRY, FIX))
        reached(lab, task, TaskStatus.REVIEW_PENDING)
        first, second = here.heard(task, 1), here.heard(task, 2)
        assert first.count("Fix the greeting") == second.count("Fix the greeting") == 1
        assert "exit code 1" in second
        assert "[message" not in second.split("This turn is about:")[0]


# --- T24: a confused merge ---


def _approved(lab: GitHubLab, **required: object) -> Task:
    """A task whose approved head would be merged by itself, but that nobody has looked since."""
    here = lab.here
    here.rule("approved-and-green", auto=True, action=["auto-merge"])
    here.set(scm={**here.project.scm, **required})
    task = here.submit(script=turns(FIX))
    reached(lab, task, TaskStatus.REVIEW_PENDING)
    return task


def test_t24_a_head_that_moved_between_the_look_and_the_merge_is_not_merged() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        task = _approved(lab)
        pull, said = lab.pull(task), lab.github.rest.operations["pulls/merge"]
        before, clone = world.refs(), here.folder / "by-hand"
        here.repository.git("clone", "-q", "-b", task.branch, str(world.git_dir), str(clone))
        theirs = Repository(clone)
        moved = theirs.commit({"UNSEEN": "nobody approved this\n"})

        def push_first(call: object) -> tuple[int, object]:
            """A person pushes after everything was checked, and before the forge merges."""
            theirs.git("push", "-q", "origin", task.branch)
            world.moved(before)
            lab.github.rest.operations["pulls/merge"] = said
            return said(call)  # type: ignore[arg-type]

        lab.github.rest.operations["pulls/merge"] = push_first
        world.review(REVIEWER, pull.number, "APPROVED")
        here.until(lambda: _looked(lab) and pull.head_sha == moved, "the head moves under the merge")
        for _ in range(4):
            _looked(lab)
            here.settle(2)
        assert pull.state == "open"
        assert world.sha("refs/heads/main") != moved
        assert not world.git("log", "--merges", "--format=%H", "main")


def test_t24_a_required_check_that_was_renamed_is_not_reported_and_nothing_is_merged() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        task = _approved(lab, requiredChecks=["ci"])
        here.set(scm={**here.project.scm, "requiredChecks": ["ci (linux)"]})
        world.review(REVIEWER, lab.pull(task).number, "APPROVED")
        for _ in range(4):
            _looked(lab)
            here.settle(2)
        assert lab.pull(task).state == "open"
        task.refresh_from_db()
        assert (task.status, "ci (linux)" in task.reason) == (TaskStatus.CI_PENDING, True)


def test_t24_an_approved_head_on_which_nothing_was_reported_is_not_merged() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        world.new_head = lambda _: None
        here.rule("approved-and-green", auto=True, action=["auto-merge"])
        here.set(scm={**here.project.scm, "requiredChecks": None})
        task = here.submit(script=turns(FIX))
        here.until(lambda: bool(world.pulls), "the pull request is there")
        world.review(REVIEWER, lab.pull(task).number, "APPROVED")
        for _ in range(4):
            here.later(timedelta(minutes=2))
            _looked(lab)
            here.settle(2)
        assert lab.pull(task).state == "open"


# --- F16 ---


def test_f16_forged_and_replayed_webhooks_do_nothing_and_lost_ones_cost_time_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(deliveries.SECRET, SECRET)
    with github_lab() as lab, served() as web:
        here, world = lab.here, lab.github.world
        url = f"{web.url}/webhooks/github/"
        hooks = Hooks(lab.github, url, SECRET)
        task = here.submit(script=turns(FIX))
        here.until(lambda: bool(world.pulls), "the pull request is there")
        number = lab.pull(task).number
        told = hooks.pending()
        assert set(hooks.deliver(told)) == {202}
        taken = Delivery.objects.count()
        assert set(hooks.deliver([*told, *told])) == {202}  # replayed
        forged = json.dumps({"action": "closed", "pull_request": {"number": number, "merged": True}}).encode()
        headers = {
            "X-GitHub-Event": "pull_request",
            "X-GitHub-Delivery": "forged",
            "X-Hub-Signature-256": f"sha256={hmac.new(b'guessed', forged, hashlib.sha256).hexdigest()}",
            "Content-Type": "application/json",
        }
        assert httpx.post(url, content=forged, headers=headers).status_code == 401
        assert Delivery.objects.count() == taken
        world.review(REVIEWER, number, "APPROVED")  # its webhook is lost
        hooks.pending()
        PullRequest.objects.update(poll_at=None)  # the poll comes in any case
        here.until(lambda: _looked(lab) and here.reach(task, TaskStatus.MERGEABLE).pk == task.pk, "the poll tells")
        connections.close_all()


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
        here.until(lambda: _looked(lab) and waiting.exists(), "the start failed")
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
