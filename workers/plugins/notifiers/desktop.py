"""Messages on the desktop of the machine on which the workers run, where it has one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

from orchestrator.ports import Notice, Refused, Unavailable

_URGENCY = {"urgent": "critical", "action": "normal", "warning": "normal"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DesktopNotifier:
    """`notify-send` on Linux, `osascript` on a Mac."""

    def notify(self, notice: Notice, *, timeout: float = 15) -> None:
        """Refused code: `no-desktop`, on a machine that shows none."""
        body = f"{notice.body}\n{notice.url}"
        try:
            done = subprocess.run(_program(notice, body), capture_output=True, timeout=timeout / 2, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"the desktop did not take the message: {error}") from error
        if done.returncode:
            raise Unavailable(f"the desktop did not take the message: {done.stderr.decode(errors='replace')[:300]}")


def _program(notice: Notice, body: str) -> list[str]:
    if sys.platform == "darwin" and (program := shutil.which("osascript")):
        # The words are arguments and not part of the script.
        script = "on run argv\ndisplay notification (item 2 of argv) with title (item 1 of argv)\nend run"
        return [program, "-e", script, notice.title, body]
    program = shutil.which("notify-send")
    if program is None or not os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        raise Refused(
            "this machine shows no desktop to its workers; what would stand there is in the inbox", code="no-desktop"
        )
    urgency = _URGENCY.get(notice.priority, "low")
    return [program, "--app-name=Agent Orchestrator", f"--urgency={urgency}", "--", notice.title, body]
