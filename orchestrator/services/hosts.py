"""Machines: those over SSH are added once with their key pinned; all but this one can be taken away again."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from django.db import transaction

from orchestrator.domain.addresses import fingerprint, parse_address
from orchestrator.models import Host, Session
from orchestrator.services import events
from orchestrator.services.events import Actor

MOST_LABELS = 50
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


class InvalidHost(Exception):
    """A value that cannot be taken; `field` names it and the message says what would be."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class HostBusy(Exception):
    """What was asked for has to wait until nothing of the host is in use; the message says what is."""


@transaction.atomic
def add(
    *,
    name: str,
    address: str,
    host_key: str,
    key_path: str,
    capacity: int,
    labels: Sequence[str],
    actor: Actor,
    folder: str | None = None,
) -> tuple[Host, bool]:
    """Register a machine, or pin the new key of one that is known at this address. The second value is True when it is new. Raises
    `InvalidHost` and, when another address is meant while sessions live at the old one, `HostBusy`."""
    address = _checked(name, address, host_key, labels)
    known = Host.objects.select_for_update().filter(name=name).first()
    if known is not None and known.kind != Host.Kind.SSH:
        raise InvalidHost("name", f"{name} is taken by another host ({known.get_kind_display()}): choose another name")
    if known is not None and known.address != address and known.removed_at is None:
        _must_be_idle(known)
    values = {
        "address": address,
        "host_key": host_key,
        "key_path": key_path,
        "capacity": capacity,
        "labels": list(labels),
        "removed_at": None,
        "silent_since": None,
        "trouble": "",
    }
    if known is not None and known.removed_at is not None:
        # Nothing that was seen before holds for what is there now.
        values |= {"seen_at": None, "draining": False, "facts": {}, "boot_id": "", "channel_until": None}
    fresh = {"kind": Host.Kind.SSH, "folder": folder or secrets.token_hex(6)}
    host, created = Host.objects.update_or_create(name=name, defaults=values, create_defaults={**values, **fresh})
    text = f"{actor.name} {'added' if created else 'pinned'} the host {name} ({address}, {fingerprint(host_key)})"
    events.record(kind="host.added", text=text, actor=actor, at=actor.at, data={"host": name, "address": address})
    return host, created


@transaction.atomic
def remove(*, name: str, actor: Actor) -> Host:
    """Take a machine away for good; its sessions' history stays. Raises Host.DoesNotExist, `InvalidHost` and `HostBusy`."""
    host = Host.objects.present().select_for_update().get(name=name)
    if host.kind == Host.Kind.LOCAL:
        raise InvalidHost("name", f"{name} is this machine, which is not removed: drain it instead")
    _must_be_idle(host)
    host.removed_at = actor.at
    host.save(update_fields=["removed_at"])
    events.record(kind="host.removed", text=f"{actor.name} removed the host {name}", actor=actor, at=actor.at)
    return host


def _must_be_idle(host: Host) -> None:
    live = Session.objects.live().filter(host=host).count()
    rooms = host.workspaces.filter(removed_at__isnull=True).count()
    if live or rooms:
        raise HostBusy(
            f"{host.name} has {live} live session(s) and {rooms} workspace(s): drain it (ao host drain {host.name}) and wait until they ended"
        )


def _checked(name: str, address: str, host_key: str, labels: Sequence[str]) -> str:
    """The address as we write it. Raises `InvalidHost`."""
    checked_name(name)
    try:
        address = str(parse_address(address))
    except ValueError as error:
        raise InvalidHost("address", str(error)) from error
    try:
        fingerprint(host_key)
    except ValueError as error:
        raise InvalidHost("host_key", str(error)) from error
    checked_labels(labels)
    return address


def checked_name(name: str) -> None:
    """Raises `InvalidHost`."""
    if not _NAME.fullmatch(name):
        raise InvalidHost("name", f"{name[:80]!r} is not a host's name: use a-z, 0-9 and -, at most 60 characters")


def checked_labels(labels: Sequence[str]) -> None:
    """Raises `InvalidHost`."""
    wrong = [label for label in labels if not _LABEL.fullmatch(label)]
    if wrong or len(labels) > MOST_LABELS:
        told = f"{wrong[0][:60]!r} is not a label" if wrong else f"{len(labels)} labels are too many"
        raise InvalidHost(
            "labels", f"{told}: letters, digits, '.', '_' and '-', at most 60; {MOST_LABELS} labels at most"
        )
