"""What is true between the push of a new head and the next look at the forge."""

from __future__ import annotations

import pytest
from django.utils import timezone

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Job, PullRequest, Turn
from orchestrator.services import reviews, tasks
from orchestrator.services.reconcile import reconcile
from orchestrator.services.reviews import NewComment
from tests.lab import Lab, lab
from workers import runner

pytestmark = pytest.mark.django_db(transaction=True)

MORE = "cat > /dev/null; echo $AO_TURN >> README; git commit -qam 'More'"


def test_a_head_that_was_just_pushed_has_no_approval_and_no_green_check_of_the_old_one() -> None:
    with lab(scm={"plugin": "local", "checks": {"tests": "true"}}) as here:
        task = here.submit(script=MORE)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        reviews.submit_review(
            task=task,
            decision="request_changes",
            comments=[NewComment(path="README", line=1, body="say more")],
            actor=here.other,
        )
        here.until(lambda: Turn.objects.filter(n=2, ended_at__isnull=False).exists(), "the second turn ends")
        publish_without_looking(here, task.pk)
        task.refresh_from_db()
        assert task.status == TaskStatus.CI_PENDING
        assert PullRequest.objects.get().head_sha == Turn.objects.get(n=2).head_after


def test_an_approval_given_after_the_push_is_of_the_new_head_and_the_first_merge_succeeds() -> None:
    with lab() as here:
        task = here.submit(script=MORE)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        tasks.send(task=task, text="more", actor=here.me)
        here.until(lambda: Turn.objects.filter(n=2, ended_at__isnull=False).exists(), "the second turn ends")
        publish_without_looking(here, task.pk)
        reviews.submit_review(task=task, decision="approve", actor=here.other)
        here.reach(task, TaskStatus.MERGEABLE)
        tasks.request_merge(task=task, actor=here.me)
        here.reach(task, TaskStatus.MERGED)
        assert list(Job.objects.filter(verb="Merge").values_list("state", flat=True)) == ["done"]


def publish_without_looking(here: Lab, task_id: int) -> None:
    """Carry the publish job out, and nothing that looks at pull requests."""
    while not Turn.objects.filter(n=2, published_at__isnull=False).exists():
        reconcile(task_id=task_id, now=timezone.now())
        runner.run_due(queues=["host.local"], tools=here.tools)
    reconcile(task_id=task_id, now=timezone.now())
