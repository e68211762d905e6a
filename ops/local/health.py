"""Whether a process of this machine is well, for health checks of containers."""

import http.client
import os
import socket
import time
from collections.abc import Callable, Mapping

from django.conf import settings

from aoweb.celery import app
from ops.local.beat import sign_of_life

BEAT_SILENT = 60.0


def web() -> bool:
    """The web answers."""
    connection = http.client.HTTPConnection("127.0.0.1", settings.AO_PORT, timeout=4)
    try:
        connection.request("GET", "/healthz", headers={"Host": "localhost"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def worker(name: str) -> Callable[[], bool]:
    """A worker of this machine answers a ping through the broker."""
    return lambda: bool(app.control.ping(destination=[f"{name}@{socket.gethostname()}"], timeout=5))


def beat() -> bool:
    """Beat has shown itself lately."""
    file = sign_of_life()
    return file.exists() and time.time() - file.stat().st_mtime < BEAT_SILENT


def flower() -> bool:
    """Flower takes connections."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(4)
        return probe.connect_ex(os.environ.get("AO_FLOWER_SOCKET", "")) == 0


WELL: Mapping[str, Callable[[], bool]] = {
    "web": web,
    "control": worker("control"),
    "host": worker("host"),
    "beat": beat,
    "flower": flower,
}
