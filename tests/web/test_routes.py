"""T15: every address of the web for every role, generated from the URL map, so that a new route cannot be forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from aoweb.dashboard import escalations
from aoweb.dashboard.task import DEEDS
from orchestrator.models import LoginLink, Role
from tests.web import scenes

pytestmark = pytest.mark.django_db

PUBLIC = {"login", "login-link", "admin-login", "healthz", "readyz", "file-schema"}
EVERYBODYS = {"board", "board-more", "new-task", "projects", "logout", "escalations", "waiting", "usage"}
EVERYBODYS |= {"inbox", "inbox-read", "inbox-quiet"}
DRIVING = {*(f"task-{deed}" for deed in DEEDS), *(f"escalation-{deed}" for deed in escalations.DEEDS)}
OF_A_PROJECT = {
    "task",
    "task-diff",
    "task-transcript",
    "task-rules",
    "task-why",
    "project",
    "project-rules",
    *DRIVING,
}
OF_STAFF = {"flower", "flower-page"}
SIGNED = {
    "github-webhook",
    "action-link",
}  # ask for a signature instead of a login: see test_webhooks, test_action_links
# These have a matrix of their own, beside the API; the administration is Django's, and staff only as a whole.
ELSEWHERE = ("api/v1/", "admin/")


def routes(patterns: list[URLPattern | URLResolver], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every route and its name."""
    for one in patterns:
        route = prefix + str(one.pattern)
        if isinstance(one, URLResolver):
            if not route.startswith(ELSEWHERE):
                yield from routes(one.url_patterns, route)
        else:
            yield route, str(one.name)


NAMES = {name: route for route, name in routes(get_resolver().url_patterns)}


def test_every_route_is_in_the_matrix() -> None:
    assert set(NAMES) == PUBLIC | EVERYBODYS | OF_A_PROJECT | OF_STAFF | SIGNED


def address(name: str, ids: dict[str, object]) -> str:
    route = NAMES[name]
    for placeholder, value in ids.items():
        route = route.replace(placeholder, str(value))
    assert "<" not in route, route
    return f"/{route}"


def ids_of(task_id: int, turn_id: int, key: str) -> dict[str, object]:
    """The ids of what hangs from a task; it is asked something, if it was not yet."""
    asked = scenes.asked_of(task_id)
    return {
        "<int:task_id>": task_id,
        "<int:escalation_id>": asked.pk,
        "<int:turn_id>": turn_id,
        "<slug:key>": key,
        "<slug:column>": "done",
        "<path:path>": "workers",
        "<str:token>": "x",
    }


@pytest.fixture
def ids() -> dict[str, object]:
    """Things of the project `hidden`, where nobody of these tests is a member unless it is said."""
    hidden = scenes.project("hidden")
    task = scenes.full(hidden, scenes.person("owner"))
    turn = task.sessions.get().turns.first()
    assert turn is not None
    return ids_of(task.pk, turn.pk, "hidden")


def logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize("name", sorted(set(NAMES) - PUBLIC - SIGNED))
@pytest.mark.parametrize("method", ["get", "post"])
def test_without_a_login_every_route_leads_to_the_login(name: str, method: str, ids: dict[str, object]) -> None:
    response = getattr(Client(), method)(address(name, ids))
    allowed = {"logout": ["/accounts/login/"]}.get(name, [])
    assert response.status_code in {302, 405}
    assert response.status_code == 405 or response.url.startswith("/accounts/login/?next=") or response.url in allowed


@pytest.mark.parametrize("role", [*Role.values, "staff"])
@pytest.mark.parametrize("name", sorted(OF_A_PROJECT))
@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
def test_another_projects_objects_do_not_exist_for_any_role(
    role: str, name: str, method: str, ids: dict[str, object]
) -> None:
    user = scenes.person("ada", staff=role == "staff")
    scenes.project("mine", members={} if role == "staff" else {user: role})
    response = getattr(logged_in(user), method)(address(name, ids))
    assert response.status_code in {404, 405}
    assert b"hidden" not in response.content
    assert b"Round totals" not in response.content


@pytest.mark.parametrize("name", sorted(DRIVING))
def test_viewers_look_and_do_not_touch(name: str) -> None:
    user = scenes.person("ada")
    task = scenes.full(scenes.project(members={user: Role.VIEWER}), user)
    client = logged_in(user)
    assert client.get(f"/tasks/{task.pk}/").status_code == 200
    response = client.post(address(name, ids_of(task.pk, 1, "shop")), {"text": "x"})
    assert response.status_code == 403
    assert b"As a viewer of shop" in response.content
    assert client.post("/tasks/new/", {"project": "shop", "title": "x"}).status_code == 403


@pytest.mark.parametrize("name", sorted(DRIVING))
def test_what_changes_something_is_not_done_by_looking(name: str) -> None:
    user = scenes.person("ada")
    task = scenes.full(scenes.project(members={user: Role.MAINTAINER}), user)
    assert logged_in(user).get(address(name, ids_of(task.pk, 1, "shop"))).status_code == 405


