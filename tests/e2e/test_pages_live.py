"""The pages in a browser: they follow what happens, say when they do not, and obey nothing that agents write."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, Page, expect

from aoweb.dashboard import hub
from aoweb.dashboard.cards import GALLERY
from orchestrator import doorbell
from orchestrator.domain.status import TaskStatus
from orchestrator.models import Host, JournalChunk, Message, Project, Role, Task, Turn
from orchestrator.services import forges
from tests.web import claude_scene, scenes
from tests.web.serving import Web, served
from tests.web.test_markup import PAYLOADS, hostile, in_every_line

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]
PATIENCE = 45_000
expect.set_options(timeout=PATIENCE)


@pytest.fixture
def web() -> Iterator[Web]:
    GALLERY.clear()
    with served() as running:
        yield running
    connections.close_all()


@pytest.fixture
def ada(settings: Any) -> User:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return scenes.person("ada")


@pytest.fixture
def shop(ada: User) -> Project:
    scenes.host(seen_at=timezone.now())
    return scenes.project(members={ada: Role.MAINTAINER})


@pytest.fixture
def context(browser: Browser, web: Web, ada: User) -> Iterator[BrowserContext]:
    """A browser in which ada is logged in."""
    client = Client()
    client.force_login(ada)
    name = settings.SESSION_COOKIE_NAME
    made = browser.new_context(viewport={"width": 1440, "height": 900})
    made.add_cookies([{"name": name, "value": client.cookies[name].value, "url": web.url}])
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page that may not fail silently: errors of its scripts and refusals of its policy fail the test."""
    made = context.new_page()
    made.set_default_timeout(PATIENCE)
    wrong: list[str] = []
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    yield made
    assert wrong == []


def live(page: Page) -> None:
    expect(page.locator("#live")).to_have_text("live")


def change(task: Task, **fields: object) -> None:
    """Change a task as services do, and ring."""
    task.refresh_from_db()
    Task.objects.filter(pk=task.pk).update(version=task.version + 1, **fields)
    task.refresh_from_db()
    doorbell.ring_board(task=task.pk, project=task.project_id, version=task.version)


def test_a_person_logs_in_hands_in_a_task_and_sees_it_on_the_board(browser: Browser, web: Web, shop: Project) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(web.url)
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill("a long enough secret")
    page.get_by_role("button", name="Log in").click()
    page.get_by_label("Task").fill("Fix the failing test")
    page.get_by_role("button", name="Hand it in").click()
    expect(page.get_by_role("heading", name="Fix the failing test")).to_be_visible()
    page.goto(web.url)
    expect(page.locator('[data-cards="pending"] .card')).to_contain_text("Fix the failing test")
    context.close()


def test_a_card_moves_to_its_column_while_people_look(page: Page, web: Web, shop: Project) -> None:
    task = scenes.task(shop)
    page.goto(web.url)
    live(page)
    expect(page.locator('[data-cards="working"] .card')).to_have_count(1)
    change(task, status=TaskStatus.NEEDS_INPUT, attention="respond", reason="the agent asks")
    expect(page.locator('[data-cards="respond"] .card')).to_contain_text("the agent asks")
    expect(page.locator('[data-cards="working"] .card')).to_have_count(0)
    expect(page.locator("#heading-respond .count")).to_have_text("1")
    expect(page).to_have_title("(1) Board · Agent Orchestrator")


def test_d20_a_board_whose_server_is_gone_says_how_old_it_is_and_catches_up_afterwards(
    page: Page, web: Web, shop: Project
) -> None:
    task = scenes.task(shop)
    page.goto(web.url)
    live(page)
    web.stop()
    expect(page.locator("#live")).to_contain_text("last seen")
    expect(page.locator("#stale")).to_contain_text("The server is not heard")
    change(task, status=TaskStatus.MERGEABLE, attention="merge", reason="approved and green")
    expect(page.locator('[data-cards="working"] .card')).to_have_count(1)
    web.start()
    live(page)
    expect(page.locator('[data-cards="merge"] .card')).to_have_count(1)
    expect(page.locator("#stale")).to_be_hidden()


def test_d20_a_board_over_silent_workers_does_not_look_live(page: Page, web: Web, shop: Project) -> None:
    Host.objects.update(seen_at=scenes.NOW)
    scenes.task(shop)
    page.goto(web.url)
    expect(page.locator("#live")).to_contain_text("old")
    expect(page.locator("#trouble")).to_contain_text("are the workers running?")


