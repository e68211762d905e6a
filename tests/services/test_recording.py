"""The flight recorder: small, exact, and honest about what it cannot read."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from orchestrator.domain.actions import Merge, OpenPullRequest
from orchestrator.domain.lifecycle import decide
from orchestrator.domain.recording import abridged
from orchestrator.domain.rules import DEFAULTS, Override, Reply, Trigger
from orchestrator.domain.snapshot import JobFacts, JobState
from orchestrator.models import DecisionRecord, Event, Interruption, Job, Message, Project, Task
from orchestrator.services import promises, replays, rules, tasks, why
from orchestrator.services.configuration import applying
from orchestrator.services.events import Actor
from orchestrator.services.promises import Promised
from orchestrator.services.reconcile import reconcile, reconcile_many
from orchestrator.services.recording import recorder
from tests.domain.facts import DONE_TURN, PULL, SESSION, TASK, check, message, review, snapshot
from tests.web import scenes
from workers import runner

ADA = Actor(name="ada")
LOG = "E   assert 1 == 2\n" * 1000


def test_a_record_is_small_however_long_the_words_were() -> None:
    facts = snapshot(
        session=SESSION,
        turn=replace(DONE_TURN, last_words="a\n" * 5000),
        pull=replace(PULL, checks=tuple(check("failure", number=n, name=f"c{n}", log=LOG) for n in range(20))),
        jobs={f"turn:5:{n}:0": JobFacts(key=f"turn:5:{n}:0", state=JobState.DONE) for n in range(100)},
    )
    packed = recorder.pack(facts)
    assert len(packed) < 1000
    assert recorder.unpack(packed, version=1) == abridged(facts)


def test_what_was_kept_decides_the_same() -> None:
    facts = snapshot(
        session=SESSION,
        turn=DONE_TURN,
        pull=replace(PULL, checks=(check("failure", log=LOG),), reviews=(review("request_changes", body="x" * 900),)),
        messages=(message(Trigger.CI_FAILED, "x", turn=1),),
    )
    again = recorder.unpack(recorder.pack(facts), version=1)
    assert [one.key for one in decide(again).actions] == [one.key for one in decide(facts).actions]
    assert decide(again).why == decide(facts).why


@pytest.mark.parametrize(("facts", "version"), [(b"", 1), (b"nonsense", 1), (recorder.pack(snapshot()), 99)])
def test_a_record_that_cannot_be_read_is_named(facts: bytes, version: int) -> None:
    with pytest.raises(recorder.Unreadable, match=f"version {version}"):
        recorder.unpack(facts, version=version)


@pytest.fixture
def project() -> Project:
    return scenes.project("app")


def a_queued_task(project: Project, title: str = "t") -> Task:
    task, _ = tasks.submit(project=project, title=title, actor=Actor(name="ada", at=timezone.now()))
    return task


@pytest.mark.django_db
def test_a_decision_is_kept_when_something_is_new_or_its_reasons_are_and_not_again(project: Project) -> None:
    task = a_queued_task(project)
    now = timezone.now()
    for second in range(5):
        reconcile(task_id=task.pk, now=now + timedelta(seconds=second))
    assert DecisionRecord.objects.filter(task=task).count() == 1
    Task.objects.filter(pk=task.pk).update(waiting_for="all hosts are full")
    reconcile(task_id=task.pk, now=now + timedelta(seconds=9))
    newest = task.decisions.latest("pk")
    assert (newest.status, newest.reason) == ("queued", "all hosts are full")


@pytest.mark.django_db
def test_what_is_waited_for_is_one_sentence(project: Project) -> None:
    task = a_queued_task(project)
    Task.objects.filter(pk=task.pk).update(waiting_for="all hosts are full")
    task.refresh_from_db()
    before = Event.objects.count(), DecisionRecord.objects.count()
    told = why.standing(task=task, now=timezone.now())
    assert told.sentence == "It waits in the queue: all hosts are full."
    assert (Event.objects.count(), DecisionRecord.objects.count()) == before


@pytest.mark.django_db
def test_a_rule_that_acted_is_remembered_with_its_version_and_its_decision(project: Project) -> None:
    rules.set_override(Override(trigger=Trigger.CI_FAILED, retries=1, escalate_after=1), project=project, actor=ADA)
    task = scenes.red(project)
    reconcile(task_id=task.pk, now=timezone.now())
    sent = Message.objects.get(task=task, trigger="ci-failed")
    assert sent.rule_version == 1
    made = why.decisions_that_made(task)
    record = DecisionRecord.objects.get(pk=made[sent.key])
    assert any(line.endswith("-> ci-failed (version 1) -> send-to-agent (try 1 of 1)") for line in record.why)


@pytest.mark.django_db
def test_many_tasks_are_decided_together_exactly_as_one_by_one(project: Project) -> None:
    together, alone = [scenes.red(project) for _ in range(3)], scenes.red(project)
    now = timezone.now()
    reconcile_many(task_ids=[task.pk for task in together], now=now)
    reconcile(task_id=alone.pk, now=now)

    def left(task: Task) -> tuple[object, ...]:
        task.refresh_from_db()
        return (
            task.status,
            task.reason,
            task.attention,
            sorted(task.messages.values_list("trigger", "episode")),
            sorted(job.verb for job in task.jobs.all()),
            sorted(task.reactions.values_list("trigger", "held", "episode")),
            list(task.decisions.values_list("status", "why")),
            task.events.filter(kind="task.status").count(),
        )

    as_alone = left(alone)
    assert as_alone[3]
    assert as_alone[4]
    for task in together:
        there = left(task)
        assert there[:6] == as_alone[:6]
        assert len(there[6]) == len(as_alone[6])  # type: ignore[arg-type]  # a list


@pytest.mark.django_db(transaction=True)
def test_one_task_on_which_nothing_can_be_decided_hides_none_of_its_batch(project: Project) -> None:
    good = [scenes.red(project) for _ in range(2)]
    bad = scenes.red(scenes.project("other"))
    bad.project.rules.create(trigger="ci-failed", escalate_after="nonsense")
    ids = [good[0].pk, bad.pk, good[1].pk]
    Task.objects.filter(pk__in=ids).update(wake_at=timezone.now())
    runner.decide_on_many(ids, only_due=True)
    assert all(Message.objects.filter(task=task, trigger="ci-failed").count() == 1 for task in good)
    assert "nonsense" in Interruption.objects.get(task=bad, cause__startswith="aside:").question
    assert not Job.objects.filter(task=bad, verb="StartTurn").exists()


@pytest.mark.django_db
def test_other_rules_are_tried_out_over_the_records_and_nothing_is_changed(project: Project) -> None:
    task = scenes.red(project)
    now = timezone.now()
    reconcile(task_id=task.pk, now=now)
    before = {model: model.objects.count() for model in (DecisionRecord, Event, Message, Job, Interruption)}
    loaded = applying.load(text="reactions: {ci-failed: {auto: false, action: notify}}", path="f", env={})
    found = replays.replay(
        otherwise=replays.Otherwise.of(loaded), days=30, project=None, now=now + timedelta(minutes=5)
    )
    ((differing, compared),) = found.differing
    assert differing == task
    assert "ci-failed: a question instead of message 1" in [f"{one.trigger}: {one}" for one in compared.differences]
    assert {model: model.objects.count() for model in before} == before


@pytest.mark.django_db
def test_the_file_of_the_installation_over_its_own_records_differs_in_nothing(project: Project) -> None:
    rules.set_override(Override(trigger=Trigger.CI_FAILED, retries=1), project=project, actor=ADA)
    task = scenes.red(project)
    reconcile(task_id=task.pk, now=timezone.now())
    whole = applying.load(text="projects: {app: {repo: o/app, reactions: {ci-failed: {retries: 1}}}}", path="f", env={})
    otherwise = replays.Otherwise.of(whole)
    found = replays.replay(otherwise=otherwise, days=1, project=project, now=timezone.now())
    assert (found.tasks, found.differing, otherwise.whole) == (1, [], True)
    assert found.was == found.now


@pytest.mark.django_db
def test_a_task_with_a_record_of_another_version_is_named_and_the_others_are_told(project: Project) -> None:
    old, new = a_queued_task(project, "old"), a_queued_task(project, "new")
    for task in (old, new):
        reconcile(task_id=task.pk, now=timezone.now())
    DecisionRecord.objects.filter(task=old).update(version=99)
    loaded = applying.load(text="reactions: {ci-failed: {retries: 1}}", path="f", env={})
    found = replays.replay(otherwise=replays.Otherwise.of(loaded), days=1, project=None, now=timezone.now())
    assert [task for task, _ in found.unreadable] == [old]
    assert found.tasks == 1


@pytest.mark.django_db
def test_whoever_has_no_patience_goes_on_where_it_ended(project: Project) -> None:
    rows = [a_queued_task(project, f"t{n}") for n in range(3)]
    for task in rows:
        reconcile(task_id=task.pk, now=timezone.now())
    loaded = applying.load(text="reactions: {ci-failed: {retries: 1}}", path="f", env={})

    def round_from(after: int, patience: float) -> replays.Replayed:
        return replays.replay(
            otherwise=replays.Otherwise.of(loaded),
            days=1,
            project=None,
            now=timezone.now(),
            after=after,
            patience=patience,
        )

    assert (round_from(0, -1).tasks, round_from(0, -1).after) == (0, 0)
    assert (round_from(rows[0].pk, 5).tasks, round_from(rows[0].pk, 5).after) == (2, None)


@pytest.mark.django_db
def test_a_job_that_a_rule_asked_for_remembers_the_rule_and_one_that_goes_on_by_itself_does_not(
    project: Project,
) -> None:
    task, rule = a_queued_task(project), replace(DEFAULTS[Trigger.APPROVED_AND_GREEN], version=7)
    merge, opened = Merge(head_sha="a" * 40, occasion="o"), OpenPullRequest(head_sha="a" * 40, attempt=0)
    promises.keep(
        [Promised(task=task, action=merge, rule=rule), Promised(task=task, action=opened)], now=timezone.now()
    )
    told = Job.objects.filter(task=task).order_by("verb").values_list("verb", "trigger", "rule_version")
    assert list(told) == [("Merge", "approved-and-green", 7), ("OpenPullRequest", "", None)]


def test_a_merge_by_a_rule_is_known_as_the_rules_and_a_persons_is_not() -> None:
    ready = replace(PULL, checks=(check(),), reviews=(review(),))
    by_itself = {
        **DEFAULTS,
        Trigger.APPROVED_AND_GREEN: replace(
            DEFAULTS[Trigger.APPROVED_AND_GREEN], auto=True, action=(Reply.AUTO_MERGE,)
        ),
    }
    ours = decide(snapshot(pull=ready, rules=by_itself))
    theirs = decide(snapshot(pull=ready, task=replace(TASK, merge_requested=PULL.head_sha)))
    merges = [[a.key for a in one.actions if isinstance(a, Merge)] for one in (ours, theirs)]
    assert merges[0] == merges[1]
    assert ours.asked_by[merges[0][0]] is Trigger.APPROVED_AND_GREEN
    assert merges[1][0] not in theirs.asked_by


@pytest.mark.django_db
def test_the_log_has_one_line_for_all_tasks_that_came_to_the_same_together(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    together, alone = [scenes.red(project) for _ in range(3)], scenes.red(project)
    with caplog.at_level("INFO", logger="orchestrator.services.reconcile"):
        reconcile_many(task_ids=[task.pk for task in together], now=timezone.now())
        reconcile(task_id=alone.pk, now=timezone.now())
    said = [vars(record) for record in caplog.records if record.message == "task status"]
    of_many, of_one = said[: len(said) // 2], said[len(said) // 2 :]
    assert [line["tasks"] for line in of_many] == [[task.pk for task in together]] * len(of_one)
    assert [line["task"] for line in of_one] == [alone.pk] * len(of_many)
    assert [(line["status"], line["reason"]) for line in of_many] == [
        (line["status"], line["reason"]) for line in of_one
    ]
