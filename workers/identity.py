"""Who we are among the workers, and whether another of this machine is still there."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from django.conf import settings


def _machine() -> str:
    """This machine among those whose workers share the database. One that joined is called by the name that it joined with: that is its
    own, where host names may be alike; no host name begins with @."""
    return f"@{settings.AO_JOINED}" if settings.AO_JOINED else socket.gethostname()


def myself() -> str:
    """The name under which this process claims jobs and channels."""
    return f"{_machine()}-{os.getpid()}"


def known_dead(worker: str) -> bool:
    """Whether a worker was of this machine and its process is gone: its leases need not lapse first. A pid that was given again only
    means that they do."""
    machine, _, pid = worker.rpartition("-")
    return machine == _machine() and pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists()