def test_what_is_typed_survives_what_happens_meanwhile(page: Page, web: Web, ada: User, shop: Project) -> None:
    task = scenes.full(shop, ada)
    page.goto(f"{web.url}/tasks/{task.pk}/")
    live(page)
    page.get_by_placeholder("What should change?").fill("half a review")
    page.get_by_placeholder("Tell the agent something").fill("half a sentence")
    Message.objects.create(task=task, key="later", occasion="later", text="said meanwhile", author=ada)
    change(task, reason="something else now")
    expect(page.locator("#words")).to_contain_text("said meanwhile")
    expect(page.locator(".why-now")).to_contain_text("something else now")
    expect(page.get_by_placeholder("What should change?")).to_have_value("half a review")
    expect(page.get_by_placeholder("Tell the agent something")).to_have_value("half a sentence")


def test_a_line_of_the_change_is_commented_where_it_stands(page: Page, web: Web, ada: User, shop: Project) -> None:
    task = scenes.full(shop, ada)
    page.goto(f"{web.url}/tasks/{task.pk}/#changes")
    page.get_by_role("button", name="Comment on line 5", exact=True).click()
    page.get_by_placeholder("What should be different here?").fill("name the rounding mode")
    page.get_by_role("button", name="Request this change").click()
    expect(page.locator(".row-comment").filter(has_text="name the rounding mode")).to_be_visible()


def test_the_tail_of_a_running_turn_grows(page: Page, web: Web, shop: Project) -> None:
    task = scenes.task(shop)
    turn = scenes.turn(scenes.session(task), output=b"first line\n", started_at=scenes.NOW)
    page.goto(f"{web.url}/tasks/{task.pk}/#transcript")
    expect(page.locator("#tail-text")).to_contain_text("first line")
    scenes.JournalChunk.objects.create(run=turn.run_id, offset=11, data=b"\x1b[32msecond line\x1b[0m\n")
    type(turn).objects.filter(pk=turn.pk).update(journal_size=11 + 20)
    expect(page.locator("#tail-text")).to_have_text("first line\nsecond line\n")


def more(turn: Turn, data: bytes) -> None:
    """What arrives of a turn's output."""
    size = Turn.objects.get(pk=turn.pk).journal_size
    JournalChunk.objects.create(run=turn.run_id, offset=size, data=data)
    Turn.objects.filter(pk=turn.pk).update(journal_size=size + len(data))


def test_what_claude_code_does_is_read_while_it_does_it(page: Page, web: Web, shop: Project) -> None:
    task = scenes.task(shop, agent="claude-code")
    calls = claude_scene.says(claude_scene.uses("a", "Read", path="a"), claude_scene.uses("b", "Bash", command="b"))
    turn = scenes.turn(scenes.session(task), output=calls, started_at=scenes.NOW)
    page.goto(f"{web.url}/tasks/{task.pk}/#transcript")
    expect(page.locator(".entry.call")).to_have_count(2)
    of_b, of_a = claude_scene.answers("b", "came first"), claude_scene.answers("a", "x\n" * 20 + "the end")
    more(turn, of_b + of_a[:40])
    expect(page.locator('[data-call="b"] + [data-of="b"]')).to_have_text("came first")
    more(turn, of_a[40:])
    folded = page.locator('[data-call="a"] + [data-of="a"] details')
    expect(folded.locator("summary")).to_contain_text("15 more lines")
    expect(folded.locator("pre")).to_be_hidden()
    folded.locator("summary").click()
    expect(folded.locator("pre")).to_be_visible()
    more(turn, claude_scene.result())
    expect(page.locator(".entry.done")).to_contain_text("9 steps")
    expect(page.locator("#tail-text .entry")).to_have_count(5)
    expect(folded.locator("pre")).to_be_visible()


def test_a_transcript_stands_as_it_is_on_demand_and_its_address_says_so(page: Page, web: Web, shop: Project) -> None:
    task = scenes.task(shop, agent="claude-code")
    scenes.turn(scenes.session(task), output=claude_scene.OUTPUT)
    page.goto(f"{web.url}/tasks/{task.pk}/#transcript")
    expect(page.locator("#tail-text")).not_to_contain_text("session_id")
    page.get_by_role("link", name="Raw").click()
    expect(page.locator("#tail-text")).to_contain_text("session_id")
    page.reload()
    expect(page.locator("#tail-text")).to_contain_text("session_id")
    page.get_by_role("link", name="Readable").click()
    expect(page.locator(".entry.done")).to_be_visible()
    expect(page.locator("#tail-text")).not_to_contain_text("session_id")


