"""What waits for people, in a browser: acknowledged in place, and the header tells without a reload; all of it at every width."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import BrowserContext, expect

from orchestrator.models import InboxItem, Interruption, Project
from tests.e2e.test_pages_live import ada, context, shop, web  # noqa: F401 fixtures
from tests.web import scenes
from tests.web.serving import Web

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]


def tell(person: User, asked: Interruption) -> None:
    InboxItem.objects.create(
        person=person,
        interruption=asked,
        cause=f"asked:{asked.pk}",
        priority="urgent",
        title=f"{asked.task}: {asked.question}",
        body="unit: failure",
        at=timezone.now(),
    )


def test_it_is_acknowledged_where_it_stands_and_resolved_with_words(
    context: BrowserContext,  # noqa: F811 pytest's way
    web: Web,  # noqa: F811 pytest's way
    shop: Project,  # noqa: F811 pytest's way
) -> None:
    asked = scenes.escalation(scenes.task(shop))
    page = context.new_page()
    page.goto(f"{web.url}/escalations/")
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_text("Nobody is waiting for you")).to_be_visible()
    page.get_by_role("link", name="Someone is on it").click()
    page.locator(f"#asked-{asked.pk} summary").click()
    page.get_by_placeholder("How was it resolved?").fill("the test was flaky")
    page.get_by_role("button", name="Resolve").click()
    page.get_by_role("link", name="Resolved", exact=True).click()
    expect(page.get_by_text("ada: the test was flaky")).to_be_visible()


def test_the_header_tells_of_what_came_while_the_page_stood_open(
    context: BrowserContext,  # noqa: F811 pytest's way
    web: Web,  # noqa: F811 pytest's way
    shop: Project,  # noqa: F811 pytest's way
    ada: User,  # noqa: F811 pytest's way
) -> None:
    page = context.new_page()
    page.goto(f"{web.url}/projects/")
    badge = page.locator('[data-waiting="unread"]')
    expect(badge).to_be_hidden()
    tell(ada, scenes.escalation(scenes.task(shop)))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(badge).to_have_text("1")
    page.get_by_label("Inbox").click()
    page.get_by_role("button", name="Mark all as read").click()
    expect(page.get_by_text("All read")).to_be_visible()


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("where", ["/escalations/", "/escalations/?state=resolved", "/inbox/", "/inbox/?show=all"])
def test_nothing_stands_out_of_the_page_at_any_width(
    context: BrowserContext,  # noqa: F811 pytest's way
    web: Web,  # noqa: F811 pytest's way
    shop: Project,  # noqa: F811 pytest's way
    ada: User,  # noqa: F811 pytest's way
    where: str,
    width: int,
) -> None:
    asked = scenes.escalation(scenes.task(shop), "a" * 400)
    tell(ada, asked)
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(web.url + where)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
