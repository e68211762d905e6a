"""What a worker does without being asked: a sweep of its queues every few seconds, and a channel to each host that it serves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, close_old_connections
from django.db.models import Q
from django.utils import timezone

from orchestrator.doorbell import SSH
from orchestrator.models import Host
from orchestrator.services import pruning
from workers import runner, sweeps
from workers.identity import myself
from workers.observers import HostChannel
from workers.post import POST
from workers.toolbox import Toolbox, hang_up, real

logger = logging.getLogger(__name__)

SWEEP_EVERY = 2.0
OUTSIDE_EVERY = 10.0
PRUNE_EVERY = 24 * 3600.0


class Watch:
    """The threads of one worker process. They end with it."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._channels: dict[str, HostChannel] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._sweepers: dict[str, threading.Thread] = {}

    def begin(self, *, queues: list[str]) -> None:
        """Start sweeping; channels are opened as hosts appear."""
        sweeps.keep_what_is_loaded()
        threading.Thread(target=self._sweep, args=(queues, real()), name="sweep", daemon=True).start()
        if "control" in queues:
            # A repository that does not answer makes this wait, and must not make deadlines wait.
            threading.Thread(target=self._look_outside, args=(real(),), name="outside", daemon=True).start()
            threading.Thread(target=self._prune, name="pruning", daemon=True).start()
        if "effects" in queues:
            threading.Thread(target=self._carry_post, args=(real(),), name="post", daemon=True).start()

    def end(self) -> None:
        self._stop.set()
        for channel in list(self._channels.values()):
            channel.stop()

    def _sweep(self, queues: list[str], tools: Toolbox) -> None:
        self._again_and_again(SWEEP_EVERY, lambda: self._round(queues, tools))

    def _look_outside(self, tools: Toolbox) -> None:
        self._again_and_again(OUTSIDE_EVERY, lambda: sweeps.look_outside(tools))

    def _carry_post(self, tools: Toolbox) -> None:
        self._again_and_again(0.0, lambda: POST.next_round(tools, patience=SWEEP_EVERY))

    def _prune(self) -> None:
        self._again_and_again(PRUNE_EVERY, lambda: logger.info("pruned", extra=pruning.prune(now=timezone.now())))

    def _again_and_again(
        self, seconds: float, act: Callable[[], object], *, while_true: Callable[[], bool] = lambda: True
    ) -> None:
        """At once, and then every few seconds until the worker ends, whatever goes wrong meanwhile."""
        wait = 0.0
        while not self._stop.wait(wait) and while_true():
            close_old_connections()
            try:
                runner.unhindered("a round", act)
            except (DatabaseError, InterfaceError) as error:
                logger.warning("sweep waits for the database", extra={"error": str(error)})
            close_old_connections()  # a thread that waits needs none, and hosts may be many
            wait = seconds

    def _round(self, queues: list[str], tools: Toolbox) -> None:
        self._open_channels(queues, tools)
        sweeps.sweep(queues=queues, tools=tools)

    def _open_channels(self, queues: list[str], tools: Toolbox) -> None:
        """One living channel for each host that we serve: one whose thread died is opened again, one whose host was taken away is closed."""
        names = {queue.removeprefix("host.") for queue in queues if queue.startswith("host.")}
        over_ssh = Q(kind=Host.Kind.SSH) if SSH in queues else Q(pk__in=[])
        served = {host.name: host for host in Host.objects.present().filter(Q(name__in=names) | over_ssh)}
        for name in self._channels.keys() - served.keys():
            self._channels.pop(name).stop()
            hang_up(name)
        for name, host in served.items():
            if name not in self._channels or not self._threads[name].is_alive():
                self._channels[name] = channel = HostChannel(host_name=name, holder=myself(), tools=tools)
                self._threads[name] = threading.Thread(target=channel.run, name=f"channel-{name}", daemon=True)
                self._threads[name].start()
            if host.kind == Host.Kind.SSH and name not in self._sweepers:
                # A thread of its own: a machine that does not answer makes its own jobs wait, and nobody else's.
                sweeper = threading.Thread(target=self._sweep_host, args=(name, host.queue, tools), daemon=True)
                self._sweepers[name] = sweeper
                sweeper.start()

    def _sweep_host(self, name: str, queue: str, tools: Toolbox) -> None:
        self._again_and_again(
            SWEEP_EVERY, lambda: runner.run_due(queues=[queue], tools=tools), while_true=lambda: name in self._channels
        )
        self._sweepers.pop(name, None)