def test_earlier_pages_of_a_transcript_come_before_and_calls_find_their_outputs(
    page: Page, web: Web, shop: Project
) -> None:
    task = scenes.task(shop, agent="claude-code")
    call = claude_scene.says(claude_scene.uses("a", "Bash", command="make"), claude_scene.uses("b", "Read", path="b"))
    filling = b"".join(claude_scene.says(claude_scene.words(f"word {n} {'x' * 900}")) for n in range(150))
    scenes.turn(scenes.session(task), output=call + filling + claude_scene.answers("a", "made"))
    page.goto(f"{web.url}/tasks/{task.pk}/#transcript")
    expect(page.locator('[data-of="a"]')).to_have_text("made")
    page.get_by_role("button", name="Show earlier").click()
    expect(page.locator('[data-call="a"] + [data-of="a"]')).to_have_text("made")
    expect(page.locator(".entry.say")).to_have_count(150)
    expect(page.get_by_role("button", name="Show earlier")).to_be_hidden()


def test_thousand_cards_are_walked_by_keyboard_and_more_are_shown_on_demand(
    page: Page, web: Web, shop: Project
) -> None:
    scenes.crowd(shop, 1000)
    page.goto(web.url)
    live(page)
    working = page.locator('[data-cards="working"] .card')
    expect(working).to_have_count(100)
    with page.expect_response("**/board/working/**") as answer:
        page.locator("#column-working").get_by_role("link", name="Show more").press("Enter")
    assert answer.value.ok
    expect(working).to_have_count(200)
    page.locator('[data-cards="respond"] .card a').first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(page.locator('[data-cards="review"] .card:nth-child(2) a')).to_be_focused()


def test_cards_that_could_not_be_loaded_are_said_so_and_come_at_the_next_try(
    page: Page, web: Web, shop: Project
) -> None:
    scenes.crowd(shop, 300)
    page.goto(web.url)
    live(page)
    done = page.locator('[data-cards="done"] .card')
    expect(done).to_have_count(50)
    more = page.locator("#column-done .more a")
    page.route("**/board/done/**", lambda route: route.abort())
    more.press("Enter")
    expect(more).to_have_text("Not loaded. Try again")
    page.unroute_all()
    more.press("Enter")
    expect(done).not_to_have_count(50)


@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_is_wider_than_its_window(page: Page, web: Web, ada: User, shop: Project, width: int) -> None:
    task = scenes.full(shop, ada)
    claude = scenes.task(shop, agent="claude-code")
    scenes.turn(scenes.session(claude), output=claude_scene.OUTPUT)
    scenes.crowd(scenes.project("a-project-with-a-rather-long-name", members={ada: Role.MEMBER}), 60)
    page.set_viewport_size({"width": width, "height": 800})
    for path in (
        "/",
        "/tasks/new/",
        f"/tasks/{task.pk}/",
        f"/tasks/{task.pk}/#changes",
        "/projects/shop/",
    ):
        page.goto(web.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    page.goto(f"{web.url}/tasks/{claude.pk}/#transcript")
    expect(page.locator(".entry.done")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_t13_payloads_run_nowhere_in_a_browser(page: Page, web: Web, ada: User, shop: Project) -> None:
    spoken: list[str] = []
    asked: list[str] = []
    page.on("dialog", lambda dialog: (spoken.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url) if "evil.example" in request.url else None)
    for payload in PAYLOADS:
        task = hostile(shop, ada, payload)
        change(task)
        for path in (f"/tasks/{task.pk}/#changes", "/"):
            page.goto(web.url + path)
            live(page)
        for agent in ("claude-code", "command"):
            task = scenes.task(shop, agent=agent)
            scenes.turn(scenes.session(task), output=in_every_line(payload))
            page.goto(f"{web.url}/tasks/{task.pk}/#transcript")
            expect(page.locator("#tail-text .entry").last).to_be_visible()
        Task.objects.all().delete()
    assert (spoken, asked) == ([], [])


def test_f15_an_open_board_says_that_the_forge_asks_for_patience_and_stops_saying_it(
    page: Page, web: Web, shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "CHECK", 0.5)
    Project.objects.filter(pk=shop.pk).update(scm={"plugin": "github"})
    page.goto(web.url)
    live(page)
    until = timezone.now() + timedelta(seconds=4)
    forges.limited(project=Project.objects.get(pk=shop.pk), until=until, writes_go_on=False)
    trouble = page.locator("#trouble")
    expect(trouble).to_contain_text(f"GitHub asks for patience until {until:%H:%M:%S} UTC")
    expect(trouble).to_be_empty()
    assert timezone.now() >= until
