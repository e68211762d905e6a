"""The sweep finds what nobody rang for. It may run anywhere, any number of times: it claims what is due."""

from __future__ import annotations

import threading

from django.utils import timezone

from orchestrator.models import Task
from orchestrator.services import fleet, incidents
from workers import looks, mirrors, runner
from workers.failpoints import failpoint
from workers.toolbox import Toolbox

BATCH = 500
_PLACING = threading.Lock()
_ASKED = threading.Event()


def reconcile_due(*, limit: int = BATCH) -> int:
    """Decide on the tasks that asked to be looked at by now."""
    now = timezone.now()
    due = list(Task.objects.due(now).order_by("wake_at").values_list("pk", flat=True)[:limit])
    for task_id in due:
        runner.decide_on(task_id, only_due=True)
    return len(due)


def place_tasks() -> int:
    """Give waiting tasks their hosts, and take the first step with each. Many bells at once are few rounds: whoever places looks again
    when somebody rang meanwhile."""
    total = 0
    _ASKED.set()
    while _ASKED.is_set() and _PLACING.acquire(blocking=False):
        try:
            _ASKED.clear()
            placed = fleet.dispatch(now=timezone.now())
        finally:
            _PLACING.release()
        if placed:
            failpoint("after_place")
        for task_id in placed:
            runner.decide_on(task_id)
        total += len(placed)
    return total


def sweep(*, queues: list[str], tools: Toolbox) -> None:
    """Everything that could be due for the queues of this worker, whether anybody rang or not."""
    if "control" in queues:
        runner.unhindered("placing", place_tasks)
        reconcile_due()
    runner.release_forsaken_claims()
    runner.run_due(queues=queues, tools=tools)


def look_outside(tools: Toolbox) -> None:
    """The slower round: mirrors, warm workspaces, pull requests."""
    runner.unhindered("looking after projects", lambda: mirrors.look_after_projects(tools))
    runner.unhindered("ending incidents", lambda: incidents.end_forgotten(now=timezone.now()))
    runner.unhindered("looking at pull requests", lambda: looks.observe_due_pull_requests(tools))
