"""Hosts over SSH when the cable, sshd, serve or the whole machine goes away, and when the machine is not who it was. Rows of the fault list."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest

from orchestrator.domain.addresses import fingerprint
from orchestrator.ports import Command, PortError, Refused, Run, RunEnd, RunState, Unavailable
from tests.hosts.machines import ACCOUNT, UID, Machine, machine, needs_machines
from tests.hosts.reaching import FOLDER, reached, ssh_host
from tests.hosts.service import serves
from workers.plugins.hosts.ssh.host import LINES, OLD_VERSIONS, SshHost

pytestmark = [pytest.mark.root, pytest.mark.faults, needs_machines]
PATIENCE = 45.0
LINES_OF_WORK = 300
# Its lines tell whether one is missing or there twice; it takes about six seconds, whatever the network does.
WORK = f"i=0; while [ $i -lt {LINES_OF_WORK} ]; do echo line $i; i=$((i+1)); sleep 0.02; done; echo last"
ALL_OF_IT = b"".join(b"line %d\n" % number for number in range(LINES_OF_WORK)) + b"last\n"


@pytest.fixture
def spare() -> Iterator[Machine]:
    with machine(own_boot_id=True) as made:
        yield made


@pytest.fixture
def host(spare: Machine) -> Iterator[SshHost]:
    with ssh_host(spare) as host:
        host.open_workspace("w")
        yield host


def a_run(script: str, **more: object) -> Run:
    unique = uuid4().hex
    base = Run(id=f"run-{unique}", fence=f"fence-{unique}", epoch=1, workspace="w", argv=("sh", "-c", script))
    return replace(base, **more)  # type: ignore[arg-type]


class Reader:
    """Reads a run's journal as an installation does: from the offset that it has, whatever failed meanwhile."""

    def __init__(self, host: SshHost, run: Run) -> None:
        self.host, self.run, self.output = host, run, b""

    def look(self, *, wait: float = 0.5) -> RunState:
        look = self.host.look(cursors={self.run.id: len(self.output)}, wait=wait, timeout=2)
        for chunk in look.chunks:
            assert chunk.offset == len(self.output)
            self.output += chunk.data
        return next(state for state in look.runs if state.id == self.run.id)

    def until(self, reached: Callable[[RunState], bool], *, within: float = PATIENCE) -> RunState:
        """Look until it is so; what cannot be reached meanwhile is tried again."""
        give_up = time.monotonic() + within
        while True:
            try:
                state = self.look()
                if reached(state):
                    return state
            except Unavailable:
                time.sleep(0.05)
            assert time.monotonic() < give_up, f"not reached: {self.output[-100:]!r}"

    def to_the_end(self) -> RunState:
        return self.until(lambda state: not state.live and len(self.output) >= state.size)


def failure_of(call: Callable[[], object], *, within: float = PATIENCE) -> PortError:
    """What a call raises, once it raises."""
    give_up = time.monotonic() + within
    while True:
        try:
            call()
        except PortError as error:
            return error
        assert time.monotonic() < give_up, "it goes on working"


def working_again(host: SshHost, *, within: float = PATIENCE) -> float:
    """The seconds until the host answers."""
    began = time.monotonic()
    while True:
        try:
            host.facts(timeout=3)
            return time.monotonic() - began
        except Unavailable:
            assert time.monotonic() - began < within, "it does not come back"
            time.sleep(0.05)


def logged(spare: Machine, words: str) -> str:
    """What sshd has written, once these words are in it after its last start."""
    give_up = time.monotonic() + PATIENCE
    while words not in (log := spare.inside("cat", "/var/log/sshd.log")).rpartition("Server listening")[2]:
        assert time.monotonic() < give_up, f"sshd only says: {log}"
        time.sleep(0.05)
    return log


def test_f5_an_agent_that_is_cut_off_works_on_and_its_journal_catches_up_without_a_gap(
    spare: Machine, host: SshHost
) -> None:
    run = a_run(WORK)
    host.start(run)
    reader = Reader(host, run)
    reader.until(lambda _: b"line 20\n" in reader.output)

    spare.cut()
    assert isinstance(failure_of(reader.look), Unavailable)
    here = len(reader.output)
    over = f"/home/agent/.ao-host/*/fences/{run.fence}/runs/{run.id}/exit"
    give_up = time.monotonic() + PATIENCE
    while not spare.inside("sh", "-c", f"cat {over}.json {over} 2> /dev/null || :").strip():
        assert time.monotonic() < give_up, "the agent does not work on"
        time.sleep(0.05)
    assert len(reader.output) == here < len(ALL_OF_IT)
    spare.heal()

    assert working_again(host) < 10
    state = reader.to_the_end()
    assert (state.end, state.exit_code, reader.output) == (RunEnd.EXITED, 0, ALL_OF_IT)


