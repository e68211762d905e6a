"""The sockets of the board and of the task page."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from channels.auth import get_user
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.http import QueryDict
from django.utils import timezone

from aoweb.dashboard import cards, frames, hub
from aoweb.dashboard.cards import Audience
from aoweb.permissions import Verb, may
from orchestrator.models import Interruption, Task

# A page that has not taken this many frames is not reading; it reconnects and catches up.
BACKLOG = 64
STALLED = 10.0
# Codes of closing that the page understands.
TOO_SLOW, NOT_WELCOME = 4008, 4003
_LONGEST_REQUEST = 256 * 1024
_MOST_CARDS = 20_000


class PageSocket(AsyncWebsocketConsumer):
    """A socket of a logged-in person's page. Frames wait in a bounded queue, so that nobody is waited for."""

    # None is configured under this name: the hub listens for all sockets, and they open while the broker is down.
    channel_layer_alias = "none"
    user: AbstractBaseUser | AnonymousUser

    async def connect(self) -> None:
        self.user = self.scope["user"]
        self.outbox: asyncio.Queue[str] = asyncio.Queue(BACKLOG)
        self.postman: asyncio.Task[None] | None = None
        self.farewell: asyncio.Task[None] | None = None
        if not self.user.is_authenticated or not await self.enter():
            await self.close()
            return
        await self.accept()
        self.postman = asyncio.create_task(self._deliver())
        await self.arrived()

    async def disconnect(self, code: int) -> None:  # noqa: ARG002  # the framework's signature
        if self.postman is not None:
            self.postman.cancel()
        self.gone()

    async def enter(self) -> bool:
        """Whether this person may open this socket."""
        raise NotImplementedError

    async def arrived(self) -> None:
        """The socket is open."""
        raise NotImplementedError

    def gone(self) -> None:
        """The socket is closed."""
        raise NotImplementedError

    async def same_rights(self) -> bool:
        """Whether the person may still see what this socket shows."""
        raise NotImplementedError

    def offer(self, text: str) -> None:
        """Take a frame without waiting; a page that does not read is dropped."""
        try:
            self.outbox.put_nowait(text)
        except asyncio.QueueFull:
            self._hang_up(TOO_SLOW)

    def leave(self) -> None:
        """Close: the person logged out, or may not see this any more."""
        self._hang_up(NOT_WELCOME)

    async def still_welcome(self) -> bool:
        """Whether the session still holds and the rights are the same."""
        key = self.scope["session"].session_key
        self.user = await get_user({"session": SessionStore(key)})
        return self.user.is_authenticated and await self.same_rights()

    async def _deliver(self) -> None:
        try:
            while True:
                text = await self.outbox.get()
                async with asyncio.timeout(STALLED):
                    await self.send(text_data=text)
        except (TimeoutError, OSError):
            self._hang_up(TOO_SLOW)

    def _hang_up(self, code: int) -> None:
        self.gone()
        if self.postman is not None and self.postman is not asyncio.current_task():
            self.postman.cancel()
        if self.farewell is None:
            self.farewell = asyncio.create_task(self._close_soon(code))

    async def _close_soon(self, code: int) -> None:
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(STALLED):
                await self.close(code=code)


class BoardSocket(PageSocket):
    """Keeps one board true: it says which versions it shows, gets what it lacks, and from then on every change."""

    audience = Audience(projects=frozenset())
    asked = False

    async def enter(self) -> bool:
        self.query = QueryDict(self.scope["query_string"].decode("ascii", "replace")).dict()
        self.audience = await database_sync_to_async(cards.audience_of)(self.user, self.query)
        return True

    async def arrived(self) -> None:
        await hub.current().join(self.audience, self)

    def gone(self) -> None:
        hub.current().part(self.audience, self)

    async def same_rights(self) -> bool:
        audience = await database_sync_to_async(cards.audience_of)(self.user, self.query)
        return bool(audience == self.audience)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """The page's one sentence: `{"have": {"<task>": <version>, ...}}`. Anything else closes the socket."""
        have = versions_in(text_data)
        if have is None or bytes_data or self.asked:
            await self.close(code=NOT_WELCOME)
            return
        self.asked = True
        self.offer(await database_sync_to_async(frames.catch_up)(self.audience, have))


class TaskSocket(PageSocket):
    """Tells the page of a task that there is something new to fetch."""

    task_id = 0

    async def enter(self) -> bool:
        self.task_id = int(self.scope["url_route"]["kwargs"]["task_id"])
        return await self.same_rights()

    async def arrived(self) -> None:
        hub.current().watch(self.task_id, self)
        await database_sync_to_async(self._note_seen)()

    def gone(self) -> None:
        hub.current().unwatch(self.task_id, self)

    async def same_rights(self) -> bool:
        return bool(await database_sync_to_async(self._may_see)())

    def _may_see(self) -> bool:
        task = Task.objects.select_related("project").filter(pk=self.task_id).first()
        return task is not None and may(self.user, task.project, Verb.SEE)

    def _note_seen(self) -> None:
        """Whoever can answer has now seen what is asked."""
        task = Task.objects.select_related("project").get(pk=self.task_id)
        if may(self.user, task.project, Verb.DRIVE):
            Interruption.objects.open().filter(task=task, seen_at__isnull=True).update(seen_at=timezone.now())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:  # noqa: ARG002
        """A task's page has nothing to say by socket: it posts forms."""
        await self.close(code=NOT_WELCOME)


class NoSocket(AsyncWebsocketConsumer):
    """Any other address: refused, and not an error."""

    channel_layer_alias = "none"

    async def connect(self) -> None:
        await self.close()


def versions_in(text: str | None) -> dict[int, int] | None:
    """What a page says it shows, or None when it is not in the form it should be."""
    if text is None or len(text) > _LONGEST_REQUEST:
        return None
    try:
        said: Any = json.loads(text)
        have = {int(task): int(version) for task, version in said["have"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    in_range = all(0 < task < 2**63 and 0 <= version < 2**31 for task, version in have.items())
    return have if len(have) <= _MOST_CARDS and in_range else None
