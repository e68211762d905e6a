"""Parcels: bundles that are handed in, asked for and fetched, piece by piece, through the database."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime

from django.db import transaction

from orchestrator import doorbell
from orchestrator.models import Host, Job, Parcel, ParcelPiece, Project, Session

PIECE = 1024 * 1024  # bytes of a row
_EFFECTS = "effects"


def published(session: Session, turn: int) -> str:
    """The key of the work of a turn, to be pushed."""
    return f"publish:{session.pk}:{turn}"


def saved(session: Session) -> str:
    """The key of what was uncommitted when a session ended, to be kept."""
    return f"saved:{session.pk}"


@transaction.atomic
def hand_in(*, key: str, host: Host, project: Project, data: bytes) -> None:
    """Keep a bundle for whoever works with our mirror; one that was handed in before under this key is replaced."""
    Parcel.objects.filter(key=key).delete()
    parcel = Parcel.objects.create(key=key, host=host, project=project, size=len(data))
    for offset in range(0, len(data), PIECE):
        ParcelPiece.objects.create(parcel=parcel, offset=offset, data=data[offset : offset + PIECE])


def taken(*, key: str) -> bytes | None:
    """The bundle that was handed in under this key; None where there is none."""
    parcel = Parcel.objects.whole().filter(key=key).first()
    return None if parcel is None else b"".join(pieces(parcel))


def waits(*, key: str) -> bool:
    """Whether a bundle was handed in under this key and not dropped yet."""
    return Parcel.objects.whole().filter(key=key).exists()


def drop(*, key: str) -> None:
    """Nobody needs it any more."""
    Parcel.objects.filter(key=key).delete()


def drop_of(session: Session) -> None:
    """What a session's turns handed in and nobody fetched."""
    Parcel.objects.filter(key__startswith=f"publish:{session.pk}:").delete()


@transaction.atomic
def ask(*, host: Host, project: Project, sha: str, haves: Sequence[str], now: datetime) -> Parcel:
    """The parcel that leads from what a host has to this commit, and the job of filling it. Asking again is silent."""
    digest = hashlib.sha256(" ".join(sorted(haves)).encode()).hexdigest()[:16]
    key = f"carry:{host.pk}:{project.pk}:{sha}:{digest}"
    parcel, new = Parcel.objects.get_or_create(
        key=key, defaults={"host": host, "project": project, "sha": sha, "haves": list(haves)}
    )
    if new:
        job = {"verb": "Pack", "action": {"parcel": parcel.pk}, "queue": _EFFECTS, "run_at": now}
        Job.objects.create(key=f"pack:{parcel.pk}", **job)
        doorbell.ring_jobs(_EFFECTS)
    return parcel


def filled_to(parcel: Parcel) -> int:
    """How many bytes of a parcel are here."""
    last = parcel.pieces.order_by("-offset").first()
    return 0 if last is None else last.offset + len(last.data)


def fill(*, parcel: Parcel, offset: int, data: bytes) -> None:
    """Put the next piece in. A piece that is there already is the same one."""
    ParcelPiece.objects.bulk_create([ParcelPiece(parcel=parcel, offset=offset, data=data)], ignore_conflicts=True)


def close(*, parcel: Parcel, size: int) -> None:
    """All pieces are in."""
    Parcel.objects.filter(pk=parcel.pk).update(size=size)


def trouble_of(parcel: Parcel) -> str:
    """Why it is not filled yet, as far as its job can tell; a job that gave up says so as well."""
    return Job.objects.filter(key=f"pack:{parcel.pk}").values_list("error", flat=True).first() or ""


def pieces(parcel: Parcel) -> Iterator[bytes]:
    """The bytes in their order, one row at a time."""
    offsets = list(parcel.pieces.values_list("offset", flat=True))
    for offset in offsets:
        yield bytes(parcel.pieces.get(offset=offset).data)


def given_up(parcel: Parcel) -> bool:
    """Whether the job of filling it has ended without filling it."""
    ended = Job.objects.filter(key=f"pack:{parcel.pk}", settled_at__isnull=False).exists()
    return ended and not Parcel.objects.whole().filter(pk=parcel.pk).exists()
