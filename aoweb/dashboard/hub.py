"""One hub per process between the doorbell and all open pages.

It listens to the channel layer once, however many pages are open, groups pages that see the same board into rooms, and
sends each room the same bytes. A doorbell may be lost: every `CHECK` seconds the versions in the database are compared with
what was sent, which repairs the loss. A page that cannot keep up is dropped; it reconnects and catches up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.db import Error as DatabaseError
from django.utils import timezone
from redis.exceptions import RedisError

from aoweb.dashboard import frames
from aoweb.dashboard.cards import Audience
from orchestrator.services import board

logger = logging.getLogger(__name__)

GROUP = "board"
COALESCE = 0.12
CHECK = 15.0
RETRY = 3.0
DEAF = f"The broker does not answer: changes show up within {CHECK:.0f} seconds instead of at once."


class Member(Protocol):
    """A page's socket."""

    def offer(self, text: str) -> None:
        """Take a frame without waiting; whoever lags too far behind is dropped instead."""
        ...

    async def still_welcome(self) -> bool:
        """Whether its session and what it may see are what they were when it came."""
        ...

    def leave(self) -> None:
        """Close: it is not welcome any more."""
        ...


@dataclass(eq=False)
class Room:
    """The pages of one audience."""

    audience: Audience
    members: set[Member] = field(default_factory=set)
    sent: dict[int, int] = field(default_factory=dict)
    pending: dict[int, int] = field(default_factory=dict)
    sent_at: float = 0.0
    flushing: asyncio.Task[None] | None = None

    def ring(self, task: int, version: int) -> None:
        """The task changed: tell the pages soon; at once if nothing was told lately."""
        if version <= self.sent.get(task, 0):
            return
        self.pending[task] = max(version, self.pending.get(task, 0))
        if self.flushing is None or self.flushing.done():
            self.flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        while self.pending:
            await asyncio.sleep(max(0.0, self.sent_at + COALESCE - time.monotonic()))
            taken, self.pending = self.pending, {}
            self.sent_at = time.monotonic()
            try:
                frame = await database_sync_to_async(frames.changes)(self.audience, list(taken))
            except DatabaseError as error:
                # The next check finds these versions unsent and sends them.
                logger.warning("board changes could not be read", extra={"error": str(error)})
                return
            self.sent.update(taken)
            send(self.members, frame)

    async def check(self, current: board.Health) -> None:
        """Ring for every version that was never sent, then give a sign of life."""
        versions = await database_sync_to_async(frames.versions)(self.audience)
        frame = await database_sync_to_async(frames.beat)(self.audience, current)
        for task, version in versions.items():
            self.ring(task, version)
        for task in [known for known in self.sent if known not in versions]:
            # Ended long ago, gone, or out of the filter: asking once more tells which.
            self.sent.pop(task)
            self.pending.setdefault(task, 0)
        send(self.members, frame)


class Hub:
    """All rooms of one event loop, the listener and the clock."""

    def __init__(self) -> None:
        self.rooms: dict[Audience, Room] = {}
        self.readers: dict[int, set[Member]] = {}
        self.listening = asyncio.Event()
        self._work: list[asyncio.Task[None]] = []

    async def join(self, audience: Audience, member: Member) -> None:
        """A board opened."""
        room = self.rooms.get(audience)
        if room is None:
            # What is there now counts as sent: pages tell which versions they have when they come, and get the rest.
            sent = await database_sync_to_async(frames.versions)(audience)
            room = self.rooms.setdefault(audience, Room(audience, sent=sent))
        room.members.add(member)
        self._wake()

    def part(self, audience: Audience, member: Member) -> None:
        """A board closed."""
        room = self.rooms.get(audience)
        if room is not None:
            room.members.discard(member)
            if not room.members:
                del self.rooms[audience]

    def watch(self, task: int, member: Member) -> None:
        """A task's page opened."""
        self.readers.setdefault(task, set()).add(member)
        self._wake()

    def unwatch(self, task: int, member: Member) -> None:
        """A task's page closed."""
        readers = self.readers.get(task, set())
        readers.discard(member)
        if not readers:
            self.readers.pop(task, None)

    def ring(self, *, task: int, project: int, version: int) -> None:
        """A doorbell rang."""
        for room in self.rooms.values():
            if room.audience.sees(project):
                room.ring(task, version)
        send(self.readers.get(task, ()), frames.bell(task, version))

    async def check(self) -> None:
        """Compare what was sent with what is true; turn out whoever lost the right to look."""
        everyone = {member for group in (*self._rooms(), *self.readers.values()) for member in group}
        for member in everyone:
            if not await member.still_welcome():
                member.leave()
        current = await database_sync_to_async(board.health)(now=timezone.now())
        if not await broker_answers():
            current = replace(current, troubles=(*current.troubles, DEAF))
        for room in list(self.rooms.values()):
            await room.check(current)
        versions = await database_sync_to_async(frames.task_versions)(list(self.readers))
        for task, readers in list(self.readers.items()):
            send(readers, frames.task_beat(current, versions.get(task, 0)))

    def _rooms(self) -> list[set[Member]]:
        return [room.members for room in self.rooms.values()]

    def _wake(self) -> None:
        """From the first page on there is a listener and a clock, for as long as the event loop runs."""
        if not self._work:
            self._work = [asyncio.create_task(self._listen()), asyncio.create_task(self._tick())]

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except (RedisError, OSError) as error:
                obey_cancellation()
                # The checks go on without a doorbell; only latency is lost.
                logger.warning("the doorbell cannot be heard", extra={"error": str(error)})
                await asyncio.sleep(RETRY)

    async def _hear(self) -> None:
        layer = get_channel_layer()
        channel = await layer.new_channel()
        await layer.group_add(GROUP, channel)
        obey_cancellation()
        self.listening.set()
        try:
            while True:
                message = await layer.receive(channel)
                # What another version rang while it was being replaced is a lost bell and ends no listener.
                for task, project, version in message.get("tasks", ()):
                    self.ring(task=task, project=project, version=version)
        finally:
            self.listening.clear()
            await layer.group_discard(GROUP, channel)

    async def _tick(self) -> None:
        while True:
            obey_cancellation()
            await asyncio.sleep(CHECK)
            if not self.rooms and not self.readers:
                continue
            try:
                await self.check()
            except DatabaseError as error:
                # No sign of life is sent, so the pages say by themselves how old they are.
                logger.warning("boards could not be checked", extra={"error": str(error)})


def obey_cancellation() -> None:
    """The broker's client swallows a cancellation that comes while it connects; without this the listener and the clock would outlive their
    loop."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def broker_answers() -> bool:
    """Whether a doorbell could be rung now."""
    try:
        async with asyncio.timeout(RETRY):
            await get_channel_layer().group_send("nobody", {"type": "is.anybody.there"})
    except (RedisError, OSError, TimeoutError):
        return False
    return True


def send(members: Iterable[Member], text: str) -> None:
    """The same frame to each."""
    for member in list(members):
        member.offer(text)


_HUBS: dict[int, tuple[asyncio.AbstractEventLoop, Hub]] = {}


def current() -> Hub:
    """The hub of the running event loop."""
    loop = asyncio.get_running_loop()
    for key, (other, _hub) in list(_HUBS.items()):
        if other.is_closed():
            del _HUBS[key]
    return _HUBS.setdefault(id(loop), (loop, Hub()))[1]
