"""T17: coming in is slow to guess, starts a new session, and leads to pages of this site only."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from aoweb.dashboard.throttle import PER_ADDRESS, PER_NAME_AND_ADDRESS
from orchestrator.services import accounts
from tests.web import scenes

pytestmark = pytest.mark.django_db
LOGIN = "/accounts/login/"


@pytest.fixture
def ada() -> User:
    return scenes.person("ada")


def test_the_right_password_leads_to_the_board(ada: User) -> None:
    response = Client().post(LOGIN, {"username": "ada", "password": "a long enough secret"})
    assert (response.status_code, response.url) == (302, "/")


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example/", "\\\\evil.example", "javascript:alert(1)", "http:evil.example"],
)
def test_a_login_leads_nowhere_else(ada: User, target: str) -> None:
    form = {"username": "ada", "password": "a long enough secret", "next": target}
    assert Client().post(f"{LOGIN}", form).url == "/"


def test_a_login_leads_back_to_the_page_that_asked_for_it(ada: User) -> None:
    form = {"username": "ada", "password": "a long enough secret", "next": "/tasks/new/"}
    assert Client().post(LOGIN, form).url == "/tasks/new/"


def test_guessing_is_stopped_even_with_the_right_password_at_the_end(ada: User) -> None:
    client = Client()
    for n in range(PER_NAME_AND_ADDRESS):
        assert client.post(LOGIN, {"username": "ada", "password": f"guess {n}"}).status_code == 200
    response = client.post(LOGIN, {"username": "ADA", "password": "a long enough secret"})
    assert response.status_code == 429
    assert b"Too many failed logins" in response.content
    assert "_auth_user_id" not in client.session


def test_guessing_one_name_stops_neither_another_name_nor_another_address(ada: User) -> None:
    scenes.person("bob")
    client = Client()
    for n in range(PER_NAME_AND_ADDRESS):
        client.post(LOGIN, {"username": "ada", "password": f"guess {n}"})
    assert Client().post(LOGIN, {"username": "bob", "password": "a long enough secret"}).status_code == 302
    elsewhere = Client(REMOTE_ADDR="192.0.2.7")
    assert elsewhere.post(LOGIN, {"username": "ada", "password": "a long enough secret"}).status_code == 302


def test_guessing_many_names_from_one_address_is_stopped_too() -> None:
    client = Client()
    for n in range(PER_ADDRESS):
        client.post(LOGIN, {"username": f"name{n}", "password": "guess"})
    assert client.post(LOGIN, {"username": "fresh", "password": "guess"}).status_code == 429


def test_a_session_that_was_planted_before_the_login_is_worth_nothing_after_it(ada: User) -> None:
    client = Client()
    session = client.session
    session["planted"] = "yes"
    session.save()
    planted = session.session_key
    client.cookies[settings.SESSION_COOKIE_NAME] = planted
    client.post(LOGIN, {"username": "ada", "password": "a long enough secret"})
    assert client.session.session_key != planted
    thief = Client()
    thief.cookies[settings.SESSION_COOKIE_NAME] = planted
    assert thief.get("/").status_code == 302


def test_logging_out_ends_the_session_and_takes_a_post(ada: User) -> None:
    client = Client()
    client.force_login(ada)
    assert client.get("/accounts/logout/").status_code == 405
    stolen = client.session.session_key
    client.post("/accounts/logout/")
    thief = Client()
    thief.cookies[settings.SESSION_COOKIE_NAME] = stolen
    assert thief.get("/").status_code == 302


def test_looking_at_a_login_link_does_not_spend_it(ada: User) -> None:
    raw = accounts.issue_login_link(user=ada, now=timezone.now(), valid_for=timedelta(minutes=5))
    client = Client()
    for _preview in range(3):
        assert client.get(f"/login/{raw}/").status_code == 200
        assert client.head(f"/login/{raw}/").status_code == 200
    assert client.post(f"/login/{raw}/").url == "/"
    assert client.get("/").status_code == 200
    again = Client().post(f"/login/{raw}/")
    assert again.status_code == 403
    assert b"used already or has expired" in again.content


def test_guessing_login_links_is_stopped(ada: User) -> None:
    client = Client()
    for n in range(PER_NAME_AND_ADDRESS):
        assert client.post(f"/login/guess-{n}/").status_code == 403
    assert client.post("/login/guess-again/").status_code == 429


def test_a_form_without_its_token_is_refused(ada: User) -> None:
    task = scenes.task(scenes.project(members={ada: "maintainer"}))
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)
    for url in (f"/tasks/{task.pk}/send/", f"/tasks/{task.pk}/merge/", f"/tasks/{task.pk}/cancel/", "/tasks/new/"):
        response = client.post(url, {"text": "from elsewhere"}, headers={"Origin": "https://evil.example"})
        assert response.status_code == 403
    assert not task.messages.exists()


@pytest.mark.parametrize("deed", ["send", "answer", "merge", "cancel", "retry", "restart", "pause", "resume", "review"])
def test_d19_nobody_drives_a_task_without_a_login(ada: User, deed: str) -> None:
    task = scenes.task(scenes.project(members={ada: "maintainer"}))
    response = Client().post(f"/tasks/{task.pk}/{deed}/", {"text": "anonymous"})
    assert response.status_code == 302
    assert response.url.startswith(LOGIN)
    task.refresh_from_db()
    assert (task.cancel_requested_at, task.messages.count(), task.version) == (None, 0, 1)
