"""hostkit when something is killed, floods, strays or fills the disk."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from orchestrator.ports import Command, Refused, Run, RunEnd, RunState, Sandbox, Unavailable
from tests.homes import hostkit_home, kill_serve, serve_of
from workers.hostkit import disk, processes, records, release
from workers.plugins.hosts import local
from workers.plugins.hosts.local import LocalHost

PATIENCE = 60.0
COUNT = "i=0; while [ $i -lt 4000 ]; do echo line $i; i=$((i+1)); done; sleep 0.3; echo last"
SANDBOXES = [Sandbox.NONE, Sandbox.BUBBLEWRAP]


@pytest.fixture
def home() -> Iterator[Path]:
    with hostkit_home() as path:
        yield path


@pytest.fixture
def host(home: Path) -> Iterator[LocalHost]:
    host = LocalHost(home)
    host.open_workspace("w")
    yield host
    host.close()


def a_run(script: str, **more: object) -> Run:
    unique = uuid4().hex
    base = Run(id=f"run-{unique}", fence=f"fence-{unique}", epoch=1, workspace="w", argv=("sh", "-c", script))
    return replace(base, **more)  # type: ignore[arg-type]


def wait_for(reached: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < give_up, "not reached in time"
        time.sleep(0.005)


def read_to_end(host: LocalHost, run: Run) -> tuple[RunState, bytes]:
    output, give_up = b"", time.monotonic() + PATIENCE
    while True:
        look = host.look(cursors={run.id: len(output)}, wait=1, timeout=10)
        for chunk in look.chunks:
            assert chunk.offset == len(output)
            output += chunk.data
        state = next(state for state in look.runs if state.id == run.id)
        if not state.live and len(output) >= state.size:
            return state, output
        assert time.monotonic() < give_up, f"still live: {state}"


def carriers(run: Run) -> list[processes.Process]:
    """The processes that carry the run's marker."""
    return processes.marked(f"AO_RUN={run.id}:".encode())


def folder_of(home: Path, run: Run) -> records.RunFolder:
    return records.RunFolder(home / "fences" / run.fence / "runs" / run.id)


def guard_of(home: Path, run: Run) -> processes.Process:
    identity = folder_of(home, run).identity()
    assert identity is not None
    guard = records.guard_of(identity)
    assert guard is not None
    return guard


@pytest.mark.faults
def test_killing_serve_stops_nothing_and_loses_nothing(home: Path, host: LocalHost) -> None:
    run = a_run(COUNT)
    host.start(run)
    guard = guard_of(home, run)

    for _ in range(3):
        kill_serve(home)
        host.look(cursors={run.id: 0}, wait=0, timeout=5)
        assert guard_of(home, run) == guard

    state, output = read_to_end(host, run)
    assert state.end is RunEnd.EXITED
    assert output == b"".join(b"line %d\n" % number for number in range(4000)) + b"last\n"


@pytest.mark.faults
def test_a_start_repeated_over_the_death_of_serve_starts_once(home: Path, host: LocalHost) -> None:
    run = a_run("echo started; sleep 300")
    host.start(run)
    kill_serve(home)

    states = [host.start(run) for _ in range(3)]

    assert [state.live for state in states] == [True, True, True]
    assert len(list((home / "fences" / run.fence / "runs").iterdir())) == 1
    wait_for(lambda: len(carriers(run)) == 2)  # the shell and its sleep


