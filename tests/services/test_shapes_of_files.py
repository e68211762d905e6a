"""Files as teams have them: planned, applied, applied again, and exported to the byte."""

from __future__ import annotations

from datetime import timedelta

import pytest
import yaml

from orchestrator.domain.rules import Priority, Reply, Trigger
from orchestrator.models import GlobalSettings, NotificationChannel, Project, RuleRow
from orchestrator.services import rules
from orchestrator.services.configuration import applying
from orchestrator.services.configuration.applying import Change, ChangeKind, Loaded
from orchestrator.services.events import Actor
from tests import shapes

pytestmark = pytest.mark.django_db


def loaded(name: str) -> Loaded:
    return applying.load(text=shapes.text_of(name), path="agent-orchestrator.yaml", env=shapes.ENV)


def applied(name: str) -> list[Change]:
    return applying.apply(loaded=loaded(name), actor=Actor(name="ada"))


@pytest.mark.parametrize("name", shapes.NAMES)
def test_a_plan_names_what_would_be_made_and_makes_nothing(name: str) -> None:
    planned = applying.plan(loaded=loaded(name))

    made = {change.what for change in planned if change.kind is ChangeKind.CREATE}
    assert {f"project {key}" for key in yaml.safe_load(shapes.text_of(name))["projects"]} <= made
    assert not Project.objects.exists()
    assert not RuleRow.objects.exists()
    assert not GlobalSettings.objects.exists()


@pytest.mark.parametrize("name", shapes.NAMES)
def test_applying_again_changes_nothing_and_the_export_is_the_file_with_its_comments(name: str) -> None:
    applied(name)

    assert {change.kind for change in applied(name)} == {ChangeKind.UNCHANGED}
    assert applying.export(env=shapes.ENV) == shapes.text_of(name)


@pytest.mark.parametrize("name", shapes.NAMES)
def test_no_secret_leaves_the_environment(name: str) -> None:
    applied(name)

    stored = repr([*NotificationChannel.objects.values(), *Project.objects.values(), *GlobalSettings.objects.values()])
    assert [value for value in shapes.ENV.values() if value in stored] == []


def test_what_has_changed_since_is_exported_and_the_comments_do_not_hide_it() -> None:
    applied("auto-merge")
    RuleRow.objects.filter(project=None, trigger=Trigger.CI_FAILED).update(retries=7)

    text = applying.export(env=shapes.ENV)

    assert yaml.safe_load(text)["reactions"]["ci-failed"]["retries"] == 7
    applying.apply(
        loaded=applying.load(text=text, path="x.yaml", env=shapes.ENV), actor=Actor(name="ada")
    )  # and taken again, it is the file
    assert applying.export(env=shapes.ENV) == text
    assert RuleRow.objects.get(project=None, trigger=Trigger.CI_FAILED).retries == 7


def test_a_file_whose_comments_alone_have_changed_changes_nothing_and_is_exported_as_it_is_now() -> None:
    applied("auto-merge")
    text = "# Written by the documentation's team.\n" + shapes.text_of("auto-merge")

    done = applying.apply(loaded=applying.load(text=text, path="x.yaml", env=shapes.ENV), actor=Actor(name="ada"))

    assert {change.kind for change in done} == {ChangeKind.UNCHANGED}
    assert applying.export(env=shapes.ENV) == text


def test_the_single_project_has_its_repository_its_checkout_and_its_links() -> None:
    applied("single-project")

    row = Project.objects.get()
    assert (row.key, row.remote, row.session_prefix) == ("storefront", "https://github.com/acme/storefront.git", "shop")
    assert row.checkout.endswith("/code/storefront")
    assert row.symlinks[".env"] == f"{row.checkout}/.env"
    assert row.post_create[1] == "pnpm run codegen -- --out ${HOME}/cache"
    assert any("defaults.runtime: accepted, without effect here" in one for one in loaded("single-project").warnings)


def test_several_projects_inherit_field_by_field() -> None:
    applied("multi-project")

    api, infra, web = Project.objects.order_by("key")
    ci = rules.effective_rules(api)[Trigger.CI_FAILED]
    assert (ci.retries, ci.escalate_after, ci.action) == (3, timedelta(minutes=90), (Reply.SEND_TO_AGENT,))
    assert rules.effective_rules(web)[Trigger.CI_FAILED].retries == 2
    stuck = rules.effective_rules(infra)[Trigger.AGENT_STUCK]
    assert (stuck.threshold, stuck.action) == (timedelta(minutes=20), (Reply.NOTIFY, Reply.RESTART_AGENT))
    assert (stuck.auto, stuck.priority) == (True, Priority.URGENT)
    assert (api.agent, web.agent, infra.agent) == ("codex", "aider", "codex")
    assert (web.agent_rules_file, api.agent_rules_file) == (".agent-rules.md", "")
    assert web.env == {"NODE_ENV": "test", "NPM_TOKEN": "${NPM_TOKEN}", "WORKERS": "4"}
    assert infra.own_checks == {"plan": "make plan"}


def test_a_project_may_merge_by_itself_while_the_others_ask() -> None:
    applied("auto-merge")

    mine = rules.effective_rules(Project.objects.get())[Trigger.APPROVED_AND_GREEN]
    assert (mine.auto, mine.action) == (True, (Reply.AUTO_MERGE,))
    assert rules.explained(None)[Trigger.APPROVED_AND_GREEN]["auto"].value is False
