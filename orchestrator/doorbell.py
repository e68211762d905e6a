"""Doorbells: "look again". They ring after the commit, never make anybody wait, and may be lost; a sweep finds what nobody rang for."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

from celery import current_app
from channels.layers import get_channel_layer
from django.db import transaction
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

SSH = "ssh"  # where the bells of all hosts over SSH hang
_WAITING = 10_000  # bells kept while the broker hangs; the oldest news is the least useful, so what is over is dropped


class _Ringer:
    """One thread a process that rings: a hanging broker delays bells and nobody else. Made anew after a fork."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.bells: queue.Queue[Callable[[asyncio.AbstractEventLoop], None]] = queue.Queue(maxsize=_WAITING)
        self.thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
        self.thread.start()

    def put(self, bell: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        try:
            self.bells.put_nowait(bell)
        except queue.Full:
            logger.warning("doorbell dropped: the broker does not keep up")

    def _run(self) -> None:
        loop = asyncio.new_event_loop()
        while True:
            bell = self.bells.get()
            try:
                bell(loop)
            except (RedisError, OperationalError, OSError, TimeoutError) as error:
                logger.warning("doorbell lost", extra={"error": str(error)})


_ringers: dict[int, _Ringer] = {}
_lock = threading.Lock()


def _ringer() -> _Ringer:
    pid = os.getpid()
    with _lock:
        if pid not in _ringers or not _ringers[pid].thread.is_alive():
            _ringers[pid] = _Ringer()
        return _ringers[pid]


def ring(function: str, *, queue_name: str, after: timedelta = timedelta(), **ids: object) -> None:
    """After the commit, ask the workers of a queue to run the job function `workers.jobs.FUNCTION` with these ids, `after` so long."""
    later = after.total_seconds() if after > timedelta() else None

    def bell(_: asyncio.AbstractEventLoop) -> None:
        name = f"workers.jobs.{function}"
        current_app.send_task(name, kwargs=ids, queue=queue_name, countdown=later, ignore_result=True, retry=False)

    transaction.on_commit(lambda: _ringer().put(bell), robust=True)


def ring_jobs(queue_name: str) -> None:
    """After the commit, tell the workers of a queue that a job is due. Hosts over SSH come and go: their bells hang in one place."""
    bells = SSH if queue_name.startswith(f"{SSH}.") else queue_name
    ring("run_due_jobs", queue_name=bells, queue=queue_name)


class Changed(NamedTuple):
    """A task that looks different, its project, and the version by which pages see that it does."""

    task: int
    project: int
    version: int


def ring_board(*, task: int, project: int, version: int) -> None:
    """After the commit, tell every open page that a task looks different."""
    ring_boards([Changed(task=task, project=project, version=version)])


def ring_boards(changed: Sequence[Changed]) -> None:
    """After the commit, tell every open page which tasks look different, in one message however many they are: this thread of ours competes
    with those that decide. Carries ids only: pages read what they may see."""
    if not changed:
        return
    message = {"type": "tasks.changed", "tasks": [list(one) for one in changed]}

    def bell(loop: asyncio.AbstractEventLoop) -> None:
        layer = get_channel_layer()
        if layer is not None:
            loop.run_until_complete(asyncio.wait_for(layer.group_send("board", message), timeout=5))

    transaction.on_commit(lambda: _ringer().put(bell), robust=True)
