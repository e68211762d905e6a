"""Calls that come back in time, whatever the library behind them does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from django.utils import timezone

from orchestrator.ports import PortError, Unavailable


@dataclass(slots=True)
class _Call:
    """One call in a thread of its own, which is left behind when it does not come back."""

    act: Callable[[], None]
    began: datetime = field(default_factory=timezone.now)
    over: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None

    def run(self) -> None:
        try:
            self.act()
        except BaseException as error:  # noqa: BLE001 told by whoever waits
            self.error = error
        finally:
            self.over.set()


class Deadlines:
    """At most one call at a time for each name: one that was left behind is waited for before another is begun, so that what hangs for
    ever costs one thread."""

    def __init__(self) -> None:
        self._out: dict[str, _Call] = {}
        self._lock = threading.Lock()

    def within(self, seconds: float, *, of: str, act: Callable[[], None]) -> None:
        """Do it, or raise `Unavailable` after so many seconds. A port's error is raised as it is; any other of the library's is a way of not
        being available, and costs nobody what was to be done. Its words are not told: they may quote an address, which is a secret."""
        call = _Call(act=act)
        with self._lock:
            before = self._out.get(of)
            if before is not None and not before.over.is_set():
                raise Unavailable(f"the call to {of} of {before.began:%H:%M:%S} UTC has not come back yet")
            self._out[of] = call
        threading.Thread(target=call.run, name=f"call-{of}", daemon=True).start()
        if not call.over.wait(seconds):
            raise Unavailable(f"{of} did not answer within {seconds:g} s")
        if isinstance(call.error, PortError):
            raise call.error
        if call.error is not None:
            raise Unavailable(f"{of}: {type(call.error).__name__}") from call.error


DEADLINES = Deadlines()
