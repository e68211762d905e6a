"""Every change of a rule has a number, an author and a line of history; what acted stays known."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction

from orchestrator.domain.rules import Override, Reply, Trigger
from orchestrator.models import Event, Project, RuleRow, RuleVersion, Task
from orchestrator.services import rules, tasks
from orchestrator.services.configuration import applying, own_rules
from orchestrator.services.events import Actor
from orchestrator.services.rules import Source
from orchestrator.services.tasks import InvalidTask, NotNow

pytestmark = pytest.mark.django_db
ADA = Actor(name="ada")


@pytest.fixture
def project() -> Project:
    return Project.objects.create(
        key="my-app", name="my-app", remote="/srv/app.git", default_branch="main", agent="command", session_prefix="app"
    )


def set_retries(n: int | None, project: Project | None) -> bool:
    return rules.set_override(Override(trigger=Trigger.CI_FAILED, retries=n), project=project, actor=ADA)


def versions(project: Project) -> dict[Trigger, int]:
    return {trigger: rule.version for trigger, rule in rules.effective_rules(project).items() if rule.version}


def test_each_change_is_a_version_with_its_author_and_what_it_said_before(project: Project) -> None:
    set_retries(3, None)
    set_retries(1, project)
    set_retries(1, project)
    set_retries(None, project)

    told = [
        (row.number, row.project, row.before, row.fields, row.actor_name) for row in RuleVersion.objects.all()[::-1]
    ]
    assert told == [
        (1, None, {}, {"retries": 3}, "ada"),
        (2, project, {}, {"retries": 1}, "ada"),
        (3, project, {"retries": 1}, {}, "ada"),
    ]
    lines = list(Event.objects.filter(kind="rule.changed").order_by("id").values_list("text", flat=True))
    assert lines[1] == "ada changed the rule ci-failed of my-app (version 2): retries"
    assert len(lines) == 3


def test_the_version_of_a_rule_is_the_newest_change_that_has_a_part_in_it(project: Project) -> None:
    other = Project.objects.create(key="b", name="b", remote="/srv/b.git", default_branch="main", session_prefix="b")
    assert versions(project) == {}
    set_retries(3, None)
    set_retries(1, other)
    assert versions(project) == {Trigger.CI_FAILED: 1}
    assert versions(other) == {Trigger.CI_FAILED: 2}
    set_retries(5, project)
    set_retries(None, project)
    assert versions(project) == {Trigger.CI_FAILED: 4}  # gone again, and that is a change as well
    assert rules.current_versions(project) == {Trigger.CI_FAILED: 4}


def test_a_file_that_is_applied_makes_versions_and_applied_again_makes_none(project: Project) -> None:
    loaded = applying.load(
        text="reactions:\n  ci-failed: {retries: 4}\n  agent-idle: {auto: false}\n", path="f", env={}
    )
    for _ in range(2):
        applying.apply(loaded=loaded, actor=ADA)
    assert [(row.trigger, row.fields) for row in RuleVersion.objects.all()] == [
        ("agent-idle", {"auto": False}),
        ("ci-failed", {"retries": 4}),
    ]
    assert rules.effective_rules(project)[Trigger.CI_FAILED].retries == 4


def test_a_task_lays_its_own_rules_over_its_projects_field_by_field(project: Project) -> None:
    set_retries(5, project)
    RuleRow.objects.filter(project=project).update(escalate_after="1h")
    mine = own_rules.read({"ci-failed": {"retries": 1}, "approved-and-green": {"auto": True, "action": "auto-merge"}})
    task, _ = tasks.submit(project=project, title="t", actor=ADA, reactions=mine)
    plain, _ = tasks.submit(project=project, title="u", actor=ADA)

    held = rules.effective_rules(project, task)
    told = rules.explained(project, task)[Trigger.CI_FAILED]

    assert (held[Trigger.CI_FAILED].retries, held[Trigger.CI_FAILED].action) == (1, (Reply.SEND_TO_AGENT,))
    assert held[Trigger.APPROVED_AND_GREEN].action == (Reply.AUTO_MERGE,)
    assert [told[name].source for name in ("retries", "escalate_after", "action")] == [
        Source.TASK,
        Source.PROJECT,
        Source.DEFAULT,
    ]
    assert held[Trigger.CI_FAILED].version == 2
    assert rules.effective_rules(project, plain)[Trigger.CI_FAILED].retries == 5
    assert rules.effective_rules(project, plain)[Trigger.CI_FAILED].version == 1


def test_a_tasks_rules_are_changed_and_taken_back_and_each_time_it_is_looked_at_again(project: Project) -> None:
    task, _ = tasks.submit(project=project, title="t", actor=ADA)
    tasks.set_rules(task=task, reactions=own_rules.read({"agent-stuck": {"threshold": "1d"}}), actor=ADA)
    task.refresh_from_db()
    assert task.own_rules == {"agent-stuck": {"threshold": "1d"}}
    assert task.wake_at == ADA.at
    tasks.set_rules(task=task, reactions=[], actor=ADA)
    task.refresh_from_db()
    assert task.own_rules == {}
    assert [(row.task, row.fields) for row in RuleVersion.objects.all()] == [(task, {}), (task, {"threshold": "1d"})]
    Task.objects.update(outcome="done", ended_at=ADA.at)
    with pytest.raises(NotNow, match="has ended"):
        tasks.set_rules(task=task, reactions=[], actor=ADA)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "not keys and values"),
        ({"ci-faild": {}}, "did you mean ci-failed"),
        ({"ci-failed": {"retrys": 1}}, "did you mean retries"),
        ({"ci-failed": {"retries": "many"}}, "ci-failed.retries: 'many' is not accepted"),
        ({"agent-stuck": {"threshold": "10 minutes"}}, "1h30m"),
        ({"ci-failed": {"action": "dance"}}, "send-to-agent"),
        ({"ci-failed": 3}, "not keys and values"),
    ],
)
def test_d8_what_no_rule_can_be_is_refused_with_its_name_and_the_way_out(value: object, words: str) -> None:
    with pytest.raises(InvalidTask, match="(?s)" + words) as refused:
        own_rules.read(value)
    assert refused.value.field == "reactions"


def test_all_that_a_rule_can_set_survives_being_kept_with_a_task() -> None:
    said = {
        "agent-stuck": {
            "auto": False,
            "action": ["notify", "restart-agent"],
            "priority": "info",
            "message": "Look.",
            "retries": 0,
            "escalateAfter": "1d",
            "threshold": "3m",
            "includeSummary": True,
        },
        "ci-failed": {"action": "send-to-agent", "escalateAfter": 3},
    }
    read = own_rules.read(said)
    assert {str(one.trigger): rules.written(one) for one in read} == said
    assert rules.overrides_in(said) == read


def test_versions_are_never_given_twice(project: Project) -> None:
    set_retries(3, project)
    with pytest.raises(IntegrityError), transaction.atomic():
        RuleVersion.objects.create(number=1, trigger="ci-failed", at=ADA.at, actor_name="b")
