"""Warnings about rules are told where the file says them, and for what the database holds."""

from __future__ import annotations

import pytest

from orchestrator.domain.rules import Override, Trigger
from orchestrator.models import NotificationChannel, Project
from orchestrator.services import rule_conflicts, rules
from orchestrator.services.configuration import applying
from orchestrator.services.events import Actor
from tests import shapes

pytestmark = pytest.mark.django_db


def warned(text: str) -> list[str]:
    return applying.warnings(loaded=applying.load(text=text, path="x.yaml", env=shapes.ENV))


def test_a_warning_names_file_line_and_key() -> None:
    text = "reactions:\n  ci-failed:\n    auto: true\n    retries: 0\n"

    (told,) = warned(text)
    assert told.startswith("x.yaml:4: reactions.ci-failed.retries: retries: 0 means that nothing is ever sent")


def test_a_rule_for_all_is_warned_of_once_and_that_of_a_project_with_its_own_forge() -> None:
    text = (
        "projects:\n  a: {repo: o/a}\n  b: {repo: o/b, scm: {requiredChecks: [ci]}}\n"
        "reactions:\n  ci-failed: {threshold: 5m}\n  approved-and-green: {auto: true, action: auto-merge}\n"
    )

    told = warned(text)
    assert [one for one in told if "threshold" in one] == [
        "x.yaml:5: reactions.ci-failed.threshold: threshold has no effect here: only agent-stuck waits for one"
    ]
    (merging,) = [one for one in told if "no check is required" in one]
    assert merging.startswith("x.yaml:6: reactions.approved-and-green.action (in a): ")


def test_what_the_database_holds_already_counts() -> None:
    rules.set_override(Override(trigger=Trigger.CI_FAILED, escalate_after=9), project=None, actor=Actor(name="ada"))

    assert any(
        "escalateAfter: 9 is never reached: retries: 4" in one for one in warned("reactions: {ci-failed: {retries: 4}}")
    )
    assert [one.trigger for one in rule_conflicts.conflicts_in(None)] == [Trigger.CI_FAILED]


def test_a_project_that_is_there_is_judged_with_its_channels_and_its_forge() -> None:
    project = Project.objects.create(
        key="a", name="a", remote="/srv/a", default_branch="main", session_prefix="a", scm={"plugin": "local"}
    )
    NotificationChannel.objects.create(name="slack", plugin="slack", priorities=["info"])
    rules.set_override(Override(trigger=Trigger.BUGBOT_COMMENTS, retries=3), project=project, actor=Actor(name="ada"))

    told = {(one.trigger, one.why.partition(":")[0]) for one in rule_conflicts.conflicts_in(project)}
    assert (Trigger.BUGBOT_COMMENTS, "this never fires") in told
    assert (Trigger.AGENT_STUCK, "nobody is notified") in told


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("single-project", []),
        ("auto-merge", []),
        (
            "multi-project",
            [
                "x.yaml:56: reactions.bugbot-comments (in infra): this never fires: the built-in forge has no bots that comment"
            ],
        ),
    ],
)
def test_of_files_as_teams_have_them_only_what_has_no_effect_is_told(name: str, expected: list[str]) -> None:
    loaded = applying.load(text=shapes.text_of(name), path="x.yaml", env=shapes.ENV)

    assert [one for one in applying.warnings(loaded=loaded) if one not in loaded.warnings] == expected
