"""The sweep finds what nobody rang for. It may run anywhere, any number of times: it claims what is due."""

from __future__ import annotations

import gc
import threading
import time
from functools import partial

from django.utils import timezone

from orchestrator.models import Interruption, Task
from orchestrator.services import calls, fleet, incidents, rounds, spares
from workers import issue_polls, looks, mirrors, runner
from workers.failpoints import failpoint
from workers.toolbox import Toolbox

BATCH = 500
TOGETHER = 250  # tasks that are decided in one transaction: it holds their rows for a few tenths of a second
LONGEST_PAUSE = 10.0  # seconds between two sweeps, after which the time before does not count as looking
_PLACING = threading.Lock()
_ASKED = threading.Event()


def keep_what_is_loaded() -> None:
    """What this process has loaded by now stays for as long as it runs: the collector need not walk all of it whenever many tasks are decided on."""
    gc.collect()
    gc.freeze()


def reconcile_due(*, limit: int = BATCH) -> int:
    """Decide on the tasks that asked to be looked at by now."""
    now = timezone.now()
    due = list(Task.objects.due(now).order_by("wake_at").values_list("pk", flat=True)[:limit])
    for start in range(0, len(due), TOGETHER):
        runner.decide_on_many(due[start : start + TOGETHER], only_due=True)
    return len(due)


def call_again() -> int:
    """Reminders, the next rungs of ladders and the ends of snoozes that are due."""
    now = timezone.now()
    due = list(Interruption.objects.due(now).order_by("wake_at").values_list("pk", flat=True)[:BATCH])
    for pk in due:
        runner.unhindered("calling again", partial(calls.call_again, interruption_id=pk, now=now))
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


class _Attention:
    """Since when this process has looked without a pause. Whoever was away itself cannot say who was silent meanwhile."""

    def __init__(self) -> None:
        self._since = self._last = 0.0

    def lasts(self, span: float) -> bool:
        now = time.monotonic()
        if now - self._last > LONGEST_PAUSE:
            self._since = now
        self._last = now
        return now - self._since >= span


_ATTENTION = _Attention()


def miss_machines() -> None:
    """Hold machines that joined for silent when they were not heard of, once they have had the time to be."""
    if _ATTENTION.lasts(spares.SILENT_AFTER.total_seconds()):
        spares.miss(now=timezone.now())


def sweep(*, queues: list[str], tools: Toolbox) -> None:
    """Everything that could be due for the queues of this worker, whether anybody rang or not."""
    if "control" in queues:
        runner.unhindered("missing machines", miss_machines)
        runner.unhindered("placing", place_tasks)
        reconcile_due()
        call_again()
        runner.unhindered("completing rounds", lambda: rounds.complete_due(now=timezone.now()))
    runner.release_forsaken_claims()
    runner.run_due(queues=queues, tools=tools)


def look_outside(tools: Toolbox) -> None:
    """The slower round: mirrors, warm workspaces, pull requests, trackers."""
    runner.unhindered("looking after projects", lambda: mirrors.look_after_projects(tools))
    runner.unhindered("ending incidents", lambda: incidents.end_forgotten(now=timezone.now()))
    runner.unhindered("looking at pull requests", lambda: looks.observe_due_pull_requests(tools))
    runner.unhindered("looking at trackers", lambda: issue_polls.poll_due(tools))