def test_a_hundred_starts_of_one_id_at_once_start_one_program(host: LocalHost) -> None:
    run = a_run("echo started; sleep 0.2")
    threads = [threading.Thread(target=host.start, args=(run,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert read_to_end(host, run)[1] == b"started\n"


@pytest.mark.faults
@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_killing_the_guard_kills_the_program_and_its_strays_and_is_recorded_as_lost(
    home: Path, host: LocalHost, sandbox: Sandbox
) -> None:
    run = a_run("setsid sleep 300 & setsid env -i sleep 301 & echo up; sleep 300", sandbox=sandbox)
    host.start(run)
    wait_for(lambda: folder_of(home, run).size() > 0)
    below = processes.descendants([guard_of(home, run).pid])

    processes.kill(guard_of(home, run), signal.SIGKILL)

    state, _ = read_to_end(host, run)
    assert state.end is RunEnd.LOST
    assert len(below) >= 4
    wait_for(lambda: not any(processes.alive(process) for process in below))


@pytest.mark.faults
def test_a_guard_killed_while_serve_is_dead_is_found_lost_and_swept(home: Path, host: LocalHost) -> None:
    run = a_run("setsid sleep 300 & echo up; sleep 300")
    host.start(run)
    wait_for(lambda: folder_of(home, run).size() > 0)
    guard = guard_of(home, run)
    kill_serve(home)
    processes.kill(guard, signal.SIGKILL)

    state, _ = read_to_end(host, run)

    assert state.end is RunEnd.LOST
    assert carriers(run) == []


@pytest.mark.faults
def test_a_deadline_that_passes_while_serve_is_dead_still_ends_the_run(home: Path, host: LocalHost) -> None:
    run = a_run("setsid sleep 300 & sleep 300", deadline=host.facts().boottime + 0.4)
    host.start(run)
    kill_serve(home)

    wait_for(lambda: folder_of(home, run).ending() is not None)

    assert serve_of(home) is None
    assert carriers(run) == []
    assert host.start(run).end is RunEnd.DEADLINE


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_what_a_program_leaves_behind_is_killed_when_it_ends(home: Path, host: LocalHost, sandbox: Sandbox) -> None:
    daemons = (
        "for i in 1 2 3; do setsid sh -c 'sleep 300 & sleep 300' & done; setsid env -i sleep 300 & sleep 0.2; exit 4"
    )
    run = a_run(daemons, sandbox=sandbox)
    host.start(run)
    guard = guard_of(home, run)
    wait_for(lambda: len(processes.descendants([guard.pid])) > 6)
    below = processes.descendants([guard.pid])

    state, _ = read_to_end(host, run)

    assert (state.end, state.exit_code) == (RunEnd.EXITED, 4)
    assert not any(processes.alive(process) for process in below)


def test_a_program_that_ignores_interrupt_and_terminate_is_killed(host: LocalHost) -> None:
    run = a_run("trap '' INT TERM; echo up; while :; do sleep 0.05; done")
    host.start(run)
    host.look(cursors={run.id: 0}, wait=2, timeout=5)

    state = host.stop(run.id, timeout=2)

    assert (state.end, state.signal) == (RunEnd.STOPPED, 9)
    assert carriers(run) == []


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_program_may_end_in_its_own_way_when_interrupted(host: LocalHost, sandbox: Sandbox) -> None:
    run = a_run("trap 'echo bye; exit 7' INT; echo up; while :; do sleep 0.01; done", sandbox=sandbox)
    host.start(run)
    host.look(cursors={run.id: 0}, wait=2, timeout=5)

    state = host.stop(run.id)

    assert (state.end, state.exit_code) == (RunEnd.STOPPED, 7)
    assert read_to_end(host, run)[1].endswith(b"bye\n")


@pytest.mark.faults
def test_a_fork_bomb_is_killed_by_its_deadline(host: LocalHost) -> None:
    bomb = "b() { setsid sh -c 'while :; do sleep 0.02 & done' & }; b; b; b; wait; sleep 300"
    run = a_run(bomb, deadline=host.facts().boottime + 0.5)
    host.start(run)

    state, _ = read_to_end(host, run)

    assert state.end is RunEnd.DEADLINE
    assert carriers(run) == []


@pytest.mark.faults
def test_a_flood_stays_within_the_cap_on_disk_and_in_memory(home: Path, host: LocalHost) -> None:
    cap = 1024 * 1024
    run = a_run("head -c 300000000 /dev/zero", output_cap=cap)
    host.start(run)

    state, output = read_to_end(host, run)

    said = re.fullmatch(rb"\0{%d}\n\[ao\] dropped (\d+) bytes\n" % cap, output)
    assert said is not None
    assert int(said[1]) == state.dropped == 300_000_000 - cap
    peak = Path(f"/proc/{serve_of(home).pid}/status").read_text()  # type: ignore[union-attr]
    assert int(re.search(r"VmHWM:\s+(\d+) kB", peak)[1]) < 40_000  # type: ignore[index]


def test_a_look_returns_within_moments_of_new_output(host: LocalHost) -> None:
    run = a_run("cat", keep_stdin_open=True)
    host.start(run)
    spans = []
    for number in range(10):
        timer = threading.Timer(0.03, host.send, args=(run.id,), kwargs={"message": f"m{number}", "data": b"x"})
        timer.start()
        look = host.look(cursors={run.id: number}, wait=5, timeout=10)
        spans.append(time.monotonic())
        assert [chunk.data for chunk in look.chunks] == [b"x"]
        timer.join()
        spans[-1] -= folder_written_at(host, run)
    assert sorted(spans)[5] < 0.05


def folder_written_at(host: LocalHost, run: Run) -> float:
    """When the journal was written last, on the monotonic clock."""
    journal = next(Path(host.facts().home).glob(f"fences/*/runs/{run.id}/journal"))
    return time.monotonic() - (time.time() - journal.stat().st_mtime)


def test_a_quiet_run_is_seen_beside_one_that_floods(host: LocalHost) -> None:
    loud = [a_run("head -c 8000000 /dev/zero; sleep 300") for _ in range(6)]
    quiet = a_run("echo here; sleep 300")
    for run in (*loud, quiet):
        host.start(run)
    cursors = {run.id: 0 for run in (*loud, quiet)}
    looks = 0
    while cursors[quiet.id] == 0:
        for chunk in host.look(cursors=cursors, wait=1, timeout=5).chunks:
            assert len(chunk.data) <= 256 * 1024
            cursors[chunk.run] += len(chunk.data)
        looks += 1

    assert looks <= 20


@pytest.mark.faults
def test_an_older_serve_hands_over_and_its_runs_do_not_notice(
    home: Path, host: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run("sleep 0.5; echo survived")
    host.start(run)
    before, guard = host.facts().hostkit, guard_of(home, run)
    newer = tmp_path / "kit"
    newer.mkdir()
    for name in release.FILES:
        (newer / name).write_bytes((local.SOURCE / name).read_bytes())
    (newer / "__init__.py").write_text("# newer\n")
    os.utime(newer / "__init__.py", (time.time() + 10, time.time() + 10))
    monkeypatch.setattr(local, "SOURCE", newer)

    successor = LocalHost(home)

    assert successor.facts().hostkit not in ("", before)
    assert guard_of(home, run) == guard
    assert read_to_end(successor, run)[1] == b"survived\n"
    assert host.facts().hostkit == successor.facts().hostkit
    successor.close()


def test_two_control_planes_starting_serve_at_once_get_one(home: Path) -> None:
    code = (
        "import sys, pathlib; from workers.plugins.hosts.local import LocalHost;"
        "print(LocalHost(pathlib.Path(sys.argv[1])).facts().hostkit)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(home)], cwd=Path.cwd(), stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    answers = {process.communicate(timeout=20)[0] for process in started}

    assert len(answers) == 1
    assert len(serves_of(home)) == 1


def serves_of(home: Path) -> list[int]:
    found = []
    for pid in processes.every():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(home).encode() in words and b"-S" in words:
            found.append(pid)
    return found


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk")
@pytest.mark.faults
def test_on_a_full_disk_nothing_starts_and_what_runs_waits_for_room(home: Path) -> None:
    home.mkdir(mode=0o711)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0711", "tmpfs", str(home)], check=True)
    try:
        host = LocalHost(home)
        host.open_workspace("w")
        run = a_run("sleep 0.2; head -c 3000000 /dev/zero; sleep 0.2; echo end")
        host.start(run)
        fill = home / "fill"
        with fill.open("wb") as filling:
            filling.write(b"x" * (host.facts().free_bytes - 1024 * 1024))

        with pytest.raises(Unavailable, match=r"full: [0-9]+ bytes free"):
            host.start(a_run("echo"))
        wait_for(lambda: folder_of(home, run).size() > 900_000)
        assert folder_of(home, run).ending() is None
        fill.unlink()

        state, output = read_to_end(host, run)
        assert (state.end, state.dropped) == (RunEnd.EXITED, 0)
        assert output == bytes(3_000_000) + b"end\n"
        host.close()
    finally:
        kill_serve(home)
        subprocess.run(["umount", "-l", str(home)], check=True)


def test_a_command_answers_what_it_said_and_how_it_ended(host: LocalHost) -> None:
    done = host.command(Command(argv=("sh", "-c", "cat; echo no >&2; exit 9"), workspace="w", stdin=b"in" * 200_000))

    assert (done.code, done.stdout, done.stderr, done.truncated) == (9, b"in" * 200_000, b"no\n", False)


def test_a_program_ignores_and_blocks_no_signal(host: LocalHost) -> None:
    run = a_run("", argv=("grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"))
    host.start(run)
    asked = host.command(Command(argv=run.argv, workspace="w"))

    none = "0" * 16
    for output in (asked.stdout, read_to_end(host, run)[1]):
        assert output.decode().split() == ["SigBlk:", none, "SigIgn:", none]


def test_a_large_answer_of_a_command_arrives_whole_and_one_over_the_cap_is_cut(host: LocalHost) -> None:
    large = Command(argv=("head", "-c", "30000000", "/dev/zero"), workspace="w", output_cap=40_000_000)

    assert host.command(large).stdout == bytes(30_000_000)
    cut = host.command(replace(large, output_cap=1000))
    assert (cut.stdout, cut.truncated) == (bytes(1000), True)


def test_a_command_that_takes_too_long_is_killed_with_all_it_started(host: LocalHost) -> None:
    mark = f"6{uuid4().int % 10**8}"
    script = f"setsid sleep {mark} & sleep {mark}"

    with pytest.raises(Unavailable, match="took too long"):
        host.command(Command(argv=("sh", "-c", script), workspace="w"), timeout=0.4)

    assert not [pid for pid in processes.every() if mark.encode() in command_line(pid)]


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_command_ends_with_its_program_even_when_a_child_keeps_its_output_open(host: LocalHost) -> None:
    began = time.monotonic()

    done = host.command(Command(argv=("sh", "-c", "sleep 300 & echo out"), workspace="w"))

    assert done.stdout == b"out\n"
    assert time.monotonic() - began < 5


def test_a_slow_command_delays_nobody(host: LocalHost) -> None:
    slow = threading.Thread(target=host.command, args=(Command(argv=("sleep", "1"), workspace="w"),))
    slow.start()
    began = time.monotonic()
    for _ in range(20):
        host.facts()

    assert time.monotonic() - began < 0.5
    slow.join()


def test_tombstones_are_kept_a_week_and_then_forgotten_with_their_runs(home: Path, host: LocalHost) -> None:
    run = a_run("echo")
    host.start(run)
    host.end(run.fence, epoch=1)
    fence = home / "fences" / run.fence
    with pytest.raises(Refused):
        host.start(replace(run, id=f"{run.id}-b"))
    disk.write_json(fence / "fence.json", {"epoch": 1, "ended_at": time.time() - 8 * 24 * 3600})

    kill_serve(home)
    host.facts()

    wait_for(lambda: not fence.exists())
