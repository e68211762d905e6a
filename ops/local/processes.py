"""What each process of the service does once it is a process: web, worker, beat, Flower.

The same functions run forked from one imported Django (`ao start`) and alone (`ao run web`, in a container or under
systemd). Loaded by `ops.local.door` once Django is set up.
"""

import importlib
import os
import secrets
import socket
import warnings
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from celery.exceptions import SecurityWarning
from django.conf import settings
from django.urls import get_resolver

from aoweb.asgi import application
from aoweb.celery import CONTROL, EFFECTS, SSH, app, host_queue
from workers.schedule import SCHEDULE


def warm_up() -> None:
    """Load what the children will need, so that they share it: URLs, templates' engines, job functions, the pool's code."""
    get_resolver().url_patterns  # noqa: B018 loads every view
    app.loader.import_default_modules()
    app.finalize()
    for module in ("celery.apps.worker", "celery.apps.beat", "celery.concurrency.thread", "uvicorn.protocols.http.httptools_impl",
                   "uvicorn.protocols.websockets.websockets_sansio_impl", "uvloop", "kombu.transport.redis", "psycopg_pool"):  # fmt: skip
        importlib.import_module(module)


def web(listener: socket.socket) -> None:
    """Serve the pages, the API and the sockets until told to stop."""
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=bool(os.environ.get("AO_TRUSTED_PROXIES")),
        forwarded_allow_ips=os.environ.get("AO_TRUSTED_PROXIES") or None,
        # Boards keep their sockets open for ever: a stop does not wait for them.
        timeout_graceful_shutdown=2,
        ws_max_size=1024 * 1024,
    )
    uvicorn.Server(config).run(sockets=[listener])


def worker(name: str, queues: Sequence[str]) -> None:
    """Listen for doorbells of these queues and carry out what is due, until told to stop."""
    # The warning is about pickled messages, which are not accepted here.
    warnings.simplefilter("ignore", SecurityWarning)
    running = app.Worker(
        hostname=f"{name}@{socket.gethostname()}",
        queues=list(queues),
        pool="threads",
        concurrency=app.conf.worker_concurrency,
        without_mingle=True,
        without_gossip=True,
        redirect_stdouts=False,
        loglevel="INFO",
        quiet=True,
    )
    running.start()
    raise SystemExit(running.exitcode or 0)


def control_worker() -> None:
    """The worker that decides, sweeps, and speaks to forges and people."""
    worker("control", [CONTROL, EFFECTS])


def host_worker() -> None:
    """The worker whose jobs touch workspaces and agents: this machine's, and those of the machines over SSH."""
    worker("host", [host_queue(settings.AO_LOCAL_HOST), SSH])


def joined_worker() -> None:
    """The worker of a machine that joined: its workspaces and agents, and nobody else's."""
    worker(f"worker-{settings.AO_JOINED}", [host_queue(settings.AO_JOINED)])


def beat() -> None:
    """Ring on schedule, until told to stop."""
    app.conf.beat_schedule = SCHEDULE
    app.Beat(scheduler_cls="ops.local.beat.MemoryScheduler", redirect_stdouts=False, loglevel="INFO", quiet=True).run()


def flower(path: Path) -> None:
    """Serve the queue monitor on a private unix socket; the dashboard's proxy view is its only door."""
    path.unlink(missing_ok=True)
    os.environ["FLOWER_BASIC_AUTH"] = os.environ["AO_FLOWER_AUTH"]
    app.start(["flower", f"--unix_socket={path}", "--url_prefix=flower"])


def prepare_flower(folder: Path) -> Path:
    """Make Flower's folder, which is private because its socket is not, and a password for this start only."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    path = folder / "flower.sock"
    settings.AO_FLOWER_SOCKET = str(path)
    settings.AO_FLOWER_AUTH = f"ao:{secrets.token_urlsafe(24)}"
    os.environ.update(AO_FLOWER_SOCKET=settings.AO_FLOWER_SOCKET, AO_FLOWER_AUTH=settings.AO_FLOWER_AUTH)
    app.conf.update(worker_send_task_events=True, task_send_sent_event=True)
    return path
