"""The sockets: who may open one, that boards converge whatever is lost, and that many and idle ones live."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.layers import get_channel_layer
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client

from aoweb.dashboard import consumers, hub
from aoweb.dashboard.origins import SameOrigin
from aoweb.dashboard.routing import websocket_urlpatterns
from orchestrator import doorbell
from orchestrator.domain.status import TaskStatus
from orchestrator.doorbell import Changed
from orchestrator.models import Interruption, Membership, Project, Role, Task
from tests.web import scenes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]

ORIGIN = b"http://ao.example.com:3000"
APPLICATION = SameOrigin(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)), allowed=[ORIGIN.decode()])


def cookie_of(user: User) -> bytes:
    client = Client()
    client.force_login(user)
    name = settings.SESSION_COOKIE_NAME
    return f"{name}={client.cookies[name].value}".encode()


def socket(
    path: str = "/ws/board/", *, cookie: bytes | None = None, origin: bytes | None = ORIGIN
) -> WebsocketCommunicator:
    headers = [(b"host", b"ao.example.com:3000")]
    headers += [(b"origin", origin)] if origin is not None else []
    headers += [(b"cookie", cookie)] if cookie is not None else []
    return WebsocketCommunicator(APPLICATION, path, headers=headers)


Opener = Callable[..., Any]


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """Open sockets that are closed when the test ends, whatever happened."""
    sockets: list[WebsocketCommunicator] = []

    async def open_one(path: str = "/ws/board/", *, cookie: bytes) -> WebsocketCommunicator:
        made = socket(path, cookie=cookie)
        sockets.append(made)
        connected, code = await made.connect(timeout=10)
        assert connected, code
        return made

    yield open_one
    for one in sockets:
        await one.disconnect()


@pytest.fixture(autouse=True)
async def _no_connection_left() -> AsyncIterator[None]:
    """The thread in which async code asks the database outlives a test; its connection must not."""
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture
async def ada() -> User:
    return await sync_to_async(scenes.person)("ada")


@pytest.fixture
async def shop(ada: User) -> Project:
    return await sync_to_async(scenes.project)(members={ada: Role.MEMBER})


async def change(task: Task, **fields: object) -> Task:
    """Change a task as services do, without ringing."""
    await Task.objects.filter(pk=task.pk).aupdate(version=task.version + 1, **fields)
    await task.arefresh_from_db()
    return task


async def ring(*tasks: Task) -> None:
    changed = [Changed(task=task.pk, project=task.project_id, version=task.version) for task in tasks]
    await sync_to_async(doorbell.ring_boards)(changed)


async def listening() -> None:
    """Wait until the hub has its place in the group: what is rung earlier is lost, which is another test."""
    async with asyncio.timeout(10):
        await hub.current().listening.wait()


async def frame_with(one: WebsocketCommunicator, task: Task) -> dict[str, Any]:
    """The next frame that carries the task's card."""
    async with asyncio.timeout(10):
        while True:
            frame = json.loads(await one.receive_from(timeout=10))
            for card in frame.get("cards", []):
                if card["id"] == task.pk:
                    return dict(card)


@pytest.mark.parametrize(
    "origin",
    [
        None,
        b"null",
        b"https://evil.example",
        b"http://ao.example.com",
        b"http://ao.example.com:8080",
        b"https://ao.example.com:3000",
        b"http://localhost:3000",
        b"http://ao.example.com:3000.evil.example",
    ],
)
async def test_d19_a_foreign_origin_opens_no_socket_although_its_visitor_is_logged_in(
    ada: User, origin: bytes | None
) -> None:
    one = socket(cookie=await sync_to_async(cookie_of)(ada), origin=origin)
    connected, _code = await one.connect()
    assert not connected


@pytest.mark.parametrize("cookie", [None, b"ao_session_3000=forged"])
@pytest.mark.parametrize("path", ["/ws/board/", "/ws/tasks/1/", "/elsewhere"])
async def test_d19_nobody_opens_a_socket_without_a_login(path: str, cookie: bytes | None) -> None:
    connected, _code = await socket(path, cookie=cookie).connect()
    assert not connected


async def test_a_stranger_opens_no_socket_to_a_task(ada: User) -> None:
    other = await sync_to_async(scenes.project)("other")
    task = await sync_to_async(scenes.task)(other)
    connected, _code = await socket(f"/ws/tasks/{task.pk}/", cookie=await sync_to_async(cookie_of)(ada)).connect()
    assert not connected