@pytest.mark.slow
def test_f5_a_cut_of_a_minute_heals_within_ten_seconds(spare: Machine, host: SshHost) -> None:
    run = a_run("echo begun; sleep 300")
    host.start(run)
    reader = Reader(host, run)
    reader.until(lambda _: reader.output == b"begun\n")

    spare.cut()
    healed_at = time.monotonic() + 60
    failures = 0
    while time.monotonic() < healed_at:
        assert isinstance(failure_of(reader.look), Unavailable)
        failures += 1
        time.sleep(1)  # as the channel waits after a failed look
    spare.heal()

    assert failures > 5
    assert working_again(host) < 10
    assert reader.look().live
    assert host.stop(run.id).end is RunEnd.STOPPED


def test_a_host_that_is_unplugged_and_back_has_the_same_agent(spare: Machine, host: SshHost) -> None:
    run = a_run(WORK)
    host.start(run)
    reader = Reader(host, run)
    reader.until(lambda _: b"line 20\n" in reader.output)

    spare.unplug()
    assert isinstance(failure_of(reader.look), Unavailable)
    spare.plug_in()

    assert working_again(host) < 10
    assert reader.to_the_end().exit_code == 0
    assert reader.output == ALL_OF_IT


def test_a_killed_sshd_costs_the_connection_and_no_agent(spare: Machine, host: SshHost) -> None:
    run = a_run(WORK)
    host.start(run)
    reader = Reader(host, run)
    reader.until(lambda _: b"line 20\n" in reader.output)

    spare.kill_sshd()
    said = failure_of(reader.look)
    assert isinstance(said, Unavailable)
    assert isinstance(failure_of(host.facts), Unavailable)
    spare.start_sshd()

    assert working_again(host) < 10
    assert reader.to_the_end().exit_code == 0
    assert reader.output == ALL_OF_IT


def test_f2_a_killed_serve_is_started_again_and_finds_its_agents(spare: Machine, host: SshHost) -> None:
    run = a_run(WORK)
    host.start(run)
    reader = Reader(host, run)
    reader.until(lambda _: b"line 20\n" in reader.output)

    for _ in range(3):
        (serve,) = serves(spare)
        spare.kill(serve)
        reader.until(lambda state: state.live)

    assert reader.to_the_end().exit_code == 0
    assert reader.output == ALL_OF_IT


def test_f4_a_rebooted_host_says_so_and_its_agents_are_lost_and_not_restarted(spare: Machine, host: SshHost) -> None:
    run = a_run("echo begun; sleep 300")
    host.start(run)
    reader = Reader(host, run)
    reader.until(lambda _: reader.output == b"begun\n")
    before = host.facts().boot_id

    spare.reboot()

    assert working_again(host) < 15
    assert host.facts().boot_id != before
    state = reader.to_the_end()
    assert (state.end, state.detail, reader.output) == (RunEnd.LOST, "the machine was restarted", b"begun\n")
    assert host.start(run).end is RunEnd.LOST
    assert spare.processes("sleep 300") == []


def test_f4_a_host_that_is_off_is_unavailable_soon_and_each_call_keeps_its_deadline(
    spare: Machine, host: SshHost
) -> None:
    spare.power_off()

    for _ in range(6):
        began = time.monotonic()
        assert isinstance(failure_of(lambda: host.facts(timeout=3)), Unavailable)
        assert time.monotonic() - began < 6

    spare.boot()
    assert working_again(host) < 15


def test_f6_an_agent_past_its_deadline_is_stopped_though_nobody_can_reach_it(spare: Machine, host: SshHost) -> None:
    run = a_run("echo begun; sleep 300", deadline=host.facts().boottime + 4)
    host.start(run)
    assert len(spare.processes("sleep 300")) == 2

    spare.cut()
    give_up = time.monotonic() + PATIENCE
    while spare.processes("sleep 300"):
        assert time.monotonic() < give_up, "the guard does not stop it"
        time.sleep(0.05)
    spare.heal()

    assert Reader(host, run).until(lambda state: not state.live).end is RunEnd.DEADLINE
    successor = replace(run, id=f"{run.id}-next", epoch=2, deadline=None)
    assert host.start(successor).live
    with pytest.raises(Refused, match=r"epoch 1 of .* is lower"):
        host.start(replace(run, id=f"{run.id}-late"))


