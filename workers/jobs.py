"""Celery's entry points: each finds its ids, calls one thing and is safe to run twice. Unknown keywords are tolerated."""

from __future__ import annotations

import logging

from celery import shared_task
from celery.signals import worker_ready, worker_shutting_down
from django.utils import timezone

from orchestrator.services.reconcile import reconcile
from workers import looks, mirrors, runner, sweeps
from workers.post import POST
from workers.toolbox import real
from workers.watch import Watch

logger = logging.getLogger(__name__)


@shared_task(ignore_result=True)
def reconcile_task(*, task_id: int, **_: object) -> None:
    reconcile(task_id=int(task_id), now=timezone.now(), only_due=True)


@shared_task(ignore_result=True)
def place_tasks(**_: object) -> None:
    sweeps.place_tasks()


@shared_task(ignore_result=True)
def run_due_jobs(*, queue: str, **_: object) -> None:
    runner.run_due(queues=[str(queue)], tools=real())


@shared_task(ignore_result=True)
def deliver_notices(**_: object) -> None:
    POST.bell.set()


@shared_task(ignore_result=True)
def sweep_control(**_: object) -> None:
    sweeps.sweep(queues=["control"], tools=real())


@shared_task(ignore_result=True)
def look_after_projects(**_: object) -> None:
    mirrors.look_after_projects(real())


@shared_task(ignore_result=True)
def observe_pull_requests(**_: object) -> None:
    looks.observe_due_pull_requests(real())


_WATCH = Watch()


@worker_ready.connect(weak=False)
def _begin(sender: object, **_: object) -> None:
    """Every worker sweeps its own queues, and watches the hosts whose queues it serves."""
    _WATCH.begin(queues=[queue.name for queue in sender.app.amqp.queues.consume_from.values()])  # type: ignore[attr-defined]  # celery's consumer


@worker_shutting_down.connect(weak=False)
def _end(**_: object) -> None:
    _WATCH.end()
