"""Rows that are written from their values are those that their models would have written."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db import DataError, IntegrityError
from django.utils import timezone

from orchestrator.models import DecisionRecord, Event, Job, Message, Reaction, Task, rows
from orchestrator.models.rows import Row
from tests.web import scenes

pytestmark = pytest.mark.django_db


@pytest.fixture
def task() -> Task:
    return scenes.task(scenes.project("app"))


def a_job(task: Task, key: str, **said: object) -> Row:
    return {
        "task_id": task.pk,
        "key": key,
        "verb": "Publish",
        "action": {},
        "queue": "q",
        "run_at": timezone.now(),
        **said,
    }


def test_what_no_row_names_has_its_default_or_the_clock(task: Task) -> None:
    before = timezone.now()
    rows.insert(Job, [a_job(task, "a", action={"turn": 1, "words": "ü \\ ' \" %s"})])
    job = Job.objects.get(key="a")
    assert job.action == {"turn": 1, "words": "ü \\ ' \" %s"}
    assert (job.state, job.claims, job.code, job.result, job.session, job.settled_at) == (
        "promised",
        0,
        "",
        {},
        None,
        None,
    )
    assert before <= job.created_at <= timezone.now()


def test_bytes_times_and_ids_come_back_as_they_were(task: Task) -> None:
    at, facts = timezone.now(), bytes(range(256))
    rows.insert(
        DecisionRecord,
        [{"task_id": task.pk, "at": at, "version": 1, "facts": facts, "status": "x", "why": ["a"], "made": []}],
    )
    kept = DecisionRecord.objects.get(task=task)
    assert (kept.at, bytes(kept.facts), kept.why, kept.made) == (at, facts, ["a"], [])
    told = {"id": uuid.uuid4(), "task_id": task.pk, "key": "k", "occasion": "o", "text": "words"}
    rows.insert(Message, [told])
    message = Message.objects.get(pk=told["id"])
    assert message.answers is None
    assert Message.objects.filter(answers__isnull=True).exists()


def test_rows_are_added_in_their_order(task: Task) -> None:
    lines = [{"task_id": task.pk, "kind": "x.y", "text": str(n), "at": timezone.now()} for n in range(300)]
    rows.insert(Event, lines)
    kept = Event.objects.filter(kind="x.y").order_by("id").values_list("text", flat=True)
    assert list(kept) == [str(n) for n in range(300)]


def test_a_row_that_is_there_stays_as_it_is_or_takes_over_what_is_said(task: Task) -> None:
    rows.insert(Job, [a_job(task, "a")])
    rows.insert(Job, [a_job(task, "a", verb="Merge"), a_job(task, "b")], conflict=rows.DO_NOTHING)
    assert dict(Job.objects.values_list("key", "verb")) == {"a": "Publish", "b": "Publish"}
    with pytest.raises(IntegrityError):
        rows.insert(Job, [a_job(task, "a")])


def test_a_memory_takes_over_what_is_said_and_nothing_else(task: Task) -> None:
    since = timezone.now()
    memory = {"task_id": task.pk, "trigger": "ci-failed", "episode": 1, "held": True, "since": since}
    rows.insert(Reaction, [memory])
    later = since + timedelta(hours=1)
    anew = rows.on_conflict(("task_id", "trigger"), ("episode", "held"))
    rows.insert(Reaction, [{**memory, "episode": 2, "held": False, "since": later}], conflict=anew)
    kept = Reaction.objects.get(task=task)
    assert (kept.episode, kept.held, kept.since) == (2, False, since)


def test_words_that_are_too_long_are_refused_and_not_cut(task: Task) -> None:
    with pytest.raises(DataError):
        rows.insert(Job, [a_job(task, "k" * 400)])


def test_a_column_that_is_not_there_is_named(task: Task) -> None:
    with pytest.raises(ValueError, match="Job has no column verbs"):
        rows.insert(Job, [a_job(task, "a", verbs="Merge")])


def test_what_is_among_some_ids_is_found_through_joins_and_among_none_nothing_is(task: Task) -> None:
    rows.insert(Job, [a_job(task, "a"), a_job(task, "b")])
    assert Job.objects.filter(rows.among("task", [task.pk, 404])).count() == 2
    assert Job.objects.filter(rows.among("task__project", [task.project_id]), key="a").count() == 1
    assert Job.objects.filter(rows.among("task__project", [404])).count() == 0
    assert not Job.objects.filter(rows.among("task", [])).exists()
