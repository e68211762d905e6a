"""Acceptance rows of the reaction engine on the built-in forge: how often is sent, when a human is called, what is merged."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from orchestrator.domain.rules import Reply, Trigger
from orchestrator.domain.status import TaskStatus
from orchestrator.models import Event, Interruption, PullRequest, Task
from orchestrator.services import reviews, rules, tasks
from orchestrator.services.reconcile import reconcile
from orchestrator.services.reviews import NewComment
from tests.lab import CHECKED, FIX, NOTHING, TRY, lab, register, together, turns
from tests.repositories import Repository
from workers import looks, mirrors

pytestmark = pytest.mark.django_db(transaction=True)


def test_d1_two_sends_then_one_escalation_then_nothing() -> None:
    with lab(scm=CHECKED) as here:
        task = here.submit(script=turns(TRY))
        here.until(lambda: len(here.escalations(task)) == 1, "a human is called")
        here.settle()
        # A person's words get the agent to push once more; it is red again, for the same cause.
        tasks.send(task=task, text="try something else", actor=here.me)
        here.until(
            lambda: here.turn(task).n == 4 and here.turn(task).published_at is not None, "the fourth turn is published"
        )
        here.until(lambda: _red(task) == 4, "the fourth head is red")
        here.settle()
        assert len(here.sent(task, "ci-failed")) == 2
        assert len(here.escalations(task)) == 1
        assert here.reach(task, TaskStatus.CI_FAILED).attention == "respond"
        assert here.doubles() == 0


def _red(task: Task) -> int:
    return PullRequest.objects.get(task=task).checks.filter(conclusion="failure").count()


def test_d1_a_green_build_clears_the_count() -> None:
    red = "sed -i /fixed/d README; echo broken $AO_TURN >> README; git commit -qam 'Break it'"
    with lab(scm=CHECKED) as here:
        task = here.submit(script=turns(TRY, FIX, red, TRY, TRY))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        tasks.send(task=task, text="now break it", actor=here.me)
        here.until(lambda: len(here.escalations(task)) == 1, "a human is called")
        # One send in the first episode; a whole new count in the second.
        assert [message.episode for message in here.sent(task, "ci-failed")] == [1, 2, 2]


def test_d2_a_review_is_told_at_once_and_a_human_is_called_once_after_half_an_hour() -> None:
    with lab() as here:
        task = here.submit(script=turns(FIX, NOTHING))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        reviews.submit_review(
            task=task,
            decision="request_changes",
            body="not like this",
            comments=[NewComment(path="README", line=2, body="why here?")],
            actor=here.other,
        )
        here.until(lambda: "why here?" in here.heard(task), "the agent is told")
        assert "README:2" in here.heard(task, 2)
        assert "not like this" in here.heard(task, 2)
        here.settle()
        assert not here.escalations(task)
        here.later(timedelta(minutes=29))
        here.settle()
        assert not here.escalations(task)
        here.later(timedelta(minutes=2))
        here.settle()
        here.later(timedelta(hours=3))
        here.settle()
        assert len(here.escalations(task)) == 1
        assert len(here.sent(task, "changes-requested")) == 1


def test_d3_auto_merge_merges_exactly_the_approved_head_once() -> None:
    with lab(scm=CHECKED) as here:
        here.rule("approved-and-green", auto=True, action=["auto-merge"])
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        head = PullRequest.objects.get().head_sha
        reviews.submit_review(task=task, decision="approve", actor=here.other)
        here.reach(task, TaskStatus.MERGED)
        here.settle()
        merges = here.repository.ask("log", "--merges", "--format=%H", "main").split()
        assert len(merges) == 1
        assert here.repository.ask("rev-parse", f"{merges[0]}^2") == head
        assert PullRequest.objects.get().merged_head == head


def test_d4_two_workers_and_a_poll_see_the_same_failure_and_send_once() -> None:
    with lab(scm=CHECKED) as here:

        def look() -> None:
            reconcile(task_id=task.pk, now=timezone.now())

        def poll() -> None:
            PullRequest.objects.update(poll_at=timezone.now())
            looks.observe_due_pull_requests(here.tools)

        task = here.submit(script=turns(TRY))
        here.until(lambda: _red(task) == 1, "its check is red")
        for _ in range(5):
            together(look, look, look, look, poll, poll)
        assert len(here.sent(task, "ci-failed")) == 1


def test_d7_an_override_of_retries_alone_keeps_the_action() -> None:
    with lab(scm=CHECKED) as here:
        here.rule("ci-failed", retries=1)
        task = here.submit(script=turns(TRY))
        here.until(lambda: len(here.escalations(task)) == 1, "a human is called")
        here.settle()
        assert len(here.sent(task, "ci-failed")) == 1
        assert rules.effective_rules(here.project)[Trigger.CI_FAILED].action == (Reply.SEND_TO_AGENT,)


def test_d8_a_threshold_of_a_day_is_a_day() -> None:
    with lab() as here:
        here.rule("agent-stuck", threshold="1d")
        task = here.submit(script="cat; sleep 60")
        here.reach(task, TaskStatus.WORKING)
        here.until(lambda: here.turn(task).started_at is not None, "the agent runs")
        here.later(timedelta(hours=23, minutes=59))
        here.settle(2)
        assert Task.objects.get().status == TaskStatus.WORKING
        here.later(timedelta(minutes=2))
        here.reach(task, TaskStatus.STUCK)


def test_d13_the_same_number_in_another_repository_is_another_pull_request() -> None:
    with lab() as here:
        second = Repository.make(here.folder / "other", {"README": "hello\n"})
        second.git("config", "receive.denyCurrentBranch", "updateInstead")
        other = register(second, here.me)
        mirrors.fetch(other, here.tools, timeout=30)
        one, two = here.submit(script=turns(FIX)), here.submit(script=turns(FIX), project=other)
        here.reach(one, TaskStatus.REVIEW_PENDING)
        here.reach(two, TaskStatus.REVIEW_PENDING)
        assert one.number == two.number == 1
        reviews.submit_review(task=two, decision="approve", actor=here.other)
        here.reach(two, TaskStatus.MERGEABLE)
        tasks.request_merge(task=two, actor=here.me)
        here.reach(two, TaskStatus.MERGED)
        assert here.reach(one, TaskStatus.REVIEW_PENDING).pull_requests.get().state == "open"
        assert "fixed" in second.ask("show", "main:README")
        assert "fixed" not in here.repository.ask("show", "main:README")


def test_d14_counting_goes_on_after_a_restart_in_the_middle_of_the_series() -> None:
    with lab(scm=CHECKED) as here:
        task = here.submit(script=turns(TRY))
        here.until(lambda: here.turn(task).n == 2, "the first answer is under way")
        here.forget()
        here.until(lambda: len(here.escalations(task)) == 1, "a human is called")
        here.settle()
        assert len(here.sent(task, "ci-failed")) == 2


def test_a_person_says_retry_and_the_series_begins_anew() -> None:
    with lab(scm=CHECKED) as here:
        task = here.submit(script=turns(TRY, TRY, TRY, FIX))
        here.until(lambda: len(here.escalations(task)) == 1, "a human is called")
        tasks.retry(task=task, actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert not Interruption.objects.open().filter(task=task, escalation=True).exists()
        assert Event.objects.filter(task=task, kind="task.retried").count() == 1
