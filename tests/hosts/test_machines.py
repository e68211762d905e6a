"""The machines of the tests themselves: apart from each other and from this one, and gone afterwards, whatever happened to their test."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hosts.machines import PLACE, clear_stale, machine, needs_machines

pytestmark = [pytest.mark.root, needs_machines]
DIES = """
import os, signal
from tests.hosts.machines import machine
with machine() as made:
    made.inside("sh", "-c", "sleep 4711 > /dev/null 2>&1 &")
    print(made.number, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_machines_share_neither_files_nor_processes_nor_names() -> None:
    with machine() as one, machine() as other:
        one.inside("sh", "-c", "echo here > /etc/only-here; echo here > /tmp/only-here; sleep 4712 > /dev/null 2>&1 &")

        assert one.inside("cat", "/etc/only-here") == "here\n"
        assert other.inside("sh", "-c", "ls /etc/only-here /tmp/only-here 2> /dev/null || echo none") == "none\n"
        assert not Path("/etc/only-here").exists()
        assert (len(one.processes("sleep 4712")), other.processes("sleep 4712")) == (1, [])
        assert one.inside("hostname") != other.inside("hostname")
        one.reboot()
        assert one.inside("cat", "/etc/only-here") == "here\n"
        assert one.processes("sleep 4712") == []


def test_what_a_killed_test_run_left_is_cleared_by_the_next() -> None:
    root = Path(__file__).parents[2]
    dead = subprocess.run(
        [sys.executable, "-c", DIES], cwd=root, stdout=subprocess.PIPE, text=True, check=False, timeout=60
    )
    number = int(dead.stdout)
    assert dead.returncode == -9
    assert str(PLACE / str(number)) in Path("/proc/self/mounts").read_text()

    clear_stale()

    assert str(PLACE / f"{number}/") not in Path("/proc/self/mounts").read_text()
    assert (
        f"ao-test-{number}\n" not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    )
    assert f"aotest{number}:" not in Path("/proc/net/dev").read_text()
    give_up = time.monotonic() + 10
    while b"sleep\0004711\0" in (commands := _commands()):
        assert time.monotonic() < give_up, commands
        time.sleep(0.02)


def _commands() -> set[bytes]:
    found = set()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.add(entry.read_bytes())
        except OSError:
            continue
    return found
