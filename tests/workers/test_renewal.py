"""Deadlines of agents on other machines are counted from what a successor is counted from: the last look that was written down."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from django.utils import timezone

from orchestrator.models import Host, Session
from orchestrator.ports import Look
from orchestrator.services import observations, projects, tasks
from orchestrator.services.events import Actor
from workers import observers
from workers.observers import HostChannel
from workers.toolbox import real

pytestmark = pytest.mark.django_db(transaction=True)
SPAN = timedelta(minutes=15)


@dataclass
class Clockwork:
    """A host on which time passes between two looks, and which keeps what it was told."""

    boottime: float = 100.0
    boot_id: str = "first"
    renewed: list[dict[str, float]] = field(default_factory=list)

    def look(self, **_: object) -> Look:
        self.boottime += 5
        return Look(boot_id=self.boot_id, boottime=self.boottime, free_bytes=1, runs=(), chunks=())

    def renew(self, deadlines: dict[str, float]) -> None:
        self.renewed.append(deadlines)


@pytest.fixture
def session() -> Session:
    """A live session on a machine that joined and was seen at 100 s after its start."""
    now = timezone.now()
    host = Host.objects.create(name="spare", kind=Host.Kind.WORKER, link_digest="d", link_until=now)
    actor = Actor(name="ada", at=now)
    project, _ = projects.register(
        key="app", name="App", remote="/nowhere", default_branch="main", agent="command", actor=actor
    )
    type(project).objects.update(reassign_after=SPAN)
    task, _ = tasks.submit(project=project, title="Fix it", actor=actor)
    host.facts = {"hostkit": "1"}
    observations.host_seen(host=host, now=now, boot_id="first", boottime=100.0, free_bytes=1)
    return Session.objects.create(task=task, epoch=1, host=host, agent="command")


def test_a_look_that_nobody_may_ever_hear_of_gives_no_time(session: Session) -> None:
    port = Clockwork()
    observers._renew(Host.objects.get(), port, port.look())  # type: ignore[arg-type]  # all of the port that is asked for here
    assert port.renewed == [{session.fence: 100.0 + SPAN.total_seconds()}]


def test_a_look_that_was_written_down_does(session: Session) -> None:
    port = Clockwork()
    tools = replace(real(), host=lambda _: port)
    channel = HostChannel(host_name="spare", holder="me", tools=tools, wait=0)
    channel._known = True
    for _ in range(3):
        channel.once()
    told = [deadlines[session.fence] - SPAN.total_seconds() for deadlines in port.renewed]
    assert told == [100.0, 105.0, 110.0]


def test_after_a_restart_of_the_machine_nothing_is_counted_from_its_earlier_life(session: Session) -> None:
    del session
    port = Clockwork(boottime=1.0, boot_id="second")
    observers._renew(Host.objects.get(), port, port.look())  # type: ignore[arg-type]  # all of the port that is asked for here
    assert port.renewed == []
