"""Points at which tests kill the process: the steps of every outside effect. Without AO_FAILPOINT they cost a comparison."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from django.conf import settings


def failpoint(name: str) -> None:
    """Die here when AO_FAILPOINT is `NAME:kill9:FILE` and FILE is there; removing FILE first makes it happen once."""
    if not settings.AO_FAILPOINT:
        return
    point, how, armed = settings.AO_FAILPOINT.split(":", 2)
    if point != name or how != "kill9":
        return
    try:
        Path(armed).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
