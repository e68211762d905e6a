"""What every Host does, whichever it is: run on the one in memory, on the machine we are on, and on one over SSH."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from orchestrator.ports import Host, Refused, Run, RunEnd, RunState, Sandbox
from tests.fakes.host import FakeHost
from tests.homes import hostkit_home
from tests.hosts.machines import ACCOUNT, needs_machines
from tests.hosts.machines import machine as made_machine
from tests.hosts.reaching import ssh_host
from workers.plugins.hosts.local import LocalHost

PATIENCE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A host under test and how time passes on it."""

    host: Host
    wait: Callable[[float], None]

    def run(self, script: str, *, workspace: str = "w", **more: object) -> Run:
        """A run of a shell script in an open workspace, with names that nobody else has."""
        self.host.open_workspace(workspace)
        unique = uuid4().hex
        base = Run(id=f"run-{unique}", fence=f"fence-{unique}", epoch=1, workspace=workspace, argv=("sh", "-c", script))
        return replace(base, **more)  # type: ignore[arg-type]

    def state(self, run: Run) -> RunState:
        look = self.host.look(cursors={run.id: -1}, wait=0, timeout=5)
        return next(state for state in look.runs if state.id == run.id)

    def until(self, run: Run, reached: Callable[[RunState, bytes], bool]) -> tuple[RunState, bytes]:
        """Look, from the last offset on, until what is wanted is seen."""
        output, give_up = b"", time.monotonic() + PATIENCE
        while True:
            look = self.host.look(cursors={run.id: len(output)}, wait=0.2, timeout=5)
            for chunk in look.chunks:
                assert chunk.offset == len(output)
                output += chunk.data
            state = next(state for state in look.runs if state.id == run.id)
            if reached(state, output):
                return state, output
            assert time.monotonic() < give_up, f"not reached: {state} {output!r}"
            self.wait(0.01)

    def ended(self, run: Run) -> tuple[RunState, bytes]:
        return self.until(run, lambda state, output: not state.live and len(output) >= state.size)

    def boottime(self) -> float:
        return self.host.facts().boottime


def in_memory() -> Iterator[Machine]:
    now = [datetime(2030, 1, 1, tzinfo=UTC)]

    def wait(seconds: float) -> None:
        now[0] += timedelta(seconds=max(seconds, 0.5))

    yield Machine(host=FakeHost(clock=lambda: now[0]), wait=wait)


def real() -> Iterator[Machine]:
    with hostkit_home() as home:
        host = LocalHost(home)
        yield Machine(host=host, wait=time.sleep)
        host.close()


def over_ssh(account: str) -> Iterator[Machine]:
    with made_machine() as made, ssh_host(made, account=account) as host:
        yield Machine(host=host, wait=time.sleep)


MACHINES: dict[str, Callable[[], Iterator[Machine]]] = {
    "fake": in_memory,
    "local": real,
    "ssh": lambda: over_ssh(ACCOUNT),
    "ssh-root": lambda: over_ssh("root"),
}


@pytest.fixture(params=[name if "ssh" not in name else pytest.param(name, marks=needs_machines) for name in MACHINES])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    yield from MACHINES[request.param]()


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.code


def test_a_run_ends_with_its_output_and_exit_code(machine: Machine) -> None:
    run = machine.run("echo hello; exit 3")

    assert machine.host.start(run).id == run.id

    state, output = machine.ended(run)
    assert (state.end, state.exit_code, state.signal, output) == (RunEnd.EXITED, 3, None, b"hello\n")
    assert state.size == len(output)
    assert state.ended_at is not None
    assert state.started_at is not None
    assert state.ended_at >= state.started_at


def test_a_run_that_a_signal_killed_says_which(machine: Machine) -> None:
    run = machine.run("kill -9 $$")

    machine.host.start(run)

    state, _ = machine.ended(run)
    assert (state.end, state.exit_code, state.signal) == (RunEnd.EXITED, None, 9)


def test_starting_a_known_run_again_answers_its_state_and_starts_nothing(machine: Machine) -> None:
    run = machine.run("echo once; exit 0")
    machine.host.start(run)
    machine.ended(run)

    again = machine.host.start(run)

    assert (again.live, again.end, again.exit_code) == (False, RunEnd.EXITED, 0)
    assert machine.ended(run)[1] == b"once\n"


