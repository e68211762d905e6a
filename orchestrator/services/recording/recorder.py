"""The flight recorder: what was known at each look that changed something or found other reasons than the one before, small enough to keep for
weeks, exact enough to decide again."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from orchestrator.domain.actions import Settle, key_of
from orchestrator.domain.course import Course
from orchestrator.domain.recording import abridged
from orchestrator.domain.snapshot import SNAPSHOT_VERSION, Snapshot
from orchestrator.models import DecisionRecord, Task, rows
from orchestrator.models.rows import Row

_SNAPSHOT = TypeAdapter(Snapshot)
# A field that has its default is not written: a default that changes is a new version, like a field that goes.
# What a snapshot is likely to say: compression begins with it, so that a record holds little but its own facts. A version's dictionary is
# part of how its records are written, and never changes.
_DICTIONARIES = {version: Path(__file__).with_name(f"dictionary-{version}.json").read_bytes() for version in (1,)}


class Unreadable(Exception):
    """A record of a version that this one cannot read, or one that is damaged; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One record as it is replayed: the facts, and the keys of what was new."""

    snapshot: Snapshot
    made: tuple[str, ...]


def record(task: Task, course: Course) -> Row:
    """The row, not stored yet, of one look: the facts before it, and all that followed from them."""
    first, last = course.steps[0], course.steps[-1]
    lines = dict.fromkeys(line for step in course.steps for line in step.decision.why)
    return {
        "task_id": task.pk,
        "at": first.snapshot.now,
        "version": SNAPSHOT_VERSION,
        "facts": pack(first.snapshot),
        "status": last.decision.status,
        "reason": last.decision.reason,
        "why": list(lines),
        "made": [key_of(action) for step in course.steps for action in step.new if not isinstance(action, Settle)],
    }


def pack(snapshot: Snapshot) -> bytes:
    """The facts, abridged and compressed."""
    text = _SNAPSHOT.dump_json(abridged(snapshot), exclude_defaults=True)
    press = zlib.compressobj(level=6, zdict=_DICTIONARIES[SNAPSHOT_VERSION])
    return press.compress(text) + press.flush()


def unpack(facts: bytes, *, version: int) -> Snapshot:
    """What `pack` made. Raises `Unreadable`."""
    if version not in _DICTIONARIES:
        raise Unreadable(f"facts of version {version}: this is version {SNAPSHOT_VERSION}")
    press = zlib.decompressobj(zdict=_DICTIONARIES[version])
    try:
        return _SNAPSHOT.validate_json(press.decompress(facts) + press.flush())
    except (zlib.error, ValidationError) as error:
        raise Unreadable(f"facts of version {version} that cannot be read: {type(error).__name__}") from error


def recorded(*, task_id: int, since: datetime) -> Iterator[Recorded]:
    """The records of a task from `since` on, oldest first, one at a time. Raises `Unreadable`."""
    kept = DecisionRecord.objects.filter(task=task_id, at__gte=since).order_by("id")
    for facts, version, made in kept.values_list("facts", "version", "made").iterator(chunk_size=200):
        yield Recorded(snapshot=unpack(bytes(facts), version=version), made=tuple(made))


def store(records: Sequence[Row]) -> None:
    """Keep them, in one statement."""
    rows.insert(DecisionRecord, records)
