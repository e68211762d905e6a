"""Machines with a worker of their own: who is let in, who is not, and who is missed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from orchestrator.domain.links import Link
from orchestrator.models import Event, Gate, Host
from orchestrator.services import hosts, projects, spares
from orchestrator.services.events import Actor
from orchestrator.services.hosts import InvalidHost
from orchestrator.services.spares import GateClosed, NotAdmitted

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def me() -> Actor:
    return Actor(name="ada", at=timezone.now())


def opened(address: str = "192.0.2.7") -> None:
    spares.open_gate(address=address, port=3001, fingerprint="ab" * 32, now=timezone.now())


def linked(name: str = "spare", address: str = "") -> Link:
    return spares.link(name=name, capacity=3, labels=["fast"], address=address, valid_for=HOUR, actor=me())[1]


def admitted(link: Link, *, machine: str = "this one", after: timedelta = timedelta(0)) -> Host:
    return spares.admit(
        name=link.host, secret=link.secret, machine=machine, peer="192.0.2.8", now=timezone.now() + after
    )


def test_a_link_leads_to_the_gate_and_its_host_takes_nothing_before_it_was_seen() -> None:
    opened()
    link = linked()
    row = Host.objects.get()
    assert (link.address, link.port, link.fingerprint) == ("192.0.2.7", 3001, "ab" * 32)
    assert (row.kind, row.capacity, row.labels, row.queue) == ("worker", 3, ["fast"], "host.spare")
    assert (row.seen_at, row.joined_at) == (None, None)


def test_a_secret_is_kept_as_its_digest_only() -> None:
    opened()
    link = linked()
    admitted(link)
    stored = str(list(Host.objects.values())) + str(list(Event.objects.values()))
    assert link.secret not in stored
    assert "this one" not in stored


def test_without_a_gate_the_way_to_open_one_is_said() -> None:
    with pytest.raises(GateClosed, match="ao start --listen ADDRESS"):
        linked()
    assert not Host.objects.exists()


def test_a_gate_that_listens_everywhere_has_to_be_told_by_which_address_it_is_reached() -> None:
    opened("0.0.0.0")
    with pytest.raises(InvalidHost, match="--at"):
        linked()
    assert linked(address="box.example").address == "box.example"


def test_a_link_is_used_by_one_machine_and_that_one_may_come_again_for_ever() -> None:
    opened()
    link = linked()
    assert admitted(link).address == "192.0.2.8"
    assert admitted(link, after=timedelta(days=300)).name == "spare"
    with pytest.raises(NotAdmitted, match="by another machine"):
        admitted(link, machine="another one")


def test_a_link_that_nobody_used_runs_out() -> None:
    opened()
    link = linked()
    with pytest.raises(NotAdmitted, match=r"ran out at .* UTC: make a new one \(ao host link spare\)"):
        admitted(link, after=HOUR + timedelta(seconds=1))
    assert Host.objects.get().joined_at is None


def test_a_later_link_makes_an_earlier_one_void() -> None:
    opened()
    first, second = linked(), linked()
    with pytest.raises(NotAdmitted, match="a later one took its place"):
        admitted(first)
    assert admitted(second).joined_at is not None


@pytest.mark.parametrize(("host", "secret"), [("nobody", "x"), ("spare", "x"), ("local", "")])
def test_a_foreign_link_opens_nothing(host: str, secret: str) -> None:
    opened()
    projects.local_host(name="local", capacity=1)
    linked()
    foreign = Link(address="a", port=1, fingerprint="ab" * 32, host=host, secret=secret)
    with pytest.raises(NotAdmitted, match="not one of this service's"):
        admitted(foreign)


def test_a_name_is_taken_by_a_host_of_another_kind_and_by_a_machine_that_joined() -> None:
    opened()
    projects.local_host(name="local", capacity=1)
    with pytest.raises(InvalidHost, match="local is taken by another host"):
        linked("local")
    admitted(linked())
    with pytest.raises(InvalidHost, match=r"ao host remove spare"):
        linked()
    with pytest.raises(InvalidHost, match="spare is taken by another host"):
        hosts.add(
            name="spare",
            address="me@x",
            host_key="ssh-ed25519 " + "A" * 68,
            key_path="",
            capacity=1,
            labels=[],
            actor=me(),
        )


def test_a_removed_machine_is_out_and_comes_back_by_a_new_link_only() -> None:
    opened()
    link = linked()
    admitted(link)
    hosts.remove(name="spare", actor=me())
    with pytest.raises(NotAdmitted, match="was removed"):
        admitted(link)
    again = linked()
    assert Host.objects.get().removed_at is None
    with pytest.raises(NotAdmitted):
        admitted(link)
    assert admitted(again, machine="another one").joined_at is not None


def test_a_machine_that_is_not_heard_of_is_silent_until_it_is() -> None:
    opened()
    admitted(linked())
    now = timezone.now()
    assert spares.miss(now=now) == []  # nobody has looked at it yet
    Host.objects.update(seen_at=now - spares.SILENT_AFTER / 2)
    assert spares.miss(now=now) == []
    assert spares.miss(now=now + spares.SILENT_AFTER) == ["spare"]
    row = Host.objects.get()
    assert row.silent_since is not None
    assert "last heard of" in row.trouble


def test_a_gate_that_is_closed_is_none() -> None:
    opened()
    opened("192.0.2.9")
    assert Gate.objects.get().address == "192.0.2.9"
    spares.close_gate()
    assert not Gate.objects.exists()