async def test_a_change_reaches_the_boards_of_members_and_of_nobody_else(
    ada: User, shop: Project, opened: Opener
) -> None:
    bob = await sync_to_async(scenes.person)("bob")
    await sync_to_async(scenes.project)("other", members={bob: Role.MAINTAINER})
    task = await sync_to_async(scenes.task)(shop)
    member = await opened(cookie=await sync_to_async(cookie_of)(ada))
    stranger = await opened(cookie=await sync_to_async(cookie_of)(bob))
    await listening()
    await ring(await change(task, title="Round them once"))
    card = await frame_with(member, task)
    assert "Round them once" in card["html"]
    assert await stranger.receive_nothing(timeout=0.5)


async def test_a_board_that_comes_back_gets_what_it_lacks_and_no_more(ada: User, shop: Project, opened: Opener) -> None:
    tasks = [await sync_to_async(scenes.task)(shop, f"number {n}") for n in range(4)]
    same, old, missing, gone = tasks
    await change(old, title="changed meanwhile")
    board = await opened(cookie=await sync_to_async(cookie_of)(ada))
    await Task.objects.filter(pk=gone.pk).adelete()
    have = {str(same.pk): same.version, str(old.pk): old.version - 1, str(gone.pk): gone.version}
    await board.send_to(text_data=json.dumps({"have": have}))
    frame = json.loads(await board.receive_from(timeout=10))
    assert {card["id"] for card in frame["cards"]} == {old.pk, missing.pk}
    assert frame["gone"] == [gone.pk]
    assert frame["counts"]["working"] == 3


async def test_a_lost_doorbell_costs_latency_only(ada: User, shop: Project, opened: Opener) -> None:
    task = await sync_to_async(scenes.task)(shop)
    board = await opened(cookie=await sync_to_async(cookie_of)(ada))
    await listening()
    await change(task, title="nobody rang")
    await hub.current().check()
    card = await frame_with(board, task)
    assert "nobody rang" in card["html"]


async def test_the_checks_come_by_themselves(
    ada: User, shop: Project, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "CHECK", 0.2)
    task = await sync_to_async(scenes.task)(shop)
    board = await opened(cookie=await sync_to_async(cookie_of)(ada))
    await change(task, title="nobody rang")
    card = await frame_with(board, task)
    assert "nobody rang" in card["html"]


async def test_boards_converge_without_a_broker_and_say_that_they_are_slow(
    ada: User, shop: Project, opened: Opener, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(hub, "CHECK", 0.2)
    nobody = {"hosts": ["redis://127.0.0.1:1"], "prefix": "ao"}
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": nobody}
    }
    task = await sync_to_async(scenes.task)(shop)
    board = await opened(cookie=await sync_to_async(cookie_of)(ada))
    await change(task, title="nobody could ring")
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(20):
        while not (
            any(frame.get("cards") for frame in seen) and any(hub.DEAF in frame.get("trouble", ()) for frame in seen)
        ):
            seen.append(json.loads(await board.receive_from(timeout=20)))
    assert any("nobody could ring" in card["html"] for frame in seen for card in frame.get("cards", ()))


async def test_a_burst_of_changes_comes_as_few_frames_with_the_newest_of_each(
    ada: User, shop: Project, opened: Opener
) -> None:
    tasks = [await sync_to_async(scenes.task)(shop, f"number {n}") for n in range(20)]
    board = await opened(cookie=await sync_to_async(cookie_of)(ada))
    await listening()
    began = time.monotonic()
    for step in range(3):
        for task in tasks:
            await ring(await change(task, reason=f"step {step}"))
    newest: dict[int, int] = {}
    frames = 0
    async with asyncio.timeout(10):
        while any(newest.get(task.pk) != task.version for task in tasks):
            frame = json.loads(await board.receive_from(timeout=10))
            frames += 1
            newest |= {card["id"]: card["version"] for card in frame.get("cards", [])}
    assert frames <= (time.monotonic() - began) / hub.COALESCE + 2


async def test_changes_that_are_rung_together_reach_the_board_and_the_page_of_each_task(
    ada: User, shop: Project, opened: Opener
) -> None:
    cookie = await sync_to_async(cookie_of)(ada)
    tasks = [await sync_to_async(scenes.task)(shop, f"number {n}") for n in range(3)]
    board = await opened(cookie=cookie)
    pages = [await opened(f"/ws/tasks/{task.pk}/", cookie=cookie) for task in tasks]
    await listening()
    changed = [await change(task, reason="all at once") for task in tasks]
    await ring(*changed)
    heard = [json.loads(await page.receive_from(timeout=10)) for page in pages]
    assert heard == [{"kind": "task", "id": task.pk, "version": task.version} for task in changed]
    frame = json.loads(await board.receive_from(timeout=10))
    assert {card["id"]: card["version"] for card in frame["cards"]} == {task.pk: task.version for task in changed}


