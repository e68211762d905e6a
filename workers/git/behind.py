"""What takes longer than a call may: it goes on in a thread of this process, behind the calls that wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait


class Behind:
    """What is going on, by its key. It ends with the process: whoever comes after it begins anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._going: dict[Hashable, Future[None]] = {}

    def has(self, key: Hashable) -> bool:
        """Whether it was begun and nobody has heard yet what came of it."""
        with self._lock:
            return key in self._going

    def begin(self, key: Hashable, act: Callable[[], None]) -> None:
        """Begin it, unless it was."""
        with self._lock:
            if key not in self._going:
                self._going[key] = going = Future[None]()
                threading.Thread(target=_carry_out, args=(act, going), daemon=True).start()

    def over(self, key: Hashable, *, patience: float) -> bool:
        """Wait so many seconds: whether it is over. Raises what it raised."""
        with self._lock:
            going = self._going.get(key)
        if going is None:
            return True
        if not wait([going], patience).done:
            return False
        with self._lock:
            if self._going.get(key) is going:
                del self._going[key]
        going.result()
        return True


def _carry_out(act: Callable[[], None], going: Future[None]) -> None:
    try:
        act()
    except BaseException as error:  # noqa: BLE001 - whoever waits is told
        going.set_exception(error)
    else:
        going.set_result(None)
