"""The page of what waits for people, the inbox, and the same through the API and the command line."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from orchestrator.models import InboxItem, Interruption, NotificationChannel, Project, QuietTime, Role
from orchestrator.services import board
from tests.web import scenes
from tests.web.client import Api, speaking_as

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return scenes.person("ada")


@pytest.fixture
def shop(ada: User) -> Project:
    return scenes.project(members={ada: Role.MEMBER})


@pytest.fixture
def asked(shop: Project, ada: User) -> Interruption:
    return scenes.escalation(scenes.task(shop, requested_by=ada))


@pytest.fixture
def client(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


def page(client: Client, where: str) -> str:
    return client.get(where).content.decode()


def test_the_gravest_and_oldest_stand_first_with_who_what_and_when(client: Client, shop: Project, ada: User) -> None:
    task = scenes.task(shop, requested_by=ada)
    young = scenes.escalation(task, "Young", "young")
    old = scenes.escalation(task, "Old", "old")
    calm = scenes.escalation(task, "Calm", "calm")
    now = timezone.now()
    Interruption.objects.filter(pk=young.pk).update(asked_at=now, wake_at=now + timedelta(minutes=15))
    Interruption.objects.filter(pk=old.pk).update(asked_at=now - timedelta(hours=1), step=2)
    Interruption.objects.filter(pk=calm.pk).update(asked_at=now - timedelta(days=1), priority="warning")
    shown = page(client, "/escalations/")
    assert shown.index("Old") < shown.index("Young") < shown.index("Calm")
    assert "Called: ada." in shown
    assert "the maintainers are called too" in shown
    assert "Acknowledge it if you are on it" in shown


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("open", "Nobody is waiting for you"),
        ("acknowledged", "Nothing is being looked at"),
        ("snoozed", "Nothing is put off"),
        ("resolved", "Nothing had to be resolved yet"),
    ],
)
def test_where_nothing_is_it_says_what_is_good(client: Client, state: str, words: str) -> None:
    assert words in page(client, f"/escalations/?state={state}")


def test_it_is_acknowledged_in_place_and_stays_listed_until_it_is_resolved(
    client: Client, asked: Interruption, ada: User
) -> None:
    there = {"next": "/escalations/?state=open"}
    answer = client.post(f"/escalations/{asked.pk}/acknowledge/", there)
    assert (answer.status_code, answer.url) == (302, there["next"])
    assert "three times" not in page(client, "/escalations/")
    assert "<strong>ada</strong> is on it" in page(client, "/escalations/?state=acknowledged")
    assert "<strong>ada</strong> is on it" in page(client, f"/tasks/{asked.task_id}/")
    client.post(f"/escalations/{asked.pk}/resolve/", {"resolution": "skipped the test"})
    assert "ada: skipped the test" in page(client, "/escalations/?state=resolved")
    assert "is on it" not in page(client, f"/tasks/{asked.task_id}/")


def test_a_snooze_takes_it_from_the_page_until_its_time(client: Client, asked: Interruption) -> None:
    client.post(f"/escalations/{asked.pk}/snooze/", {"for": "4h"})
    asked.refresh_from_db()
    assert asked.snoozed_until is not None
    assert "three times" not in page(client, "/escalations/")
    assert "Snoozed: it comes back on" in page(client, "/escalations/?state=snoozed")


def test_what_makes_no_sense_is_said_on_the_page(client: Client, asked: Interruption) -> None:
    for deed, form, words in (
        ("snooze", {"for": "soon"}, "is not a duration"),
        ("snooze", {"for": "9w"}, "snoozing is not forgetting"),
        ("resolve", {"resolution": " "}, "how it was resolved"),
    ):
        answer = client.post(f"/escalations/{asked.pk}/{deed}/", form)
        assert (answer.status_code, words in answer.content.decode()) == (422, True)


@pytest.mark.parametrize("where", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "\\evil"])
def test_a_button_leads_back_to_a_page_of_ours_alone(client: Client, asked: Interruption, where: str) -> None:
    assert client.post(f"/escalations/{asked.pk}/acknowledge/", {"next": where}).url == "/escalations/"


def test_the_header_counts_what_waits_for_whoever_looks(client: Client, asked: Interruption, ada: User) -> None:
    tell(ada, asked)
    other = scenes.project("other")
    hidden = scenes.escalation(scenes.task(other))
    tell(scenes.person("grace"), hidden)
    assert client.get("/waiting/").json() == {"unread": 1, "escalations": 1}
    assert '<b data-waiting="unread" >1</b>' in page(client, "/projects/")


def tell(
    person: User, asked: Interruption | None, cause: str = "asked:1", title: str = "shop#1: What now?"
) -> InboxItem:
    return InboxItem.objects.create(
        person=person, interruption=asked, cause=cause, priority="urgent", title=title, body="why", at=timezone.now()
    )


def test_the_inbox_shows_what_is_unread_and_is_read_line_by_line_or_at_once(
    client: Client, ada: User, asked: Interruption
) -> None:
    first, _, _ = (tell(ada, asked, f"asked:{n}", f"Thing {n}") for n in range(3))
    tell(scenes.person("grace"), asked, title="Of grace")
    shown = page(client, "/inbox/")
    assert "Thing 0" in shown
    assert "Of grace" not in shown
    client.post("/inbox/read/", {"item": first.pk})
    assert "Thing 0" not in page(client, "/inbox/")
    assert "Thing 0" in page(client, "/inbox/?show=all")
    client.post("/inbox/read/")
    assert "All read" in page(client, "/inbox/")
    assert InboxItem.objects.filter(read_at=None).count() == 1


def test_an_inbox_forgets_what_its_person_may_not_see_any_more(client: Client, ada: User, asked: Interruption) -> None:
    tell(ada, asked)
    asked.task.project.memberships.all().delete()
    assert "What now?" not in page(client, "/inbox/?show=all")


def test_quiet_hours_are_set_and_taken_back_and_refused_by_name(client: Client, ada: User) -> None:
    form = {"start": "22:00", "end": "06:30", "zone": "Europe/Berlin"}
    assert client.post("/inbox/quiet/", form).status_code == 302
    assert str(QuietTime.objects.get(person=ada)) == "22:00 to 06:30 Europe/Berlin"
    assert 'value="22:00"' in page(client, "/inbox/")
    for wrong in ({"zone": "Mars/Base"}, {"end": "22:00"}, {"start": "later"}):
        answer = client.post("/inbox/quiet/", {**form, **wrong})
        assert (answer.status_code, b"Not done." in answer.content) == (422, True)
    client.post("/inbox/quiet/", {"start": "", "end": ""})
    assert not QuietTime.objects.exists()


def test_the_board_names_a_dead_channel() -> None:
    now = timezone.now()
    NotificationChannel.objects.create(
        name="pager", plugin="webhook", failing_since=now, dead_since=now, trouble="https://pager.example answered 401"
    )
    (trouble,) = board.health(now=now).troubles
    assert trouble.startswith("the channel pager takes no messages since")
    assert trouble.endswith("answered 401")


def test_a_project_says_who_is_called_when(client: Client, shop: Project) -> None:
    shop.escalation = {"quietHours": {"from": "22:00", "until": "07:00"}}
    shop.save()
    words = "author at once; maintainers after 15m; admins after 1h; reminded every 30m; quiet from 22:00 to 07:00 UTC"
    assert words in page(client, "/projects/shop/")


# --- The same for programs ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def api(ada: User) -> Api:
    return speaking_as(ada)


def test_the_api_snoozes_for_a_span_or_until_a_time_and_resolves_with_words(api: Api, asked: Interruption) -> None:
    where = f"/escalations/{asked.pk}"
    until = timezone.now() + timedelta(hours=3)
    snoozed = api.post(f"{where}/snooze/", until=until.isoformat())
    assert (snoozed.status, snoozed.body["state"]) == (202, "snoozed")
    assert api.get("/escalations/").body["results"] == []
    assert len(api.get("/escalations/", state="unresolved").body["results"]) == 1
    again = api.post(f"{where}/snooze/", **{"for": "2h"}).body
    assert again["next_at"] == again["snoozed_until"] != snoozed.body["snoozed_until"]
    done = api.post(f"{where}/resolve/", resolution="the test was flaky")
    assert (done.body["state"], done.body["resolution"]) == ("resolved", "ada: the test was flaky")
    assert api.post(f"{where}/resolve/", resolution="again").status == 409


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "until"), ({"for": "1h", "until": "2026-01-01T00:00:00Z"}, "until"), ({"for": "soon"}, "for")],
)
def test_the_api_names_what_it_cannot_take(api: Api, asked: Interruption, body: dict[str, str], field: str) -> None:
    answer = api.post(f"/escalations/{asked.pk}/snooze/", **body)
    assert answer.status in {400, 422}
    assert field in str(answer.body)


def test_the_api_reads_an_inbox_and_the_channels_without_their_addresses(
    api: Api, ada: User, asked: Interruption
) -> None:
    tell(ada, asked)
    assert [one["title"] for one in api.get("/inbox/", unread="true").body["results"]] == ["shop#1: What now?"]
    assert api.post("/inbox/read/").body == {"read": 1}
    assert api.get("/inbox/", unread="true").body["results"] == []
    assert api.get("/channels/").status == 403
    NotificationChannel.objects.create(name="pager", plugin="webhook", config={"url": "https://x.example/secret"})
    chief = speaking_as(scenes.person("chief", superuser=True))
    listed = chief.get("/channels/")
    assert ([one["name"] for one in listed.body["results"]], "secret" in str(listed.body)) == (["pager"], False)
