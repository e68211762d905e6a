"""The Celery application: carries doorbells ("look again"), never truth.

Everything here follows from two facts. Postgres knows what is to be done, so a message may be lost and is never worth
waiting for; and Redis may hang, be flushed or be killed at any time, so nothing here may wait for it for long.
"""

import os

from celery import Celery
from kombu import Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aoweb.settings")

CONTROL = "control"
EFFECTS = "effects"
SSH = "ssh"


def host_queue(name: str) -> str:
    """Name the queue of one host: its jobs are carried out by the worker that can reach it."""
    return f"host.{name}"


def queue(name: str) -> Queue:
    """Declare a queue of doorbells, which a restart of the broker may forget."""
    return Queue(name, Exchange(name, type="direct"), routing_key=name)


def broker_url(url: str) -> str:
    """Spell a Redis address as kombu does: it knows a unix socket by another scheme than everyone else."""
    return url.replace("unix://", "redis+socket://", 1) if url.startswith("unix://") else url


app = Celery("ao")
app.conf.update(
    broker_url=broker_url(os.environ.get("REDIS_URL", "")),
    # Without these time-outs a publish hangs for ever on a frozen Redis, and the web with it.
    broker_transport_options={
        "socket_timeout": 5,
        "socket_connect_timeout": 3,
        "health_check_interval": 10,
        "socket_keepalive": True,
        "visibility_timeout": 3600,
    },
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_publish_retry=False,
    result_backend=None,
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    accept_content=["json"],
    task_serializer="json",
    event_serializer="json",
    result_serializer="json",
    # Early: a lost doorbell costs one sweep, one that is delivered again and again costs the worker.
    task_acks_late=False,
    task_reject_on_worker_lost=False,
    worker_prefetch_multiplier=1,
    worker_pool="threads",
    worker_concurrency=int(os.environ.get("AO_WORKER_THREADS", "8")),
    worker_hijack_root_logger=False,
    # For Flower, where it runs: nobody else reads them, and they cost a worker a tenth of its time.
    worker_send_task_events=os.environ.get("AO_TASK_EVENTS") == "1",
    task_send_sent_event=os.environ.get("AO_TASK_EVENTS") == "1",
    worker_cancel_long_running_tasks_on_connection_loss=False,
    task_default_queue=CONTROL,
    task_queues=[queue(CONTROL), queue(EFFECTS)],
    task_create_missing_queues=True,
    task_routes={},
    # By name only: the web can ring the workers without ever importing them.
    imports=["workers.jobs"],
    beat_schedule={},
    enable_utc=True,
    timezone="UTC",
)
