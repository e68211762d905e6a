"""P9, P16: what the service costs while nothing happens: CPU with idle sessions and open boards, memory of the tree and per session.

The sessions are real: each has its workspace, its guard and an agent that sleeps. CPU is what all processes of the service used (web, workers, beat,
Postgres, Valkey, hostkit's serve), of one core. Memory is the proportional set size of those; guards and agents are told apart.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

from benchmarks.boards import Viewers, opened
from benchmarks.measure import Asked, Goal, Series, run
from benchmarks.stage import Stage, stage, until
from ops.local import door
from tests.homes import serve_of

SLEEPS = ["/bin/bash", "-c", "IFS= read -r -d '' prompt; echo prompted $EPOCHREALTIME ${#prompt}; exec sleep 1000000"]
TICK = os.sysconf("SC_CLK_TCK")
MIB = 1024.0
PRIVATE = ("Private_Clean:", "Private_Dirty:")


def descendants(pid: int) -> list[int]:
    """The process and everything below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += descendants(int(child))
    return found


def service(made: Stage) -> list[int]:
    """The processes of the service: its tree, and hostkit's serve, which lives outside of it."""
    assert made.service.process is not None
    return [*descendants(made.service.process.pid), *serves(made)]


def serves(made: Stage) -> list[int]:
    """The one serve of the home."""
    found = serve_of(made.home / "hostkit")
    return [found.pid] if found is not None else []


def guards(made: Stage) -> list[int]:
    """Every run's guard: the other processes of hostkit."""
    return sorted({*made.service.hostkit()} - {*serves(made)})


def cpu(pids: list[int]) -> float:
    """Seconds of CPU that the processes have used so far."""
    spent = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        spent += int(fields[11]) + int(fields[12])
    return spent / TICK


def memory(pids: list[int], *kinds: str) -> float:
    """MiB of memory of the processes, of these kinds as the kernel names them."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(kinds))
    return total / MIB


def share(made: Stage, seconds: float) -> float:
    """Percent of a core that the service uses over a while."""
    pids = service(made)
    before, began = cpu(pids), time.monotonic()
    time.sleep(seconds)
    return (cpu(pids) - before) / (time.monotonic() - began) * 100


async def watched(made: Stage, viewers: int, rounds: int, seconds: float, series: Series) -> None:
    """The same, with open boards."""
    headers = {"Cookie": await asyncio.to_thread(door.load("benchmarks.rows").cookie), "Origin": made.service.url}
    board = made.service.url.replace("http", "ws") + "/ws/board/"
    pages = Viewers((await opened(board, viewers, headers=headers, first=json.dumps({"have": {}}))).sockets)
    listeners = [asyncio.create_task(pages.listen(n)) for n in range(viewers)]
    await asyncio.sleep(2)
    for _ in range(rounds):
        series.add(await asyncio.to_thread(share, made, seconds))
    for one in listeners:
        one.cancel()
    for socket in pages.sockets:
        await socket.close()


def asleep(made: Stage, count: int) -> None:
    """Add so many sessions whose agents sleep."""
    rows = door.load("benchmarks.rows")
    tasks = [made.post(f"Sleep {n}")[0] for n in range(count)]
    until(lambda: all(rows.prompted_at(task) for task in tasks), "all agents sleep", every=0.5, seconds=300)


def program(asked: Asked) -> list[Series]:
    """Idle."""
    sessions, viewers, seconds = asked.size(100, 3), asked.size(20, 2), float(asked.size(5, 1))
    p9 = Series(quantity="P9", what=f"CPU, {sessions} idle sessions x {viewers} boards", unit="% of a core",
                raw_what="the same service, 0 sessions x 0 boards", goal=Goal(text="<= 5 %", at_most=5))  # fmt: skip
    idle = Series(
        quantity="P16",
        what="memory of everything, idle, no session",
        unit="MiB PSS",
        goal=Goal(text="<= 300 MiB", at_most=300),
    )
    half = sessions // 2
    busy = Series(
        quantity="P16",
        what=f"memory of everything but guards and agents, {sessions} sessions",
        unit="MiB PSS",
        goal=Goal(text=""),
    )
    per = Series(
        quantity="P16",
        what=f"each further session, from {half} to {sessions}",
        unit="MiB PSS",
        goal=Goal(text="<= 0.1 MiB", at_most=0.1),
    )
    guard = Series(
        quantity="P16", what="the guard of a session", unit="MiB private", goal=Goal(text="<= 2 MiB", at_most=2)
    )
    with stage() as made:
        rows = door.load("benchmarks.rows")
        rows.warm(0)
        rows.command(SLEEPS)
        time.sleep(seconds)
        for _ in range(asked.rounds()):
            p9.add_raw(share(made, seconds / 2))
            idle.add(memory(service(made), "Pss:"))
        asleep(made, half)
        time.sleep(seconds)
        before = memory(service(made), "Pss:")
        asleep(made, sessions - half)
        time.sleep(seconds)
        asyncio.run(watched(made, viewers, asked.rounds(), seconds, p9))
        for _ in range(asked.rounds()):
            busy.add(memory(service(made), "Pss:"))
            per.add(max(0.0, busy.ours[-1].value - before) / (sessions - half))
            guard.add(memory(guards(made), *PRIVATE) / sessions)
    return [p9, idle, busy, per, guard]


if __name__ == "__main__":
    run(program)
