"""What people see of a red build and of incidents, and who may say what of them."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from orchestrator.models import Event, Incident, Project, Role
from tests.web import scenes
from tests.web.client import a_project, member, speaking_as
from tests.web.red_scene import SAID, red_task

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return scenes.person("ada")


@pytest.fixture
def shop(ada: User) -> Project:
    return scenes.project(members={ada: Role.MEMBER})


def page(user: User, path: str) -> str:
    client = Client()
    client.force_login(user)
    return client.get(path).content.decode()


def test_the_page_says_of_each_failed_check_why_and_whose_it_is(ada: User, shop: Project) -> None:
    task = red_task(shop)
    shown = page(ada, f"/tasks/{task.pk}/")
    assert "tests/test_calc.py::test_add: assert -1 == 3" in shown
    assert shown.count("inherited: the base fails there too") == 1
    assert shown.count("many pull requests fail there") == 1
    assert shown.count("known to be flaky") == 1
    assert "def test_add():" in shown


def test_the_red_heads_stand_side_by_side_with_what_the_agent_said(ada: User, shop: Project) -> None:
    task = red_task(shop)
    shown = page(ada, f"/tasks/{task.pk}/")
    assert shown.count('class="attempt"') == 3
    assert all(said in shown for said in SAID)


def test_incidents_stand_on_the_board_on_the_project_and_on_the_task(ada: User, shop: Project) -> None:
    task = red_task(shop)
    base, many = Incident.objects.order_by("pk")
    assert f"Incident #{many.pk}" in page(ada, "/")
    assert "3 pull requests the same way and 1 more" in page(ada, "/")
    assert "types fails on 3 pull requests the same way" in page(ada, "/projects/shop/")
    shown = page(ada, f"/tasks/{task.pk}/")
    assert f'id="incident-{base.pk}"' in shown
    assert f'id="incident-{many.pk}"' in shown


@pytest.mark.parametrize(
    ("deed", "state", "kind"),
    [("resolve", "resolved", "incident.resolved"), ("release", "released", "incident.released")],
)
def test_a_member_answers_an_incident_and_it_is_in_the_history(
    ada: User, shop: Project, deed: str, state: str, kind: str
) -> None:
    incident = scenes.incident(shop)
    client = Client()
    client.force_login(ada)
    response = client.post(f"/incidents/{incident.pk}/{deed}/")
    assert (response.status_code, response.headers["Location"]) == (302, "/projects/shop/")
    incident.refresh_from_db()
    assert incident.state == state
    assert Event.objects.get(kind=kind).actor_name == "ada"
    assert client.post(f"/incidents/{incident.pk}/{deed}/").status_code == 302
    assert Event.objects.filter(kind=kind).count() == 1


def test_a_viewer_sees_an_incident_and_has_no_buttons(shop: Project) -> None:
    bob = scenes.person("bob")
    shop.memberships.create(user=bob, role=Role.VIEWER)
    incident = scenes.incident(shop)
    shown = page(bob, "/projects/shop/")
    assert f"Incident #{incident.pk}" in shown
    assert "Let agents try" not in shown
    client = Client()
    client.force_login(bob)
    assert client.post(f"/incidents/{incident.pk}/release/").status_code == 403


def test_the_api_lists_incidents_and_takes_what_people_say_of_them() -> None:
    project = a_project()
    api = speaking_as(member(project, Role.MEMBER))
    incident = scenes.incident(project)
    (listed,) = api.get("/incidents/", project=project.key).body["results"]
    assert (listed["check"], listed["state"], listed["on_base"], listed["sentence"]) == (
        "lint",
        "open",
        True,
        "lint fails on main",
    )
    answer = api.post(f"/incidents/{incident.pk}/release/")
    assert (answer.status, answer.body["state"]) == (202, "released")
    answer = api.post(f"/incidents/{incident.pk}/resolve/")
    assert (answer.status, answer.body["state"]) == (202, "resolved")
    assert api.get("/incidents/").body["results"] == []
    assert len(api.get("/incidents/", state="all").body["results"]) == 1


def test_the_api_says_whose_each_failure_is() -> None:
    project = a_project()
    task = red_task(project)
    api = speaking_as(member(project, Role.VIEWER))
    checks = api.get(f"/tasks/{task.pk}/").body["pull_request"]["checks"]
    assert {one["name"]: one["blame"] for one in checks} == {
        "unit": "own",
        "lint": "inherited",
        "types": "shared",
        "browser": "flaky",
        "docs": None,
    }
    assert {one["name"]: one["headline"] for one in checks}["unit"] == "tests/test_calc.py::test_add: assert -1 == 3"
