"""P15: what a call costs on a machine over SSH, and thirty agents started at once on three of them.

Ours: a command through the `Host` port, which is supervised, capped and run as the workspace's account. Raw: a bare exec of the same program on a
connection that is kept, with TCP_NODELAY. The machines are network namespaces with their own sshd; the wire between costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count

import paramiko

from benchmarks.measure import Asked, Goal, Series, interleaved, run
from orchestrator.ports import Command, Run
from tests.hosts.machines import machine
from tests.hosts.reaching import reached, ssh_host
from workers.plugins.hosts.ssh.host import SshHost
from workers.plugins.hosts.ssh.link import connect

CALLS = 50
MACHINES, STARTS = 3, 30
_NUMBERS = count(1)


def each(call: Callable[[], object]) -> float:
    """Milliseconds of one call, of many in a row."""
    began = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - began) * 1000 / CALLS


def bare_exec(transport: paramiko.Transport) -> None:
    channel = transport.open_session(timeout=10)
    channel.exec_command("true")
    assert channel.recv_exit_status() == 0
    channel.close()


def started(host: SshHost) -> None:
    """Start one agent; the answer comes once its program runs."""
    number = next(_NUMBERS)
    run = Run(id=f"run-{number}", fence=f"fence-{number}", epoch=1, workspace="w", argv=("sleep", "300"))
    assert host.start(run, timeout=30).live


def all_started(hosts: list[SshHost], wanted: int) -> float:
    """Milliseconds until so many agents, asked for at the same moment, run."""
    with ThreadPoolExecutor(wanted) as pool:
        began = time.perf_counter()
        for done in [pool.submit(started, hosts[n % len(hosts)]) for n in range(wanted)]:
            done.result()
        spent = (time.perf_counter() - began) * 1000
    for host in hosts:
        for state in host.look(cursors={}, wait=0, timeout=10).runs:
            host.end(state.fence, epoch=state.epoch)
    return spent


def program(asked: Asked) -> list[Series]:
    """The cost of a call, and of many starts."""
    calls = Series(quantity="P15", what="a command on a host over SSH", unit="ms", raw_what="exec on a kept connection",
                   goal=Goal(text="<= 2x raw", ratio_at_most=2))  # fmt: skip
    wanted = asked.size(STARTS, 3)
    starts = Series(
        quantity="P15",
        what=f"{wanted} agents at once on {MACHINES} hosts",
        unit="ms",
        goal=Goal(text="<= 1.5 s", at_most=1500),
    )
    with ExitStack() as stack:
        machines = [stack.enter_context(machine()) for _ in range(MACHINES)]
        hosts = [stack.enter_context(ssh_host(one)) for one in machines]
        for host in hosts:
            host.open_workspace("w")
        transport = connect(reached(machines[0]), until=time.monotonic() + 10)
        stack.callback(transport.close)
        true = Command(argv=("true",))
        interleaved(
            calls,
            rounds=asked.rounds(),
            ours=lambda: each(lambda: hosts[0].command(true)),
            raw=lambda: each(lambda: bare_exec(transport)),
        )
        interleaved(starts, rounds=asked.rounds(), ours=lambda: all_started(hosts, wanted))
    return [calls, starts]


if __name__ == "__main__":
    run(program)
