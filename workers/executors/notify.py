"""Bring what people are told to one channel: at least once, with a stable id, within a time."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings
from django.utils import timezone

from orchestrator.ports import PortError, Refused, Unavailable
from orchestrator.services import channels, wording
from orchestrator.services.channels import Later, Parcel
from workers.deadline import DEADLINES
from workers.toolbox import Toolbox

TIMEOUT = 15.0
NOT_HERE = "no-desktop"  # the code of a channel that there is none of on this machine


def deliver(notification_id: int, tools: Toolbox) -> Mapping[str, object]:
    """Alone, or together with what else waits for the channel. A channel that takes nothing is left alone for a while, and with it all
    that waits for it."""
    parcel = channels.parcel_for(notification_id=notification_id, now=timezone.now())
    if parcel is None:
        return {"skipped": True}
    if isinstance(parcel, Later):
        raise Unavailable("it goes with what else comes within the minute", retry_after=parcel.at - timezone.now())
    name = f"the channel {parcel.channel.name}"
    notice = wording.notice_of(parcel, base_url=settings.AO_BASE_URL, now=timezone.now())
    try:
        DEADLINES.within(TIMEOUT, of=name, act=lambda: tools.notifier(parcel.channel).notify(notice, timeout=TIMEOUT))
    except PortError as error:
        return _not_taken(parcel, error)
    channels.sent(parcel=parcel, now=timezone.now())
    return {"message": parcel.message}


def _not_taken(parcel: Parcel, error: PortError) -> Mapping[str, object]:
    now = timezone.now()
    refused = isinstance(error, Refused)
    if isinstance(error, Refused) and error.code == NOT_HERE:
        channels.nothing_here(parcel=parcel, why=str(error), now=now)
        return {"skipped": True}
    asked = error.retry_after if isinstance(error, Unavailable) else None
    again = channels.not_sent(parcel=parcel, error=str(error), refused=refused, asked=asked, now=now)
    if again is None:
        raise Refused(f"given up after a day: {error}", code="given-up")
    raise Unavailable(str(error), retry_after=again - now)
