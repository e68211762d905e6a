"""Beat, without a file: its schedule is data in the code, and what it rings for is found by the sweep as well."""

from pathlib import Path
from typing import Any

from celery import Celery
from celery.beat import Scheduler
from django.conf import settings


def sign_of_life() -> Path:
    """The file that beat touches while it beats."""
    return Path(settings.AO_HOME) / "run" / "beat.alive"


class MemoryScheduler(Scheduler):
    """Keeps when each entry ran last in memory only: a kill cannot corrupt it, a restart merely rings once more."""

    def __init__(self, app: Celery, schedule: object = None, **options: Any) -> None:
        del schedule  # the name of a file, which we do not keep
        super().__init__(app, schedule={}, **options)

    def tick(self, *args: Any, **options: Any) -> float:
        """Ring for what is due, and show that we live."""
        pause: float = super().tick(*args, **options)
        sign_of_life().touch()
        return pause
