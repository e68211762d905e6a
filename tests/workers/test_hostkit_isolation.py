"""What one workspace's programs can do to another's and to the service: nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from orchestrator.ports import Command, Completed, Refused, Run, Sandbox
from tests.homes import hostkit_home
from workers.hostkit import accounts, disk, processes
from workers.plugins.hosts.local import LocalHost

SANDBOXES = [Sandbox.NONE, Sandbox.BUBBLEWRAP]

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.getuid() != 0, reason="accounts of their own need root")]


@pytest.fixture
def home() -> Iterator[Path]:
    with hostkit_home() as path:
        yield path


@pytest.fixture
def host(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHost]:
    monkeypatch.setenv("AO_SECRET", "planted-canary")
    host = LocalHost(home)
    host.open_workspace("mine")
    host.open_workspace("theirs")
    yield host
    host.close()


def sh(host: LocalHost, script: str, sandbox: Sandbox = Sandbox.NONE, **more: object) -> Completed:
    return host.command(
        Command(argv=("sh", "-c", script), workspace="mine", sandbox=sandbox, **more),  # type: ignore[arg-type]
        timeout=10,
    )


def wait_for(reached: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < give_up, "not reached in time"
        time.sleep(0.005)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value.code


def test_each_workspace_has_an_account_of_its_own_that_comes_back_to_the_pool(host: LocalHost) -> None:
    mine, theirs = host.open_workspace("mine"), host.open_workspace("theirs")
    assert mine.account != theirs.account
    assert host.open_workspace("mine") == mine

    claim = accounts.CLAIMS / mine.account
    claimed = disk.read_json(claim)

    host.remove_workspace("mine")

    assert claimed["workspace"] == "mine"
    assert disk.read_json(claim) != claimed  # free, or already another home's


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_programs_run_as_their_account_without_groups_or_privileges(host: LocalHost, sandbox: Sandbox) -> None:
    account = host.open_workspace("mine").account

    said = (
        sh(host, "id -un; id -Gn; grep -E 'CapEff|NoNewPrivs' /proc/self/status; umask", sandbox)
        .stdout.decode()
        .split()
    )

    assert said[:2] == [account, account]
    assert said[2:] == ["CapEff:", "0000000000000000", "NoNewPrivs:", "1", "0077"]


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_the_environment_is_thin_and_holds_no_secret_of_ours(host: LocalHost, sandbox: Sandbox) -> None:
    env = dict(
        line.split("=", 1) for line in sh(host, "env", sandbox, env={"MINE": "{work}"}).stdout.decode().splitlines()
    )

    room = host.open_workspace("mine")
    assert "planted-canary" not in env.values()
    assert env["HOME"] == room.home
    assert env["TMPDIR"] == room.tmp
    assert env["MINE"] == room.work
    assert set(env) == {
        "PATH", "HOME", "LANG", "TERM", "TMPDIR", "USER", "LOGNAME", "AO_RUN", "MINE", "PWD",
    } | ({"OLDPWD"} & set(env))  # fmt: skip


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_one_workspace_reads_no_file_of_another_or_of_hostkit(host: LocalHost, home: Path, sandbox: Sandbox) -> None:
    host.write("work/secret", b"canary", workspace="theirs")
    theirs = host.open_workspace("theirs").root

    for look in (
        f"cat {theirs}/work/secret",
        f"ls {theirs}/work",
        f"ls {home}/run",
        f"ls {home}/fences",
        "cat /etc/shadow",
    ):
        done = sh(host, look, sandbox)
        assert (done.code != 0, done.stdout) == (True, b""), look
    assert sh(host, f"echo x > {theirs}/work/mark", sandbox).code != 0


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_one_workspace_neither_signals_nor_inspects_processes_of_another(host: LocalHost, sandbox: Sandbox) -> None:
    unique = uuid4().hex
    host.start(
        Run(
            id=f"r-{unique}",
            fence=f"f-{unique}",
            epoch=1,
            workspace="theirs",
            argv=("sleep", "300"),
            env={"THEIRS": "canary"},
        )
    )
    wait_for(lambda: len(processes.marked(f"AO_RUN=r-{unique}".encode())) == 1)
    victim = processes.marked(f"AO_RUN=r-{unique}".encode())[0]

    done = sh(host, f"kill -9 {victim.pid}; cat /proc/{victim.pid}/environ", sandbox)

    assert b"canary" not in done.stdout
    assert done.code != 0
    assert processes.alive(victim)


def test_the_sandbox_shows_the_room_and_the_system_and_nothing_else(host: LocalHost, home: Path) -> None:
    room = host.open_workspace("mine")

    done = sh(
        host,
        f"ls {home} {home}/rooms; ls /root /home /var/lib; ps ax | wc -l; touch $HOME/h $TMPDIR/t x",
        Sandbox.BUBBLEWRAP,
    )

    listed = done.stdout.decode()
    assert listed.split() == [f"{home}:", "rooms", f"{home}/rooms:", "mine", listed.split()[-1]]
    assert int(listed.split()[-1]) < 10
    assert {(Path(room.root) / path).exists() for path in ("home/h", "tmp/t", "work/x")} == {True}


def test_the_sandbox_shows_what_it_is_told_to_show_read_only_even_below_roots_home(
    host: LocalHost, tmp_path: Path
) -> None:
    program = tmp_path / "closed" / "program"  # pytest's folders are for root only
    program.parent.mkdir(mode=0o700)
    program.write_text("#!/bin/sh\necho ran\nid -u\n")
    program.chmod(0o755)
    asked = {"readonly": (str(program),)}

    done = sh(host, f"{program}; grep CapEff /proc/self/status; echo x > {program}", Sandbox.BUBBLEWRAP, **asked)

    ran, uid, _, capabilities = done.stdout.decode().split()
    assert (ran, capabilities) == ("ran", "0" * 16)
    assert uid != "0"
    assert program.read_text().startswith("#!/bin/sh")
    assert sh(host, str(program), Sandbox.NONE).code != 0


def test_without_the_network_a_run_sees_no_interface_but_an_idle_loopback(host: LocalHost) -> None:
    unique = uuid4().hex
    run = Run(
        id=f"r-{unique}",
        fence=f"f-{unique}",
        epoch=1,
        workspace="mine",
        argv=("sh", "-c", "tail -n +3 /proc/net/dev | wc -l"),
        sandbox=Sandbox.BUBBLEWRAP,
        network=False,
    )
    host.start(run)

    wait_for(lambda: not host.start(run).live)

    assert host.look(cursors={run.id: 0}, wait=0, timeout=5).chunks[0].data == b"1\n"


def test_reading_and_writing_follow_no_symlink_of_an_agent(host: LocalHost, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    outside.chmod(0o777)
    target = outside / "file"
    target.write_bytes(b"before")
    target.chmod(0o666)
    sh(host, f"ln -s {target} work-link; ln -s {outside} folder-link; ln -s /etc/passwd p; mkfifo pipe")
    there = host.open_workspace("mine").work

    for path in ("work-link", "folder-link/file", "p", "pipe", "."):
        assert refusal(partial(host.read, f"{there}/{path}", workspace="mine", cap=9999)) in {
            "no-file",
            "outside",
        }
    for path in ("work-link", "folder-link/file", "folder-link/new"):
        assert refusal(partial(host.write, f"{there}/{path}", b"after", workspace="mine")) == "outside"
    assert target.read_bytes() == b"before"
    assert list(outside.iterdir()) == [target]


def test_files_written_by_us_belong_to_the_account(host: LocalHost) -> None:
    host.write("work/deep/er/file", b"x", workspace="mine")

    owner = host.open_workspace("mine").account
    assert sh(host, "stat -c '%U %a' deep deep/er deep/er/file").stdout.decode().split() == [
        owner, "700", owner, "700", owner, "600",
    ]  # fmt: skip


def test_nothing_of_an_account_survives_the_removal_of_its_workspace(host: LocalHost) -> None:
    unique = uuid4().hex
    run = Run(
        id=f"r-{unique}",
        fence=f"f-{unique}",
        epoch=1,
        workspace="mine",
        argv=("sh", "-c", f"echo x > /tmp/left-{unique}; setsid env -i sleep 300 & echo up; sleep 300"),
    )
    room = host.open_workspace("mine")
    host.start(run)
    host.look(cursors={run.id: 0}, wait=5, timeout=10)
    uid = Path(room.root).stat().st_uid

    host.remove_workspace("mine")

    assert not Path(room.root).exists()
    assert not Path(f"/tmp/left-{unique}").exists()
    assert not [pid for pid in processes.every() if owner_of(pid) == uid and processes.stat(pid).state != "Z"]  # type: ignore[union-attr]


def owner_of(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return -1


def test_names_that_would_lead_elsewhere_are_refused(host: LocalHost) -> None:
    for name in ("../x", "", ".hidden", "a/b", "a\0b", "x" * 200):
        assert refusal(partial(host.open_workspace, name)) == "bad-name"
