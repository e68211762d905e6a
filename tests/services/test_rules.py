"""What people set about reactions, laid over the defaults field by field."""

from datetime import timedelta

import pytest

from orchestrator.domain.rules import Override, Priority, Reply, Trigger
from orchestrator.models import Project, RuleRow
from orchestrator.services import rules
from orchestrator.services.events import Actor
from orchestrator.services.rules import Source

pytestmark = pytest.mark.django_db
SOMEBODY = Actor(name="ada")


@pytest.fixture
def project() -> Project:
    return Project.objects.create(
        key="my-app", name="my-app", remote="/srv/app.git", default_branch="main", session_prefix="app"
    )


def test_d7_an_override_of_one_field_leaves_the_others_as_they_were(project: Project) -> None:
    RuleRow.objects.create(project=project, trigger=Trigger.CI_FAILED, retries=5)

    rule = rules.effective_rules(project)[Trigger.CI_FAILED]

    assert rule.retries == 5
    assert rule.action == (Reply.SEND_TO_AGENT,)
    assert (rule.auto, rule.escalate_after, rule.priority) == (True, 2, Priority.WARNING)


def test_a_project_overrides_the_global_file_and_each_field_says_where_it_came_from(project: Project) -> None:
    RuleRow.objects.create(trigger=Trigger.CI_FAILED, retries=5, escalate_after="1h30m")
    RuleRow.objects.create(project=project, trigger=Trigger.CI_FAILED, retries=1)

    told = rules.explained(project)[Trigger.CI_FAILED]

    assert (told["retries"].value, told["retries"].source) == (1, Source.PROJECT)
    assert (told["escalate_after"].value, told["escalate_after"].source) == (timedelta(minutes=90), Source.GLOBAL)
    assert told["action"].source == Source.DEFAULT
    assert rules.effective_rules(project)[Trigger.CI_FAILED].retries == 1
    assert rules.explained(None)[Trigger.CI_FAILED]["retries"].value == 5


def test_another_projects_rules_are_not_mine(project: Project) -> None:
    other = Project.objects.create(key="b", name="b", remote="/srv/b.git", default_branch="main", session_prefix="b")
    RuleRow.objects.create(project=other, trigger=Trigger.CI_FAILED, retries=9)

    assert rules.effective_rules(project)[Trigger.CI_FAILED].retries == 2


def test_all_fields_survive_the_row(project: Project) -> None:
    override = Override(
        trigger=Trigger.AGENT_STUCK,
        auto=False,
        action=(Reply.NOTIFY, Reply.RESTART_AGENT),
        priority=Priority.INFO,
        message="Look.",
        retries=0,
        escalate_after=timedelta(days=1),
        threshold=timedelta(minutes=3),
        include_summary=True,
    )

    assert rules.set_override(override, project=project, actor=SOMEBODY)
    assert not rules.set_override(override, project=project, actor=SOMEBODY)
    assert rules.overrides_for(project) == [override]


def test_an_override_of_nothing_removes_the_row(project: Project) -> None:
    rules.set_override(Override(trigger=Trigger.CI_FAILED, retries=3), project=project, actor=SOMEBODY)

    assert rules.set_override(Override(trigger=Trigger.CI_FAILED), project=project, actor=SOMEBODY)
    assert not RuleRow.objects.exists()


@pytest.mark.parametrize("text", ["10 minutes", "-5m", "5x", "", "1.5h", "9999999999999w", "²"])
def test_d8_a_wait_that_cannot_be_read_is_refused_loudly(text: str) -> None:
    with pytest.raises(ValueError, match="neither a number of attempts"):
        rules.parse_escalate_after(text)


def test_a_row_that_a_person_edits_is_checked_field_by_field() -> None:
    wrong = rules.check(
        RuleRow(trigger=Trigger.CI_FAILED, threshold="10 minutes", escalate_after="soon", action=["dance"])
    )

    assert set(wrong) == {"threshold", "escalate_after", "action"}
    assert "'10 minutes'" in wrong["threshold"]
