"""Alerts about the machines and not about one task: each reaches the admins and every urgent channel once."""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrator.models import Host
from orchestrator.services import events, notices

ALERT_AFTER = timedelta(seconds=40)  # a silence that is shorter is a hiccup
_TOLD = "silence_told"


def host_still_silent(*, host: Host, now: datetime) -> None:
    """One line of history and one alert for each silence that lasts. Hosts that fall silent while one is known to be share its alert:
    the network or the service is the likelier cause, and one call is enough. The caller saves `host`."""
    if host.silent_since is None or now - host.silent_since < ALERT_AFTER or _told(host):
        return
    alone = not any(
        _told(other) for other in Host.objects.present().exclude(pk=host.pk).filter(silent_since__isnull=False)
    )
    host.facts = {**host.facts, _TOLD: host.silent_since.isoformat()}
    text = f"{host.name} does not answer since {host.silent_since:%H:%M} UTC: {host.trouble}"
    events.record(kind="host.silent", text=text, at=now, data={"host": host.name})
    if alone:
        key = f"host-{host.pk}-{int(host.silent_since.timestamp())}"
        notices.alert(key=key, title=text, body="Its sessions are held, none is judged or restarted.", now=now)


def _told(host: Host) -> bool:
    return host.silent_since is not None and host.facts.get(_TOLD) == host.silent_since.isoformat()