def test_f25_a_changed_host_key_is_refused_with_both_fingerprints_and_the_way_out(
    spare: Machine, host: SshHost
) -> None:
    pinned = fingerprint(spare.host_key)
    spare.change_host_key()
    now = fingerprint(spare.host_key)

    said = failure_of(host.facts)
    while isinstance(said, Unavailable):  # the connection that was there breaks first
        said = failure_of(host.facts)

    assert isinstance(said, Refused)
    assert said.code == "host-key-changed"
    assert said.evidence == {"host": "spare", "pinned": pinned, "shown": now}
    assert all(word in str(said) for word in ("spare", pinned, now, f"ao host add agent@{spare.address} --name spare"))
    # No key of ours was shown to the impostor.
    assert "publickey" not in logged(spare, "[preauth]").rpartition("Server listening")[2]
    with ssh_host(spare) as pinned_anew:
        assert pinned_anew.facts().git


def test_t18_keys_that_do_not_fit_are_refused_once_and_then_for_a_while_without_asking(spare: Machine) -> None:
    other = spare.folder / "other"
    spare.inside("true")
    other.write_bytes(spare.key.read_bytes())
    other.chmod(0o600)
    (spare.root / "etc/ssh/test_authorized_keys").write_text("")
    host = SshHost(reached(spare, key_path=str(other)))

    failures = [failure_of(host.facts) for _ in range(20)]

    assert {(type(error), error.code) for error in failures if isinstance(error, Refused)} == {(Refused, "no-access")}
    assert len(failures) == 20
    assert logged(spare, "authenticating user agent").count("authenticating user agent") == 1


@pytest.mark.parametrize(("missing", "code"), [("python3", "no-python"), ("git", "no-git")])
def test_a_host_without_what_it_needs_is_refused_and_usable_once_it_has_it(missing: str, code: str) -> None:
    with machine(missing=[missing]) as bare, ssh_host(bare) as host:
        said = failure_of(host.facts)

        assert isinstance(said, Refused)
        assert (said.code, bare.address in str(said)) == (code, True)
        assert f"apt install {missing}" in str(said)


def test_f17_a_full_disk_is_unavailable_and_goes_on_when_there_is_room(spare: Machine, host: SshHost) -> None:
    run = a_run("echo begun; sleep 300")
    host.start(run)
    spare.fill()

    said = failure_of(lambda: host.open_workspace("another"))
    assert isinstance(said, Unavailable)
    assert "is full" in str(said)
    assert Reader(host, run).look(wait=0).live

    spare.make_room()
    assert host.open_workspace("another").workspace == "another"
    assert host.stop(run.id).end is RunEnd.STOPPED


def test_f17_a_disk_that_is_full_before_hostkit_is_there_is_unavailable_too(spare: Machine) -> None:
    spare.fill()
    with ssh_host(spare) as host:
        said = failure_of(host.facts)
        assert isinstance(said, Unavailable)
        assert "No space left" in str(said)
        spare.make_room()
        assert host.facts().git


def test_of_older_versions_of_hostkit_only_the_newest_few_stay(spare: Machine) -> None:
    lib = f"/home/{ACCOUNT}/.ao-host/{FOLDER}/lib"
    years = range(2015, 2025)
    make = [f"mkdir -p {lib}/v{year}/workers && touch -d {year}-01-01 {lib}/v{year}" for year in years]
    spare.inside("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "sh", "-c", " && ".join(make))
    with ssh_host(spare) as host:
        ours = host.facts().hostkit
        assert set(spare.inside("ls", lib).split()) == {ours, *(f"v{year}" for year in years[-OLD_VERSIONS:])}
        assert len(serves(spare)) == 1


def test_start_files_that_print_and_dawdle_do_not_get_in_the_way(spare: Machine) -> None:
    (spare.root / "home/agent/.bashrc").write_text(
        "echo Welcome to this machine; printf 'no newline'; echo words >&2\n"
    )
    with ssh_host(spare) as host:
        assert host.command(Command(argv=("echo", "fine"))).stdout == b"fine\n"


def test_more_calls_than_channels_wait_for_each_other_on_one_connection(spare: Machine, host: SshHost) -> None:
    with ThreadPoolExecutor(4 * LINES) as pool:
        calls = [
            pool.submit(host.command, Command(argv=("sh", "-c", f"sleep 0.2; echo {n}"))) for n in range(4 * LINES)
        ]
        assert [call.result().stdout for call in calls] == [b"%d\n" % n for n in range(4 * LINES)]

    assert len(spare.processes("sshd: agent")) == 2  # the connection, and its privileged half
    assert 1 < len(spare.processes("workers.hostkit.bridge")) <= LINES


def test_a_line_that_nobody_speaks_on_is_closed_by_the_host_and_dialled_again(spare: Machine, host: SshHost) -> None:
    lines = spare.processes("workers.hostkit.bridge")
    assert lines
    for pid in lines:
        spare.inside("kill", "-9", str(pid))

    assert host.facts().git
