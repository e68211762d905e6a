"""Channels to people, over apprise: over a hundred services by URL, the desktop, Slack's and anybody's webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import apprise

from orchestrator.ports import Notice, Refused, Unavailable

_TYPES = {
    "urgent": apprise.NotifyType.FAILURE,
    "action": apprise.NotifyType.WARNING,
    "warning": apprise.NotifyType.WARNING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AppriseNotifier:
    """One channel. `config` holds `url` (apprise's form) or, for slack and webhook, `webhookUrl`."""

    plugin: str
    config: Mapping[str, object]

    def notify(self, notice: Notice, *, timeout: float = 15) -> None:
        """Send once more than never: the notice's id tells a repetition. Refused code: `bad-channel`."""
        target = apprise.Apprise()
        if not target.add(_url(self.plugin, self.config, timeout)):
            raise Refused(f"the channel of plugin {self.plugin!r} has no URL that can be used", code="bad-channel")
        body = f"{notice.body}\n{notice.url}\n[{notice.id}]"
        kind = _TYPES.get(notice.priority, apprise.NotifyType.INFO)
        if not target.notify(title=notice.title, body=body, notify_type=kind):
            raise Unavailable(f"the channel of plugin {self.plugin!r} did not take the notice")


def _url(plugin: str, config: Mapping[str, object], timeout: float) -> str:
    if plugin == "desktop":
        return "dbus://"
    url = str(config.get("url") or config.get("webhookUrl") or "")
    if plugin == "webhook":
        parts = urlsplit(url)
        scheme = {"https": "jsons", "http": "json"}.get(parts.scheme, "")
        url = url.replace(f"{parts.scheme}://", f"{scheme}://", 1) if scheme else ""
    if not url:
        return ""
    return f"{url}{'&' if '?' in url else '?'}cto={timeout / 3:.0f}&rto={timeout / 2:.0f}"
