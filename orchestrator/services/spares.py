"""Machines with a worker of their own: linked by an administrator, let in at the gate, missed when they fall silent."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction

from orchestrator.domain.links import Link
from orchestrator.models import Gate, Host
from orchestrator.services import events, observations
from orchestrator.services.accounts import digest_of
from orchestrator.services.events import Actor
from orchestrator.services.hosts import InvalidHost, checked_labels, checked_name

SILENT_AFTER = timedelta(seconds=20)  # a worker is heard of every five
EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 compared with, not listened on


class GateClosed(Exception):
    """No machine can join because nothing listens for one; the message says how to open the gate."""


class NotAdmitted(Exception):
    """Who knocks at the gate may not come in; the message says why and what to do."""


@transaction.atomic
def link(
    *, name: str, capacity: int, labels: Sequence[str], address: str, valid_for: timedelta, actor: Actor
) -> tuple[Host, Link]:
    """Register a machine that is to join, and the one link by which it does; an earlier link that nobody used is void. Raises
    `InvalidHost` and `GateClosed`."""
    checked_name(name)
    checked_labels(labels)
    gate = Gate.objects.first()
    if gate is None:
        raise GateClosed(
            "no machine can join: nothing listens for one. Start the service with `ao start --listen ADDRESS`, an address of "
            "this machine that the other one reaches"
        )
    if not address and gate.address in EVERYWHERE:
        raise InvalidHost(
            "address", f"the gate listens on {gate.address}: say by --at which address the machine reaches it"
        )
    _must_be_free(Host.objects.select_for_update().filter(name=name).first())
    secret = secrets.token_urlsafe(32)
    nothing_seen: dict[str, object] = {
        "seen_at": None,
        "silent_since": None,
        "trouble": "",
        "facts": {},
        "boot_id": "",
        "channel_until": None,
    }
    values: dict[str, object] = {
        **nothing_seen,
        "kind": Host.Kind.WORKER,
        "capacity": capacity,
        "labels": list(labels),
        "link_digest": digest_of(secret),
        "link_until": actor.at + valid_for,
        "machine_digest": "",
        "joined_at": None,
        "removed_at": None,
        "draining": False,
        "address": "",
    }
    host, _ = Host.objects.update_or_create(name=name, defaults=values)
    text = f"{actor.name} made a link for the host {name}"
    events.record(kind="host.linked", text=text, actor=actor, at=actor.at, data={"host": name})
    made = Link(address=address or gate.address, port=gate.port, fingerprint=gate.fingerprint, host=name, secret=secret)
    return host, made


def _must_be_free(known: Host | None) -> None:
    if known is None or (known.kind == Host.Kind.WORKER and (known.removed_at is not None or known.joined_at is None)):
        return
    if known.kind == Host.Kind.WORKER:
        raise InvalidHost(
            "name",
            f"{known.name} is taken by the machine that joined as it: remove that first (ao host remove {known.name}), or "
            "choose another name",
        )
    raise InvalidHost(
        "name", f"{known.name} is taken by another host ({known.get_kind_display()}): choose another name"
    )


def recognised(*, name: str, secret: str) -> Host:
    """The host whose link this is, whatever has become of it. Raises `NotAdmitted`."""
    host = Host.objects.filter(name=name, kind=Host.Kind.WORKER).first()
    if host is None or not hmac.compare_digest(host.link_digest, digest_of(secret)):
        raise NotAdmitted(
            f"the link is not one of this service's, or a later one took its place: make a new one (ao host link {name[:60]})"
        )
    if host.removed_at is not None:
        raise NotAdmitted(f"{name} was removed from the service: make a new link to join again (ao host link {name})")
    return host


@transaction.atomic
def admit(*, name: str, secret: str, machine: str, peer: str, now: datetime) -> Host:
    """Let a machine in by its link. The first one that uses it is its machine from then on. Raises `NotAdmitted`."""
    host = Host.objects.select_for_update().get(pk=recognised(name=name, secret=secret).pk)
    if host.joined_at is None:
        return _first_time(host, machine=machine, peer=peer, now=now)
    if not hmac.compare_digest(host.machine_digest, digest_of(machine)):
        raise NotAdmitted(
            f"the link was used already, by another machine: make one for this machine (ao host link {name}-2)"
        )
    return host


def _first_time(host: Host, *, machine: str, peer: str, now: datetime) -> Host:
    if host.link_until is None or now > host.link_until:
        raise NotAdmitted(f"the link ran out at {host.link_until:%H:%M} UTC: make a new one (ao host link {host.name})")
    host.joined_at, host.machine_digest, host.address = now, digest_of(machine), peer
    host.save(update_fields=["joined_at", "machine_digest", "address"])
    events.record(kind="host.joined", text=f"{host.name} joined from {peer}", at=now, data={"host": host.name})
    return host


@transaction.atomic
def miss(*, now: datetime) -> list[str]:
    """Hold those for silent whose workers were not heard of for a while, and answer their names. Nobody else can look at them."""
    late = Host.objects.present().filter(kind=Host.Kind.WORKER, seen_at__lte=now - SILENT_AFTER).select_for_update()
    missed = list(late)
    for host in missed:
        heard = f"{host.seen_at:%H:%M:%S} UTC" if host.seen_at is not None else "no time"
        why = f"its worker was last heard of at {heard}: it was stopped, the machine is off, or the way between them is closed"
        observations.host_silent(host=host, now=now, trouble=why)
    return [host.name for host in missed]


@transaction.atomic
def open_gate(*, address: str, port: int, fingerprint: str, now: datetime) -> None:
    """Write down where machines join."""
    values = {"address": address, "port": port, "fingerprint": fingerprint, "opened_at": now}
    Gate.objects.update_or_create(pk=1, defaults=values)


def close_gate() -> None:
    """Nothing listens for machines any more."""
    Gate.objects.all().delete()