def test_a_turn_of_another_project_is_not_read_through_a_task_of_mine(ids: dict[str, object]) -> None:
    user = scenes.person("ada")
    mine = scenes.task(scenes.project("mine", members={user: Role.MAINTAINER}))
    url = address("task-transcript", {**ids, "<int:task_id>": mine.pk})
    assert logged_in(user).get(url).status_code == 404


@pytest.mark.parametrize(
    "path", ["", "board/done/", "board/review/", "tasks/new/", "projects/", "escalations/", "inbox/", "usage/"]
)
def test_nothing_of_another_project_shows_on_common_pages(path: str, ids: dict[str, object]) -> None:
    user = scenes.person("ada")
    scenes.project("mine", members={user: Role.MEMBER})
    content = logged_in(user).get(f"/{path}?project=hidden&q=").content
    assert b"Round totals" not in content
    assert b"/repositories/hidden" not in content
    assert b'value="hidden"' not in content


@pytest.mark.parametrize("path", ["flower/", "flower/api/workers", "admin/", "admin/orchestrator/project/"])
def test_the_rooms_of_staff_are_closed_to_members(path: str) -> None:
    user = scenes.person("ada")
    scenes.project(members={user: Role.MAINTAINER})
    response = logged_in(user).get(f"/{path}", follow=True)
    assert response.status_code == 403


def test_staff_look_at_the_queue_monitor_and_only_superusers_act() -> None:
    staff, chief = scenes.person("staff", staff=True), scenes.person("chief", staff=True, superuser=True)
    assert logged_in(staff).get("/flower/").status_code == 404  # nothing runs in this test
    assert logged_in(staff).post("/flower/api/worker/shutdown/x").status_code == 403
    foreign = logged_in(chief).post("/flower/api/worker/shutdown/x", headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403


@pytest.mark.parametrize(
    "page",
    [
        *("project", "rulerow", "host", "notificationchannel", "quiettime", "apitoken", "task", "event", "job"),
        *("interruption", "notification"),
    ],
)
def test_every_page_of_the_administration_opens(page: str) -> None:
    chief = scenes.person("chief", staff=True, superuser=True)
    shop = scenes.project(members={chief: Role.MAINTAINER})
    task = scenes.full(shop, chief)
    scenes.escalation(task)
    client = logged_in(chief)
    assert client.get(f"/admin/orchestrator/{page}/").status_code == 200
    adding = dict.fromkeys(["project", "rulerow", "host", "notificationchannel", "quiettime"], 200).get(page, 403)
    assert client.get(f"/admin/orchestrator/{page}/add/").status_code == adding


def test_a_rule_that_no_rule_can_be_is_refused_beside_its_field() -> None:
    chief = scenes.person("chief", staff=True, superuser=True)
    form = {
        "trigger": "ci-failed",
        "escalate_after": "soon",
        "action": '["explode"]',
        "auto": "unknown",
        "include_summary": "unknown",
    }
    response = logged_in(chief).post("/admin/orchestrator/rulerow/add/", form)
    assert response.status_code == 200
    assert b"is neither a number of attempts" in response.content
    assert b"is not a list of actions" in response.content


def test_the_administration_shows_the_effective_rules_of_a_project() -> None:
    chief = scenes.person("chief", staff=True, superuser=True)
    shop = scenes.project()
    shop.rules.create(trigger="ci-failed", retries=7)
    page = logged_in(chief).get(f"/admin/orchestrator/project/{shop.pk}/change/").content.decode()
    assert "<strong>ci-failed</strong>" in page
    assert "<strong>project</strong>" in page


def test_a_superuser_makes_a_login_link_that_works_and_other_staff_does_not() -> None:
    chief, ada = scenes.person("chief", staff=True, superuser=True), scenes.person("ada")
    staff = scenes.person("staff", staff=True)
    staff.user_permissions.set(Permission.objects.filter(content_type__app_label="auth"))
    form = {"action": "login_link", "_selected_action": [ada.pk]}
    logged_in(staff).post("/admin/auth/user/", form)
    assert not LoginLink.objects.exists()
    page = logged_in(chief).post("/admin/auth/user/", form, follow=True).content.decode()
    path = re.search(r"/login/[\w-]{20,}/", page)
    assert path is not None
    guest = Client()
    assert guest.post(path.group()).status_code == 302
    assert guest.session["_auth_user_id"] == str(ada.pk)


def test_an_editor_reads_the_schema_of_the_file_without_a_login() -> None:
    response = Client().get("/schema/agent-orchestrator.json")

    assert (response.status_code, response["Content-Type"]) == (200, "application/schema+json")
    assert response.json()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert Client().post("/schema/agent-orchestrator.json").status_code == 405