def test_a_program_that_is_missing_is_unstartable_and_named(machine: Machine) -> None:
    run = machine.run("", argv=("no-such-program",))

    state = machine.host.start(run)

    assert (state.live, state.end) == (False, RunEnd.UNSTARTABLE)
    assert "no-such-program" in state.detail


def test_standard_input_is_given_and_then_ends(machine: Machine) -> None:
    run = machine.run("cat; echo over", stdin=b"some words\n")

    machine.host.start(run)

    assert machine.ended(run)[1] == b"some words\nover\n"


def test_a_message_reaches_the_program_once_however_often_it_is_sent(machine: Machine) -> None:
    run = machine.run("cat", stdin=b"first\n", keep_stdin_open=True)
    machine.host.start(run)

    for _ in range(3):
        machine.host.send(run.id, message="m-1", data=b"second\n")
    machine.host.send(run.id, message="m-2", data=b"third\n")

    _, output = machine.until(run, lambda _, output: b"third" in output)
    assert output == b"first\nsecond\nthird\n"


def test_an_input_that_is_closed_ends_behind_the_messages_and_takes_no_more(machine: Machine) -> None:
    run = machine.run("cat; echo over", keep_stdin_open=True)
    machine.host.start(run)
    machine.host.send(run.id, message="m1", data=b"said\n")
    machine.host.close_input(run.id)
    assert refusal(lambda: machine.host.send(run.id, message="m2", data=b"too late\n")) == "not-live"
    state, output = machine.ended(run)
    assert (state.end, state.exit_code) == (RunEnd.EXITED, 0)
    assert output == b"said\nover\n"
    machine.host.close_input(run.id)
    assert refusal(lambda: machine.host.close_input("nothing")) == "no-run"


def test_a_message_to_a_run_that_ended_is_refused(machine: Machine) -> None:
    run = machine.run("echo", keep_stdin_open=True)
    machine.host.start(run)
    machine.ended(run)

    assert refusal(lambda: machine.host.send(run.id, message="m", data=b"x")) == "not-live"


def test_a_stopped_run_is_not_alive_when_stop_returns(machine: Machine) -> None:
    run = machine.run("cat", keep_stdin_open=True)
    machine.host.start(run)

    state = machine.host.stop(run.id, timeout=8)

    assert (state.live, state.end) == (False, RunEnd.STOPPED)
    assert machine.host.stop(run.id) == state


def test_stopping_what_was_never_started_is_refused(machine: Machine) -> None:
    assert refusal(lambda: machine.host.stop("nothing")) == "no-run"


def test_a_deadline_that_passes_ends_the_run(machine: Machine) -> None:
    run = machine.run("sleep 300", deadline=machine.boottime() + 0.3)

    machine.host.start(run)

    assert machine.ended(run)[0].end is RunEnd.DEADLINE


def test_a_renewed_deadline_lets_the_run_go_on(machine: Machine) -> None:
    run = machine.run("sleep 1; echo done", deadline=machine.boottime() + 0.6)
    machine.host.start(run)

    machine.host.renew({run.fence: machine.boottime() + 600})

    state, output = machine.ended(run)
    assert (state.end, output) == (RunEnd.EXITED, b"done\n")


def test_a_deadline_can_be_moved_nearer(machine: Machine) -> None:
    run = machine.run("sleep 300", deadline=machine.boottime() + 600)
    machine.host.start(run)

    machine.host.renew({run.fence: machine.boottime()})

    assert machine.ended(run)[0].end is RunEnd.DEADLINE


def test_a_lower_epoch_is_refused_and_a_higher_one_ends_what_runs(machine: Machine) -> None:
    old = machine.run("sleep 300", epoch=5)
    machine.host.start(old)
    new = replace(old, id=f"{old.id}-new", epoch=6)

    machine.host.start(new)

    assert machine.state(old).live is False
    assert machine.state(new).live is True
    late = replace(old, id=f"{old.id}-late")
    assert refusal(lambda: machine.host.start(late)) == "epoch-too-low"


def test_an_ended_epoch_stops_its_runs_and_refuses_every_later_start(machine: Machine) -> None:
    run = machine.run("sleep 300")
    machine.host.start(run)

    machine.host.end(run.fence, epoch=1)
    machine.host.end(run.fence, epoch=1)

    state = machine.state(run)
    assert (state.live, state.end) == (False, RunEnd.STOPPED)
    assert refusal(lambda: machine.host.start(replace(run, id=f"{run.id}-late"))) == "ended"


