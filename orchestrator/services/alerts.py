"""Alerts about machines and projects and not about one task: each reaches every channel of its priority once, by a job of its own."""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrator import doorbell
from orchestrator.models import Host, Job, NotificationChannel
from orchestrator.services import events

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
        tell(
            key=f"host-{host.pk}-{int(host.silent_since.timestamp())}",
            title=text,
            body="Its sessions are held, none is judged or restarted.",
            priority="urgent",
            now=now,
        )


def _told(host: Host) -> bool:
    return host.silent_since is not None and host.facts.get(_TOLD) == host.silent_since.isoformat()


def tell(*, key: str, title: str, body: str, priority: str, now: datetime) -> None:
    """One alert of this key to every channel of its priority."""
    channels = [one for one in NotificationChannel.objects.all() if priority in one.priorities]
    rows = [
        Job(
            key=f"alert:{key}:{channel.pk}",
            verb="Alert",
            action={
                "channel": channel.pk,
                "title": title,
                "body": body,
                "priority": priority,
            },
            queue="effects",
            run_at=now,
        )
        for channel in channels
    ]
    Job.objects.bulk_create(rows, ignore_conflicts=True)
    if rows:
        doorbell.ring_jobs("effects")
