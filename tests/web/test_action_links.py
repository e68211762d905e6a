"""Links in messages: they open without doing anything, act once and in whose name they say, and are void when altered, late or spent."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import unquote

import pytest
from django.contrib.auth.models import User
from django.core import signing
from django.test import Client
from django.utils import timezone

from orchestrator.models import Event, Interruption, Project, Role, SpentLink, Task
from orchestrator.services import action_links
from orchestrator.services.action_links import ActionLink, LinkAction
from tests.lab import together
from tests.web import scenes

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return scenes.person("ada")


@pytest.fixture
def shop(ada: User) -> Project:
    return scenes.project(members={ada: Role.MEMBER})


@pytest.fixture
def asked(shop: Project) -> Interruption:
    return scenes.escalation(scenes.task(shop))


def address(asked: Interruption, action: str = "acknowledge", **fields: object) -> str:
    link = ActionLink(
        **{
            "interruption": asked.pk,
            "action": LinkAction(action),
            "expires_at": timezone.now() + timedelta(hours=24),
            "nonce": "1",
            **fields,
        }  # type: ignore[arg-type]  # a test names the fields
    )
    return f"/act/{action_links.token_of(link)}/"


def logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_opening_a_link_changes_nothing_however_often_it_is_opened(asked: Interruption, ada: User) -> None:
    where = address(asked, person=ada.pk)
    for method in ("get", "head", "get"):
        assert getattr(Client(), method)(where).status_code == 200
    asked.refresh_from_db()
    assert (asked.acknowledged_at, SpentLink.objects.count(), Event.objects.count()) == (None, 0, 0)


def test_pressing_it_acts_as_the_person_it_was_sent_to_and_is_history(asked: Interruption, ada: User) -> None:
    where = address(asked, person=ada.pk)
    page = Client().get(where).content.decode()
    assert "in the name of <strong>ada</strong>" in page
    answer = Client().post(where, REMOTE_ADDR="192.0.2.7")
    asked.refresh_from_db()
    assert (answer.status_code, asked.acknowledged_by) == (200, ada)
    line = Event.objects.get(kind="link.pressed")
    assert (line.actor_name, line.address, line.data["addressed_to"]) == ("ada", "192.0.2.7", ada.pk)


def test_a_link_acts_once(asked: Interruption, ada: User) -> None:
    where = address(asked, "snooze", person=ada.pk)
    assert Client().post(where).status_code == 200
    again = Client().post(where)
    assert (again.status_code, b"was used by ada" in again.content) == (403, True)
    assert Event.objects.filter(kind="link.pressed").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_link_that_two_press_at_once_acts_once(asked: Interruption, ada: User) -> None:
    where = address(asked, "retry", person=ada.pk)
    codes: list[int] = []
    together(*[lambda: codes.append(Client().post(where).status_code) for _ in range(4)])
    assert sorted(codes) == [200, 403, 403, 403]
    assert Task.objects.get().attempt == 1


def test_a_link_that_many_read_needs_a_login_and_acts_as_whoever_logs_in(asked: Interruption, ada: User) -> None:
    where = address(asked)
    for method in ("get", "post"):
        answer = getattr(Client(), method)(where)
        assert (answer.status_code, unquote(answer.url)) == (302, f"/accounts/login/?next={where}")
    assert logged_in(ada).post(where).status_code == 302
    asked.refresh_from_db()
    assert asked.acknowledged_by == ada


def test_whoever_is_logged_in_acts_in_the_own_name_also_with_a_link_that_was_passed_on(
    asked: Interruption, ada: User, shop: Project
) -> None:
    grace = scenes.person("grace")
    shop.memberships.create(user=grace, role=Role.MEMBER)
    logged_in(grace).post(address(asked, person=ada.pk))
    asked.refresh_from_db()
    assert asked.acknowledged_by == grace


def test_a_link_is_worth_what_its_person_may_do_now(asked: Interruption, ada: User, shop: Project) -> None:
    where = address(asked, person=ada.pk)
    shop.memberships.update(role=Role.VIEWER)
    viewing = Client().post(where)
    assert (viewing.status_code, b"viewer of shop" in viewing.content) == (403, True)
    shop.memberships.all().delete()
    gone = Client().get(where)
    assert (gone.status_code, b"three times" in gone.content) == (404, False)
    ada.is_active = False
    ada.save()
    assert Client().post(where).status_code == 302
    asked.refresh_from_db()
    assert asked.acknowledged_at is None


def test_another_projects_link_leads_to_nothing(asked: Interruption) -> None:
    stranger = scenes.person("stranger")
    scenes.project("own", members={stranger: Role.MAINTAINER})
    answer = logged_in(stranger).get(address(asked))
    assert (answer.status_code, b"shop" in answer.content) == (404, False)


def test_an_altered_cut_or_foreign_link_is_refused_in_a_sentence(asked: Interruption, ada: User) -> None:
    where = address(asked, person=ada.pk)
    other_purpose = signing.dumps([asked.pk, "acknowledge", 9999999999, ada.pk, "", "1"], salt="another")
    nonsense = signing.dumps([1, 2], salt="ao.action-link")
    for wrong in (where[:-4] + "/", where.replace("/act/", "/act/x"), f"/act/{other_purpose}/", f"/act/{nonsense}/"):
        answer = Client().post(wrong)
        assert (answer.status_code, b"not one of ours" in answer.content) == (403, True)
    asked.refresh_from_db()
    assert asked.acknowledged_at is None


def test_a_link_runs_out(asked: Interruption, ada: User) -> None:
    answer = Client().post(address(asked, person=ada.pk, expires_at=timezone.now() - timedelta(seconds=1)))
    assert (answer.status_code, b"ran out at" in answer.content) == (403, True)


def test_a_merge_by_a_link_is_of_the_head_in_it_or_of_nothing(ada: User) -> None:
    shop = scenes.project("mall", members={ada: Role.MEMBER})
    task = scenes.full(shop, ada)
    asked = scenes.escalation(task)
    answer = Client().post(address(asked, "merge", person=ada.pk, head_sha=scenes.BASE))
    assert (answer.status_code, b"The head moved" in answer.content) == (409, True)
    task.refresh_from_db()
    assert (task.merge_requested, SpentLink.objects.count()) == ("", 0)


def test_what_cannot_be_done_does_not_spend_the_link(asked: Interruption, ada: User) -> None:
    Interruption.objects.filter(pk=asked.pk).update(acknowledged_at=timezone.now())
    answer = Client().post(address(asked, person=ada.pk))
    assert (answer.status_code, SpentLink.objects.count()) == (409, 0)


def test_a_form_of_another_site_presses_nothing(asked: Interruption, ada: User) -> None:
    careful = Client(enforce_csrf_checks=True)
    assert careful.post(address(asked, person=ada.pk)).status_code == 403
    asked.refresh_from_db()
    assert asked.acknowledged_at is None
