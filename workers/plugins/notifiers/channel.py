"""Channels to people over apprise: over a hundred services by their URLs, Slack among them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import apprise

from orchestrator.ports import Notice, Refused, Unavailable

_MENTION = re.compile(r"<([!@#])")
_EVERYBODY = re.compile(r"@(here|channel|everyone|all)\b", re.IGNORECASE)
_TYPES = {
    "urgent": apprise.NotifyType.FAILURE,
    "action": apprise.NotifyType.WARNING,
    "warning": apprise.NotifyType.WARNING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AppriseNotifier:
    """One channel. `config` holds `url` (apprise's form) or, for slack, `webhookUrl`."""

    plugin: str
    config: Mapping[str, object]

    def notify(self, notice: Notice, *, timeout: float = 15) -> None:
        """Send once more than never: the notice's id tells a repetition. Refused code: `bad-channel`."""
        target = apprise.Apprise()
        if not target.add(_url(self.config, timeout)):
            raise Refused(f"the channel of plugin {self.plugin!r} has no URL that can be used", code="bad-channel")
        kind = _TYPES.get(notice.priority, apprise.NotifyType.INFO)
        if not target.notify(title=calm(notice.title), body=calm(text_of(notice)), notify_type=kind):
            raise Unavailable(f"the channel of plugin {self.plugin!r} did not take the message")


def text_of(notice: Notice) -> str:
    """Words, link, what to press, and the id by which a repetition is known."""
    pressed = [f"{link.label}: {link.url}" for link in notice.links]
    return "\n".join([notice.body, notice.url, *pressed, f"[{notice.id}]"])


def calm(text: str) -> str:
    """Words that agents and issues may have written call nobody together: a chat's words for everybody are taken apart."""
    return _EVERYBODY.sub("@ \\1", _MENTION.sub("< \\1", text))


def _url(config: Mapping[str, object], timeout: float) -> str:
    """What is too long for a service is sent in parts: nothing is cut off."""
    url = str(config.get("url") or config.get("webhookUrl") or "")
    return f"{url}{'&' if '?' in url else '?'}cto={timeout / 3:.0f}&rto={timeout / 2:.0f}&overflow=split" if url else ""