async def test_a_bell_of_another_version_is_lost_and_the_next_one_is_heard(
    ada: User, shop: Project, opened: Opener
) -> None:
    task = await sync_to_async(scenes.task)(shop)
    page = await opened(f"/ws/tasks/{task.pk}/", cookie=await sync_to_async(cookie_of)(ada))
    await listening()
    await get_channel_layer().group_send("board", {"type": "task.changed", "task": task.pk, "version": 2})
    changed = await change(task)
    await ring(changed)
    frame = json.loads(await page.receive_from(timeout=10))
    assert frame == {"kind": "task", "id": task.pk, "version": changed.version}


async def test_the_page_of_a_task_is_rung_and_what_it_asks_counts_as_seen(
    ada: User, shop: Project, opened: Opener
) -> None:
    task = await sync_to_async(scenes.task)(shop, status=TaskStatus.CI_FAILED)
    asked = await sync_to_async(scenes.escalation)(task)
    page = await opened(f"/ws/tasks/{task.pk}/", cookie=await sync_to_async(cookie_of)(ada))
    await listening()
    await ring(await change(task))
    frame = json.loads(await page.receive_from(timeout=10))
    assert frame == {"kind": "task", "id": task.pk, "version": task.version}
    assert (await Interruption.objects.aget(pk=asked.pk)).seen_at is not None


async def test_who_leaves_the_project_or_logs_out_loses_the_socket_with_the_next_check(
    ada: User, shop: Project, opened: Opener
) -> None:
    task = await sync_to_async(scenes.task)(shop)
    cookie = await sync_to_async(cookie_of)(ada)
    board, page = await opened(cookie=cookie), await opened(f"/ws/tasks/{task.pk}/", cookie=cookie)
    await Membership.objects.all().adelete()
    await hub.current().check()
    for one in (board, page):
        closed = await one.receive_output(timeout=10)
        assert closed == {"type": "websocket.close", "code": consumers.NOT_WELCOME}


@pytest.mark.parametrize(
    "said", ["x", "[]", "{}", '{"have": 3}', '{"have": {"x": 1}}', '{"have": {"1": -1}}', "[" * 100_000]
)
async def test_a_page_that_talks_nonsense_is_closed(ada: User, shop: Project, opened: Opener, said: str) -> None:
    board = await opened(cookie=await sync_to_async(cookie_of)(ada))
    await board.send_to(text_data=said)
    assert (await board.receive_output(timeout=10))["type"] == "websocket.close"


async def test_f23_a_page_that_does_not_read_is_dropped_and_nobody_waits_for_it(
    ada: User, shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = asyncio.Event()
    board = consumers.BoardSocket()
    board.outbox = asyncio.Queue(consumers.BACKLOG)
    board.farewell = None
    closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def never(**_: object) -> None:
        await stuck.wait()

    async def close(code: int) -> None:
        closed.set_result(code)

    monkeypatch.setattr(board, "send", never)
    monkeypatch.setattr(board, "close", close)
    board.postman = asyncio.create_task(board._deliver())
    await asyncio.sleep(0)
    for n in range(consumers.BACKLOG + 2):
        board.offer(f"frame {n}")
    assert await asyncio.wait_for(closed, 5) == consumers.TOO_SLOW
    assert board.postman.cancelled() or board.postman.cancelling()


@pytest.mark.slow
async def test_two_hundred_boards_open_and_idle_for_half_a_minute_all_get_the_next_change(
    ada: User, shop: Project, opened: Opener
) -> None:
    task = await sync_to_async(scenes.task)(shop)
    cookie = await sync_to_async(cookie_of)(ada)
    boards = [await opened(cookie=cookie) for _ in range(200)]
    await listening()
    await asyncio.sleep(30)
    await ring(await change(task, title="after a long silence"))
    cards = await asyncio.gather(*(frame_with(board, task) for board in boards))
    assert all("after a long silence" in card["html"] for card in cards)
    assert len(hub.current().rooms) == 1


async def test_the_clock_ends_with_its_loop_although_the_brokers_client_swallows_the_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, checking = hub.Hub(), asyncio.Event()

    async def swallows() -> None:
        checking.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr(hub, "CHECK", 0)
    monkeypatch.setattr(one, "check", swallows)
    one.rooms[None] = None  # type: ignore[index, assignment]  # somebody looks
    clock = asyncio.create_task(one._tick())
    await checking.wait()
    clock.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(clock, 5)
