"""Notifiers and their routing in the file as channels, and channels as the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.domain.rules import Priority
from orchestrator.models import NotificationChannel
from orchestrator.services.channels import mended
from orchestrator.services.configuration.shapes import FileShape

PRIORITIES = tuple(str(priority) for priority in Priority)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPlan:
    """What one channel is to be. Its configuration keeps references such as ${NAME} unread: secrets stay where they are kept."""

    name: str
    plugin: str
    config: dict[str, Any]
    priorities: list[str]
    new: bool
    changed: tuple[str, ...]


def plan(shape: FileShape, raw: Mapping[str, Any], before: FileShape) -> tuple[ChannelPlan, ...]:
    """The channels that the file names, and those that it named before: these are sent nothing any more."""
    wanted = _channels(shape, raw)
    for name in _named(before):
        wanted.setdefault(name, ("", {}, []))
    rows = {row.name: row for row in NotificationChannel.objects.filter(name__in=wanted)}
    planned = []
    for name, (said, settings, priorities) in wanted.items():
        row = rows.get(name)
        if row is None and not said:
            continue
        plugin, config = (said, settings) if row is None or said else (row.plugin, row.config)
        told = {"plugin": plugin, "config": config, "priorities": priorities}
        changed = tuple(key for key, value in told.items() if row is None or getattr(row, key) != value)
        planned.append(
            ChannelPlan(
                name=name, plugin=plugin, config=config, priorities=priorities, new=row is None, changed=changed
            )
        )
    return tuple(planned)


def apply(planned: Sequence[ChannelPlan], *, now: datetime) -> None:
    """Make them so. What waits for a channel that was changed is tried now: it may work again."""
    changed = [
        NotificationChannel.objects.update_or_create(
            name=one.name, defaults={"plugin": one.plugin, "config": one.config, "priorities": one.priorities}
        )[0].pk
        for one in planned
        if one.changed
    ]
    if changed:
        mended(channel_ids=changed, now=now)


def write(document: dict[str, Any], top: FileShape) -> None:
    """Put the channels that hold into a document, where they are not what its author's words mean."""
    said = _channels(top, document)
    rows = list(NotificationChannel.objects.filter(person=None).order_by("name"))
    held = {row.name: (row.plugin, row.config, row.priorities) for row in rows if row.priorities or row.name in said}
    if held == said:
        return
    notifiers = dict(document.get("notifiers", {}))
    for name, (plugin, config, _) in held.items():
        if name not in said or said[name][:2] != (plugin, config):
            notifiers[name] = {"plugin": plugin, **config}
    document["notifiers"] = notifiers
    document["notificationRouting"] = {
        priority: [name for name, (_, _, priorities) in held.items() if priority in priorities]
        for priority in PRIORITIES
    }


def _channels(shape: FileShape, raw: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any], list[str]]]:
    """Name -> plugin, configuration, priorities. A priority that is not routed goes to the default notifiers."""
    usual = (shape.defaults.notifiers if shape.defaults else None) or []
    found = {}
    for name in _named(shape):
        written = dict((raw.get("notifiers") or {}).get(name) or {})
        plugin = str(written.pop("plugin", name))
        priorities = [word for word in PRIORITIES if name in _routed(shape, word, usual)]
        found[name] = (plugin, written, priorities)
    return found


def _routed(shape: FileShape, priority: str, usual: list[str]) -> list[str]:
    routing = shape.notification_routing
    names: list[str] | None = getattr(routing, priority) if routing is not None else None
    return usual if names is None else names


def _named(shape: FileShape) -> list[str]:
    routing = shape.notification_routing
    routed = [name for word in PRIORITIES for name in (getattr(routing, word) or [])] if routing is not None else []
    usual = (shape.defaults.notifiers if shape.defaults else None) or []
    return list(dict.fromkeys([*(shape.notifiers or {}), *usual, *routed]))