def test_a_successor_starts_after_its_predecessor_was_ended_and_outlives_a_late_end(machine: Machine) -> None:
    old = machine.run("sleep 300")
    machine.host.start(old)
    machine.host.end(old.fence, epoch=1)
    new = replace(old, id=f"{old.id}-new", epoch=2)

    machine.host.start(new)
    machine.host.end(old.fence, epoch=1)

    assert machine.state(new).live is True
    late = replace(old, id=f"{old.id}-late")
    assert refusal(lambda: machine.host.start(late)) == "epoch-too-low"


def test_a_fence_may_be_ended_before_anything_was_started(machine: Machine) -> None:
    run = machine.run("echo never")

    machine.host.end(run.fence, epoch=1)

    assert refusal(lambda: machine.host.start(run)) == "ended"


def test_a_run_needs_a_workspace(machine: Machine) -> None:
    run = replace(machine.run("echo"), workspace="unheard-of")

    assert refusal(lambda: machine.host.start(run)) == "no-workspace"


def test_a_container_is_refused_where_there_is_none(machine: Machine) -> None:
    run = machine.run("echo", sandbox=Sandbox.CONTAINER)

    assert refusal(lambda: machine.host.start(run)) == "no-sandbox"


def test_output_over_the_cap_is_dropped_counted_and_said(machine: Machine) -> None:
    run = machine.run("echo 0123456789; echo abcdefghij", output_cap=15)

    machine.host.start(run)

    state, output = machine.ended(run)
    assert state.dropped == 7
    assert output == b"0123456789\nabcd\n[ao] dropped 7 bytes\n"


def test_a_look_shows_live_runs_that_nobody_asked_about(machine: Machine) -> None:
    run = machine.run("sleep 300")
    machine.host.start(run)

    look = machine.host.look(cursors={}, wait=5, timeout=10)

    assert [state.id for state in look.runs] == [run.id]
    assert look.chunks == ()


def test_a_look_goes_on_from_the_offset_that_it_is_given(machine: Machine) -> None:
    run = machine.run("echo hello")
    machine.host.start(run)
    machine.ended(run)

    look = machine.host.look(cursors={run.id: 2}, wait=0, timeout=5)

    assert [(chunk.offset, chunk.data) for chunk in look.chunks] == [(2, b"llo\n")]


def test_files_are_written_below_home_and_can_be_read(machine: Machine) -> None:
    run = machine.run("exit 0", files={".config/agent.json": b"{}"})

    machine.host.start(run)

    assert machine.host.read("{home}/.config/agent.json", workspace="w", cap=100) == b"{}"


def test_what_is_written_is_read_back_up_to_the_cap(machine: Machine) -> None:
    machine.host.open_workspace("w")
    room = machine.host.open_workspace("w")
    machine.host.write("work/notes/a.txt", b"12345", workspace="w")
    machine.host.write(f"{room.work}/notes/a.txt", b"123456", workspace="w")

    assert machine.host.read("work/notes/a.txt", workspace="w", cap=6) == b"123456"
    assert refusal(lambda: machine.host.read("work/notes/a.txt", workspace="w", cap=5)) == "too-large"
    assert refusal(lambda: machine.host.read("work/notes/b.txt", workspace="w", cap=5)) == "no-file"
    assert refusal(lambda: machine.host.read("../x", workspace="w", cap=5)) == "outside"
    assert refusal(lambda: machine.host.write("/etc/x", b"", workspace="w")) == "outside"
    assert refusal(lambda: machine.host.read("work/x", workspace="unheard-of", cap=5)) == "no-workspace"


def test_a_removed_workspace_is_gone_with_its_runs_and_may_be_removed_again(machine: Machine) -> None:
    run = machine.run("sleep 300", workspace="doomed")
    machine.host.start(run)
    machine.host.write("work/a", b"1", workspace="doomed")

    machine.host.remove_workspace("doomed")
    machine.host.remove_workspace("doomed")

    assert machine.state(run).live is False
    assert refusal(lambda: machine.host.read("work/a", workspace="doomed", cap=5)) == "no-workspace"
    machine.host.open_workspace("doomed")
    assert refusal(lambda: machine.host.read("work/a", workspace="doomed", cap=5)) == "no-file"
