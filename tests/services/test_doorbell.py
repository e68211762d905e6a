"""When a bell rings."""

from __future__ import annotations

import queue
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import transaction

from orchestrator import doorbell

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_bell_for_later_says_when_and_none_rings_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    rung: queue.Queue[tuple[str, Any]] = queue.Queue()

    def send_task(name: str, *, kwargs: dict[str, object], countdown: float | None, **_: object) -> None:
        rung.put((name, kwargs | {"countdown": countdown}))

    monkeypatch.setattr(doorbell, "current_app", SimpleNamespace(send_task=send_task))
    with transaction.atomic():
        doorbell.ring("look", queue_name="effects", after=timedelta(seconds=5), task_id=7)
        doorbell.ring("look", queue_name="effects")
        doorbell.ring("look", queue_name="effects", after=timedelta(seconds=-1))  # it is late already
        assert rung.empty()
    heard = [rung.get(timeout=30) for _ in range(3)]
    assert heard == [
        ("workers.jobs.look", {"task_id": 7, "countdown": 5.0}),
        ("workers.jobs.look", {"countdown": None}),
        ("workers.jobs.look", {"countdown": None}),
    ]
