"""A service that runs for years does not grow by what nobody asks for any more, and forgets nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from orchestrator.models import (
    Check,
    DecisionRecord,
    IdempotencyRecord,
    JournalChunk,
    LoginLink,
    Project,
    PullRequest,
    Task,
)
from orchestrator.services import pruning, tasks
from orchestrator.services.events import Actor

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def _task(title: str, *, ended: timedelta | None) -> Task:
    project, _ = Project.objects.get_or_create(
        key="app", defaults={"name": "App", "remote": "/srv/app", "default_branch": "main", "agent": "command"}
    )
    task, _ = tasks.submit(project=project, title=title, actor=Actor())
    if ended is not None:
        Task.objects.filter(pk=task.pk).update(outcome="merged", ended_at=NOW - ended)
    DecisionRecord.objects.create(task=task, at=NOW - (ended or timedelta()), version=1, facts=b"")
    pull = PullRequest.objects.create(
        project=project, task=task, number=task.number, title=title, branch=task.branch, base_branch="main",
        head_sha="a" * 40, head_since=NOW, observed_at=NOW, state="merged" if ended is not None else "open",
    )  # fmt: skip
    check = Check.objects.create(pull_request=pull, name="tests", head_sha="a" * 40)
    for run in (check.run_id, f"turn-{task.pk}"):
        JournalChunk.objects.create(run=run, offset=0, data=b"said")
    return task


def test_the_workings_of_tasks_that_ended_long_ago_are_forgotten_and_their_transcripts_are_not() -> None:
    old, fresh, open_one = (
        _task("old", ended=timedelta(days=31)),
        _task("fresh", ended=timedelta(days=29)),
        _task("open", ended=None),
    )
    pruning.prune(now=NOW)
    assert set(DecisionRecord.objects.values_list("task", flat=True)) == {fresh.pk, open_one.pk}
    kept = set(JournalChunk.objects.values_list("run", flat=True))
    assert f"turn-{old.pk}" in kept
    assert Check.objects.get(pull_request__task=old).run_id not in kept
    assert Check.objects.get(pull_request__task=fresh).run_id in kept
    assert old.events.exists()


def test_answers_and_links_are_kept_for_as_long_as_somebody_may_ask() -> None:
    user = get_user_model().objects.create_user("ada")
    now = timezone.now()
    IdempotencyRecord.objects.create(user=user, key="k", fingerprint="f", status=201, body={})
    LoginLink.objects.create(user=user, digest="d", expires_at=now + timedelta(minutes=5))
    assert not any(pruning.prune(now=now).values())
    gone = pruning.prune(now=now + timedelta(days=8))
    assert (gone["answers"], gone["links"]) == (1, 1)
