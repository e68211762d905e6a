"""What becomes of a job, whatever its executor does; and channels to people that hang."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from orchestrator.domain.actions import Interrupt
from orchestrator.domain.rules import Priority
from orchestrator.models import Interruption, Job, Notification, NotificationChannel, Task
from orchestrator.ports import Notice, Refused, Unavailable
from orchestrator.services import projects, promises, tasks
from orchestrator.services.events import Actor
from tests.lab import together
from workers import runner, toolbox
from workers.toolbox import Toolbox

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(slots=True)
class Channels:
    """Fake channels: what each was told; one of them hangs until it is released, others fail."""

    told: list[tuple[str, str]] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    fails: dict[str, Exception] = field(default_factory=dict)

    def notifier(self, channel: NotificationChannel) -> Channel:
        return Channel(name=channel.name, channels=self)

    def tools(self) -> Toolbox:
        return replace(toolbox.real(), notifier=self.notifier)


@dataclass(frozen=True, slots=True)
class Channel:
    name: str
    channels: Channels

    def notify(self, notice: Notice, *, timeout: float = 15) -> None:
        if self.name == "hanging":
            assert self.channels.release.wait(timeout)
        if self.name in self.channels.fails:
            raise self.channels.fails[self.name]
        self.channels.told.append((self.name, notice.id))


@pytest.fixture
def task() -> Task:
    projects.local_host(name="local", capacity=5)
    actor = Actor(name="ada", at=timezone.now())
    project, _ = projects.register(
        key="app", name="App", remote="/nowhere", default_branch="main", agent="command", actor=actor
    )
    return tasks.submit(project=project, title="Fix it", actor=actor)[0]


def _ask(task: Task, cause: str = "agent-stuck:1") -> None:
    ask = Interrupt(trigger=None, cause=cause, priority=Priority.URGENT, escalation=True, question="What now?")
    promises.promise([ask], task=task, now=timezone.now())


def _channels(*names: str) -> None:
    for name in names:
        NotificationChannel.objects.create(name=name, plugin="apprise", priorities=["urgent"])


def test_d17_a_hanging_channel_delays_no_other(task: Task) -> None:
    _channels("hanging", "quick", "quicker")
    _ask(task)
    channels = Channels()
    slow = threading.Thread(target=_work, args=(channels,))
    slow.start()
    _until(lambda: Job.objects.filter(verb="Deliver", state="claimed").exists())
    runner.run_due(queues=["effects"], tools=channels.tools())
    assert sorted(name for name, _ in channels.told) == ["quick", "quicker"]
    channels.release.set()
    slow.join(timeout=20)
    assert sorted(name for name, _ in channels.told) == ["hanging", "quick", "quicker"]
    assert Notification.objects.filter(sent_at__isnull=False).count() == 3


def _work(channels: Channels) -> None:
    try:
        runner.run_due(queues=["effects"], tools=channels.tools())
    finally:
        connection.close()


def _until(true: Callable[[], bool]) -> None:
    give_up = timezone.now() + timedelta(seconds=10)
    pause = threading.Event()
    while not true():
        assert timezone.now() < give_up
        pause.wait(0.01)


def test_each_channel_of_the_priority_is_told_once_by_however_many_workers(task: Task) -> None:
    _channels("one", "two")
    NotificationChannel.objects.create(name="calm", plugin="apprise", priorities=["info"])
    _ask(task)
    _ask(task)
    channels = Channels()
    together(*[lambda: runner.run_due(queues=["effects"], tools=channels.tools()) for _ in range(4)])
    assert sorted(name for name, _ in channels.told) == ["one", "two"]


def test_a_channel_that_is_away_is_tried_again_with_the_same_id_and_its_error_is_kept(task: Task) -> None:
    _channels("one")
    _ask(task)
    channels = Channels(fails={"one": Unavailable("connection refused")})
    runner.run_due(queues=["effects"], tools=channels.tools())
    assert Notification.objects.get().error == "connection refused"
    channels.fails.clear()
    Job.objects.update(run_at=timezone.now())
    runner.run_due(queues=["effects"], tools=channels.tools())
    sent = Notification.objects.get()
    assert channels.told == [("one", f"ao-{sent.pk}")]
    assert (sent.error, sent.sent_at is not None) == ("", True)


def test_what_was_acknowledged_meanwhile_is_not_sent_any_more(task: Task) -> None:
    _channels("one")
    _ask(task)
    tasks.acknowledge(interruption=Interruption.objects.get(), actor=Actor(name="ada"))
    channels = Channels()
    runner.run_due(queues=["effects"], tools=channels.tools())
    assert channels.told == []
    assert Job.objects.get(verb="Deliver").state == "done"


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (Refused("no such channel", code="bad-channel"), "refused", "bad-channel"),
        (Unavailable("away"), "promised", ""),
        (ZeroDivisionError("boom"), "promised", ""),
    ],
)
def test_whatever_an_executor_raises_becomes_a_fact_of_its_job(
    task: Task, error: Exception, state: str, code: str
) -> None:
    _channels("one")
    _ask(task)
    runner.run_due(queues=["effects"], tools=Channels(fails={"one": error}).tools())
    job = Job.objects.get(verb="Deliver")
    assert (job.state, job.code, str(error) in job.error) == (state, code, True)


def test_the_wait_that_a_channel_asks_for_is_kept(task: Task) -> None:
    _channels("one")
    _ask(task)
    asked = Unavailable("slow down", retry_after=timedelta(hours=1))
    runner.run_due(queues=["effects"], tools=Channels(fails={"one": asked}).tools())
    assert Job.objects.get(verb="Deliver").run_at > timezone.now() + timedelta(minutes=59)
