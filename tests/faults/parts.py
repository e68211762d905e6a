"""The parts of the system, and how each is killed: kill -9, at once, and seen back where somebody is to start it again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial

import redis

from tests.installation import Installation, wait_for

Part = Callable[[str], None]  # kills it while a task is at the named step


def parts_of_the_service(here: Installation) -> dict[str, Part]:
    """What `ao start` runs: its processes and its two servers."""

    def valkey(_: str) -> None:
        redis.Redis(unix_socket_path=str(here.home / "run" / "valkey" / "valkey.sock")).flushall()
        _killed(lambda: here.server("valkey-server"), signal.SIGKILL)

    def postgres(_: str) -> None:
        _killed(lambda: here.server("postgres -D"), signal.SIGQUIT)

    def child(name: str, _: str) -> None:
        _killed(lambda: here.child(name), signal.SIGKILL)

    processes = {name: partial(child, name) for name in ("web", "control", "host", "beat")}
    return {**processes, "valkey": valkey, "postgres": postgres}


def parts_here(here: Installation, *, agents: Callable[[], Sequence[int]]) -> dict[str, Part]:
    """What hostkit runs on this machine, and all of it together with the service."""

    def serve(_: str) -> None:
        for pid in here.hostkit()[:1]:  # the oldest
            end(pid)

    def guard(_: str) -> None:
        for pid in here.hostkit()[1:][-1:]:
            end(pid)

    def agent(_: str) -> None:
        for pid in agents()[-1:]:
            end(pid)

    def everything(_: str) -> None:
        for pid in here.hostkit():
            end(pid)
        restarted(here)

    return {"serve": serve, "guard": guard, "agent": agent, "everything": everything}


def restarted(here: Installation) -> None:
    """The whole service is killed, and started again."""
    here.kill()
    here.start()


def end(pid: int) -> None:
    """kill -9 of a process that may have ended by itself."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _killed(find: Callable[[], int | None], how: signal.Signals) -> None:
    before = find()
    assert before is not None
    os.kill(before, how)
    wait_for(lambda: find() not in {None, before}, "the part is back")
