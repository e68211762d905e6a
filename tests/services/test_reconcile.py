"""Deciding: any number of times, by anybody, and recorded so that it can be played again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from orchestrator.domain.course import course_of
from orchestrator.domain.status import TaskStatus
from orchestrator.models import DecisionRecord, Event, Interruption, Job, Message, Task
from orchestrator.services import reviews, tasks
from orchestrator.services.reconcile import reconcile
from orchestrator.services.recording import recorder
from tests.lab import CHECKED, FIX, TRY, lab, together, turns

pytestmark = pytest.mark.django_db(transaction=True)


def _counts() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (Job, Message, Interruption, DecisionRecord, Event))


def test_deciding_again_on_the_same_facts_adds_nothing() -> None:
    with lab(scm=CHECKED) as here:
        task = here.submit(script=turns(TRY))
        here.until(lambda: len(here.escalations(task)) == 1, "a human is called")
        here.settle(3)
        task.refresh_from_db()
        before, version = _counts(), task.version
        now = timezone.now()
        for _ in range(5):
            reconcile(task_id=task.pk, now=now)
        together(*[lambda: reconcile(task_id=task.pk, now=now) for _ in range(6)])
        task.refresh_from_db()
        assert (_counts(), task.version) == (before, version)


def test_what_was_decided_can_be_decided_again_from_the_recording() -> None:
    with lab(scm=CHECKED) as here:
        task = here.submit(script=turns(TRY, FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        reviews.submit_review(task=task, decision="approve", actor=here.other)
        here.reach(task, TaskStatus.MERGEABLE)
        records = list(DecisionRecord.objects.filter(task=task))
        assert len(records) > 5
        for record in records:
            again = course_of(recorder.unpack(bytes(record.facts), version=record.version)).steps
            assert (str(again[-1].decision.status), again[-1].decision.reason) == (record.status, record.reason)
            assert list(dict.fromkeys(line for step in again for line in step.decision.why)) == record.why


def test_every_change_of_status_has_its_line_and_its_reason() -> None:
    with lab(scm=CHECKED) as here:
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        seen = [event.data["status"] for event in Event.objects.filter(task=task, kind="task.status")]
        assert seen[0] == "starting"
        assert seen[-3:] == ["working", "ci_pending", "review_pending"]
        assert all(": " in event.text for event in Event.objects.filter(task=task, kind="task.status"))


def test_a_task_that_waits_wakes_by_itself_when_nobody_rings() -> None:
    with lab() as here:
        task = here.submit(script="cat; sleep 60")
        here.until(lambda: here.turn(task).journal_size > 0, "the agent is at work")
        here.settle(2)
        wakes = Task.objects.get().wake_at
        assert wakes is not None
        assert timedelta(minutes=9) < wakes - timezone.now() < timedelta(minutes=11)
        assert Task.objects.due(wakes).count() == 1


def test_a_task_that_is_gone_is_nobodys_business() -> None:
    reconcile(task_id=404, now=timezone.now())
    assert DecisionRecord.objects.count() == 0


@pytest.mark.parametrize("script", [FIX, "echo unfinished > NEW", """echo '{"type": "needs_input", "id": "q"}'"""])
def test_a_task_is_cancelled_wherever_it_rests(script: str) -> None:
    with lab(scm=CHECKED) as here:
        here.rule("ci-failed", auto=False, action=["notify"])
        task = here.submit(script=turns(script))
        here.reach(task, TaskStatus.REVIEW_PENDING, TaskStatus.CI_FAILED, TaskStatus.NEEDS_INPUT)
        tasks.cancel(task=task, actor=here.me)
        here.reach(task, TaskStatus.CANCELLED)
        here.until(lambda: not task.sessions.filter(ended_at=None).exists(), "its session is ended")
        here.until(lambda: not task.pull_requests.filter(state="open").exists(), "its pull request is closed")
        assert not Interruption.objects.open().filter(escalation=False).exists()
        assert task.wake_at is None or task.wake_at <= timezone.now() + timedelta(minutes=20)
