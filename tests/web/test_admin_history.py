"""What is changed in the administration is history, and tasks learn of it without a bell."""

from __future__ import annotations

import pytest
from django.forms import ModelForm
from django.forms.models import model_to_dict

from orchestrator.models import Event, Project, RuleRow, RuleVersion, Task
from tests.web import scenes
from tests.web.test_routes import logged_in

pytestmark = pytest.mark.django_db


def test_a_rule_that_is_added_and_deleted_by_hand_is_history_and_wakes_open_tasks() -> None:
    chief = scenes.person("chief", staff=True, superuser=True)
    shop = scenes.project()
    task = scenes.full(shop, chief)
    Task.objects.update(wake_at=None)
    form = {"trigger": "ci-failed", "retries": "7", "auto": "unknown", "include_summary": "unknown", "action": "null"}
    logged_in(chief).post("/admin/orchestrator/rulerow/add/", form)
    task.refresh_from_db()
    assert task.wake_at is not None
    (row,) = RuleRow.objects.all()
    logged_in(chief).post(f"/admin/orchestrator/rulerow/{row.pk}/delete/", {"post": "yes"})
    lines = list(Event.objects.filter(kind="settings.changed").values_list("actor_name", "text"))
    assert [name for name, _ in lines] == ["chief", "chief"]
    assert "ci-failed" in lines[0][1]
    assert "Deleted" in lines[1][1]
    versions = list(RuleVersion.objects.order_by("number").values_list("before", "fields", "actor_name"))
    assert versions == [({}, {"retries": 7}, "chief"), ({"retries": 7}, {}, "chief")]


def test_a_row_that_no_rule_can_be_is_put_right_by_hand_and_chosen_ones_are_deleted() -> None:
    chief = scenes.person("chief", staff=True, superuser=True)
    row = scenes.project().rules.create(trigger="ci-failed", escalate_after="nonsense")
    client = logged_in(chief)
    form = {"trigger": "ci-failed", "project": row.project_id, "escalate_after": "1h", "auto": "unknown"}
    client.post(
        f"/admin/orchestrator/rulerow/{row.pk}/change/", {**form, "include_summary": "unknown", "action": "null"}
    )
    row.refresh_from_db()
    assert row.escalate_after == "1h"
    chosen = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    client.post("/admin/orchestrator/rulerow/", chosen)
    assert not RuleRow.objects.exists()
    assert list(RuleVersion.objects.order_by("number").values_list("fields", flat=True)) == [
        {"escalateAfter": "1h"},
        {},
    ]


def test_a_project_that_goes_on_is_told_to_its_tasks_and_values_are_told_to_nobody() -> None:
    chief = scenes.person("chief", staff=True, superuser=True)
    shop = scenes.project()
    task = scenes.full(shop, chief)
    Project.objects.update(paused=True)
    Task.objects.update(wake_at=None)
    shop.refresh_from_db()
    page = logged_in(chief).get(f"/admin/orchestrator/project/{shop.pk}/change/")
    form = page.context["adminform"].form
    said = as_posted(form) | {"env": '{"TOKEN": "s3cret"}'}
    del said["paused"]
    done = logged_in(chief).post(f"/admin/orchestrator/project/{shop.pk}/change/", said)
    assert done.status_code == 302, done.context["adminform"].form.errors
    task.refresh_from_db()
    assert (model_to_dict(Project.objects.get())["paused"], task.wake_at is not None) == (False, True)
    line = Event.objects.get(kind="settings.changed").text
    assert "Paused" in line
    assert "Env" in line
    assert "s3cret" not in line


def test_a_file_with_rules_is_set_by_hand_only_where_agents_can_be_told_of_it() -> None:
    chief = scenes.person("chief", staff=True, superuser=True)
    page = f"/admin/orchestrator/project/{scenes.project().pk}/change/"
    client = logged_in(chief)
    said = as_posted(client.get(page).context["adminform"].form)

    refused = client.post(page, said | {"agent_rules_file": "~/rules.md"})
    (why,) = refused.context["adminform"].form.errors["agent_rules_file"]
    assert "'~/rules.md' is not a plain path from the root of the repository" in why
    assert Project.objects.get().agent_rules_file == ""
    assert client.post(page, said | {"agent_rules_file": "docs/RULES.md"}).status_code == 302
    assert Project.objects.get().agent_rules_file == "docs/RULES.md"


def as_posted(form: ModelForm[Project]) -> dict[str, object]:
    """What a browser sends for the form of a project as it stands."""
    shown = {name: form[name].value() for name in form.fields if form[name].value() is not None}
    return shown | {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}
