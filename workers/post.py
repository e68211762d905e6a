"""The post: what is due is brought to its channels, by one thread for each that has something. One that hangs keeps its own thread waiting,
and nobody else; what comes for it meanwhile waits in its queue."""

from __future__ import annotations

import logging
import threading

from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

from orchestrator.models import Job, NotificationChannel
from workers import runner
from workers.toolbox import Toolbox

logger = logging.getLogger(__name__)

MOST_THREADS = 32


class Post:
    """The post of one worker process. `bell` is rung when something new is there."""

    def __init__(self) -> None:
        self.bell = threading.Event()
        self._carriers: dict[str, threading.Thread] = {}

    def next_round(self, tools: Toolbox, *, patience: float) -> None:
        """A round as soon as the bell rings, or after so many seconds without it."""
        self.bell.wait(patience)
        self.bell.clear()
        self.round(tools)

    def round(self, tools: Toolbox) -> None:
        """Send somebody to each channel for which something is due and to which nobody is on the way."""
        queues = [channel.queue for channel in NotificationChannel.objects.only("pk")]
        due = Job.objects.due(timezone.now()).filter(queue__in=queues).values_list("queue", flat=True).distinct()
        self._carriers = {queue: thread for queue, thread in self._carriers.items() if thread.is_alive()}
        for queue in due:
            if queue not in self._carriers and len(self._carriers) < MOST_THREADS:
                carrier = threading.Thread(target=_carry, args=(queue, tools), name=f"post-{queue}", daemon=True)
                self._carriers[queue] = carrier
                carrier.start()

    def wait(self) -> None:
        """Until all who are on the way are back."""
        for carrier in self._carriers.values():
            carrier.join()


def _carry(queue: str, tools: Toolbox) -> None:
    try:
        runner.unhindered(f"bringing {queue}", lambda: runner.run_due(queues=[queue], tools=tools))
    except (DatabaseError, InterfaceError) as error:
        logger.warning("the post waits for the database", extra={"queue": queue, "error": str(error)})
    finally:
        connection.close()


POST = Post()
