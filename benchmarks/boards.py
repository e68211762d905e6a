"""P7: from a change of a task to the last of 50 open boards that shows it.

Ours: from before the transaction that changes the task, by way of the doorbell, the hub and the rendered card. Raw: from a `group_send` to the
last of 50 sockets of a consumer that repeats it, on the same server program and the same Valkey.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import websockets
from websockets.asyncio.client import ClientConnection

from benchmarks.measure import Asked, Goal, Series, percentile, run
from benchmarks.stage import Stage, stage, until
from ops.local import door
from tests.installation import ROOT

BETWEEN = 0.25  # seconds between two events: each is the first that a calm board hears of


@dataclass(slots=True)
class Viewers:
    """Open pages, each with the moment at which it heard of the newest mark."""

    sockets: list[ClientConnection]
    mark: str = ""
    heard: dict[int, float] = field(default_factory=dict)
    all_heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self, number: int) -> None:
        async for text in self.sockets[number]:
            if self.mark and self.mark in str(text) and number not in self.heard:
                self.heard[number] = time.perf_counter()
                if len(self.heard) == len(self.sockets):
                    self.all_heard.set()

    async def after(self, mark: str, event: Callable[[], Awaitable[None]]) -> float:
        """Milliseconds until every page has heard the mark that the event makes."""
        self.mark, self.heard = mark, {}
        self.all_heard.clear()
        began = time.perf_counter()
        await event()
        await asyncio.wait_for(self.all_heard.wait(), 10)
        return (max(self.heard.values()) - began) * 1000


async def opened(url: str, count: int, *, headers: dict[str, str], first: str = "") -> Viewers:
    """So many sockets on an address."""
    sockets = [await websockets.connect(url, additional_headers=headers, max_size=None) for _ in range(count)]
    for one in sockets:
        if first:
            await one.send(first)
    return Viewers(sockets)


@contextmanager
def echo_server() -> Iterator[str]:
    """The raw consumer, served as our web is served. Gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        words = [
            "-m",
            "uvicorn",
            "benchmarks.echo:application",
            "--fd",
            str(listener.fileno()),
            "--lifespan",
            "off",
            "--log-level",
            "warning",
        ]
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "aoweb.settings"}
        process = subprocess.Popen(
            [sys.executable, *words, "--loop", "uvloop", "--ws", "websockets-sansio"],
            cwd=ROOT,
            env=environment,
            pass_fds=[listener.fileno()],
        )
        try:
            yield f"ws://127.0.0.1:{port}/"
        finally:
            process.terminate()
            process.wait(10)


async def rounds(
    ours: Viewers, raw: Viewers, task: int, events: int, echo: Callable[[str], Awaitable[None]]
) -> tuple[list[float], list[float]]:
    """Milliseconds of so many events, ours and raw in turns."""
    rows = door.load("benchmarks.rows")
    mine: list[float] = []
    bare: list[float] = []
    for n in range(events):
        version = await asyncio.to_thread(rows.version, task)

        async def touch() -> None:
            await asyncio.to_thread(rows.touch, task)

        mine.append(await ours.after(f'"version": {version + 1}', touch))
        await asyncio.sleep(BETWEEN / 2)
        mark = f"mark-{n}-{version}"
        bare.append(await raw.after(mark, lambda words=mark: echo(words)))  # type: ignore[misc]  # bound at once
        await asyncio.sleep(BETWEEN / 2)
    return mine, bare


async def play(made: Stage, asked: Asked, echo_url: str, p50: Series, p99: Series) -> None:
    """Open everything, then measure round after round."""
    rows, layers = door.load("benchmarks.rows"), door.load("channels.layers")
    echo_module = door.load("benchmarks.echo")
    task = (await asyncio.to_thread(lambda: rows.reviewable(30, head=made.repository.head)))[0]
    headers = {"Cookie": await asyncio.to_thread(rows.cookie), "Origin": made.service.url}
    viewers = asked.size(50, 3)
    board = made.service.url.replace("http", "ws") + "/ws/board/"
    ours = await opened(board, viewers, headers=headers, first=json.dumps({"have": {}}))
    raw = await opened(echo_url, viewers, headers={})
    listeners = [asyncio.create_task(group.listen(n)) for group in (ours, raw) for n in range(viewers)]
    layer = layers.get_channel_layer()

    async def echo(words: str) -> None:
        await layer.group_send(echo_module.GROUP, {"type": "echo", "text": words})

    await rounds(ours, raw, task, 3, echo)
    for _ in range(asked.rounds()):
        mine, bare = await rounds(ours, raw, task, asked.size(20, 2), echo)
        for series, share in ((p50, 0.5), (p99, 0.99)):
            series.add(percentile(mine, share))
            series.add_raw(percentile(bare, share))
    for one in listeners:
        one.cancel()
    for socket_ in (*ours.sockets, *raw.sockets):
        await socket_.close()


def program(asked: Asked) -> list[Series]:
    """An event to all boards."""
    count = asked.size(50, 3)
    what = f"event -> all {count} open boards"
    p50 = Series(quantity="P7", what=f"{what}, p50", unit="ms", raw_what="Channels echo",
                 goal=Goal(text="p50 <= 30 ms, <= 3x the echo", at_most=30, ratio_at_most=3))  # fmt: skip
    p99 = Series(
        quantity="P7",
        what=f"{what}, p99 of 20",
        unit="ms",
        raw_what="Channels echo",
        goal=Goal(text="p99 <= 150 ms", at_most=150),
    )
    with stage() as made, echo_server() as echo_url:
        until(lambda: _answers(echo_url), "the echo answers")
        asyncio.run(play(made, asked, echo_url, p50, p99))
    return [p50, p99]


def _answers(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rstrip("/").rpartition(":")[2]))) == 0


if __name__ == "__main__":
    run(program)
