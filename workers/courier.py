"""Brings bundles of a mirror to a machine that joined, which has no other way to it than the database."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

from orchestrator.models import Host, Parcel, Project
from orchestrator.ports import Unavailable
from orchestrator.services import parcels
from workers.git.program import Deadline

AWAITED = 60.0  # seconds: whoever still wants it by then asks again, and finds how far it has come
SHORTEST, LONGEST = 0.05, 1.0  # seconds between two looks at a parcel


@dataclass(frozen=True, slots=True, kw_only=True)
class Courier:
    """The mirror of a project as a host that joined sees it. `path` is where it would be here."""

    host: Host
    project: Project
    path: Path

    def has(self, sha: str) -> bool:
        """Whoever packs leaves out what our mirror does not know."""
        return bool(sha)

    def bundle(self, sha: str, *, haves: Sequence[str], to: Path, timeout: float) -> None:
        """Ask for the bundle, wait until it is whole, fetch it. Runs in a thread of its own, whose connection ends with it."""
        deadline = Deadline.after(timeout)
        try:
            parcel = parcels.ask(host=self.host, project=self.project, sha=sha, haves=haves, now=timezone.now())
            _await(parcel, Deadline.after(min(AWAITED, deadline.left())))
            with to.open("wb") as file:
                for piece in parcels.pieces(parcel):
                    file.write(piece)
            parcels.drop(key=parcel.key)
        except Parcel.DoesNotExist as error:
            raise Unavailable("what was asked for was thrown away: it is asked for again") from error
        except (DatabaseError, InterfaceError) as error:
            raise Unavailable(f"the database does not answer: {error}") from error
        finally:
            connection.close()


def _await(parcel: Parcel, deadline: Deadline) -> None:
    pause = SHORTEST
    while parcel.size is None:
        if parcels.given_up(parcel):
            why = parcels.trouble_of(parcel)
            parcels.drop(key=parcel.key)
            raise Unavailable(f"the repository cannot be packed: {why}")
        connection.close()  # it waits, and needs none
        time.sleep(min(pause, deadline.left()))
        pause = min(LONGEST, pause * 1.5)
        parcel.refresh_from_db(fields=["size"])
