"""Fill a parcel that a machine asked for: a bundle of our mirror, made once and put into the database piece by piece."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.domain.naming import valid_sha
from orchestrator.models import Parcel
from orchestrator.ports import Unavailable
from orchestrator.services import parcels
from workers.git.outgoing import packed
from workers.git.program import Deadline
from workers.toolbox import Toolbox

TOGETHER = 45.0  # seconds for all of it: a job has a minute


def pack(parcel_id: int, tools: Toolbox) -> Mapping[str, object]:
    """Safe to run twice: it goes on after the last piece that is there, in the same bundle."""
    parcel = Parcel.objects.select_related("host", "project").filter(pk=parcel_id).first()
    if parcel is None or parcel.size is not None:
        return {"skipped": True}
    deadline = Deadline.after(TOGETHER)
    mirror = tools.mirror(parcel.project)
    if not mirror.has(parcel.sha):
        raise Unavailable(f"the mirror of {parcel.project.key} does not hold {parcel.sha[:12]}")
    haves = [have for have in parcel.haves if valid_sha(have) and mirror.has(have)]
    bundle = packed(mirror, parcel.sha, haves, to=parcel.host.name, deadline=deadline)
    size, offset = bundle.stat().st_size, parcels.filled_to(parcel)
    with bundle.open("rb") as file:
        file.seek(offset)
        while data := file.read(parcels.PIECE):
            deadline.left()
            parcels.fill(parcel=parcel, offset=offset, data=data)
            offset += len(data)
    parcels.close(parcel=parcel, size=size)
    bundle.unlink(missing_ok=True)
    return {"bytes": size}
