"""A host that answers what nobody can understand is one that does not answer: the caller is told so, and the line is not used again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.ports import Command, Host, Run, Unavailable
from workers.hostkit import frames
from workers.plugins.hosts.wire import WireHost

NONSENSE: list[dict[str, Any]] = [
    {},
    {"ok": None},
    {"ok": {}},
    {
        "ok": {
            "boot_id": "b",
            "boottime": "noon",
            "free_bytes": 1,
            "runs": [],
            "chunks": [],
            "state": 7,
            "room": {"no": 1},
        }
    },
    {
        "ok": {
            "state": {"id": "r"},
            "room": [],
            "runs": [3],
            "chunks": 5,
            "boot_id": "b",
            "boottime": 1,
            "free_bytes": 1,
        }
    },
    {"error": "no"},
    {"error": {"kind": "refused"}},
]
CALLS: list[Callable[[Host], object]] = [
    lambda host: host.facts(),
    lambda host: host.look(cursors={}, wait=0, timeout=5),
    lambda host: host.open_workspace("w"),
    lambda host: host.start(Run(id="r", fence="f", epoch=1, workspace="w", argv=("true",))),
    lambda host: host.stop("r"),
    lambda host: host.command(Command(argv=("true",))),
    lambda host: host.read("a", workspace="w", cap=10),
]  # fmt: skip


class Babbler:
    """A line at whose other end somebody says always the same."""

    def __init__(self, says: dict[str, Any]) -> None:
        self._says = b"".join(frames.message(says))
        self.closed = False

    def send(self, data: bytes, *, timeout: float) -> None:
        """Heard, and not understood."""

    def receive(self, count: int, *, timeout: float) -> bytes:
        return self._says

    def usable(self) -> bool:
        return not self.closed

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("says", NONSENSE)
def test_a_host_that_answers_nonsense_is_unavailable_and_its_line_is_hung_up(
    says: dict[str, Any], call: Callable[[Host], object]
) -> None:
    lines: list[Babbler] = []

    def dial(*, timeout: float) -> Babbler:
        del timeout
        lines.append(Babbler(says))
        return lines[-1]

    with pytest.raises(Unavailable, match="cannot be understood"):
        call(WireHost(dial))
    assert [line.closed for line in lines] == [True]
