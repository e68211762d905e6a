"""Who we are among the workers, and whether another of this machine is still there."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def myself() -> str:
    """The name under which this process claims jobs and channels."""
    return f"{socket.gethostname()}-{os.getpid()}"


def known_dead(worker: str) -> bool:
    """Whether a worker was of this machine and its process is gone: its leases need not lapse first. A pid that was given again only
    means that they do."""
    machine, _, pid = worker.rpartition("-")
    return (
        machine == socket.gethostname()
        and pid.isdigit()
        and not Path(f"/proc/{pid}").exists()
        and Path("/proc/self").exists()
    )
