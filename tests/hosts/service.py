"""The whole service over machines of a test: they take its sessions, and this machine takes none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from tests.hosts.machines import ACCOUNT, Machine
from tests.installation import ROOT, Installation

# The process that listens: guards are its children, and look like it.
_SERVE = """
import glob, os
inodes = {line.split()[6] for line in open("/proc/net/unix") if line.split()[3] == "00010000" and line.strip().endswith("/serve.sock")}
for handle in glob.glob("/proc/[0-9]*/fd/*"):
    try:
        if os.readlink(handle)[8:-1] in inodes:
            print(handle.split("/")[2])
    except OSError:
        pass
"""


def take_sessions(here: Installation, machines: Sequence[Machine], *, slots: int) -> None:
    """Let these machines take so many sessions each."""
    for one in machines:
        reached = ["host", "add", f"{ACCOUNT}@{one.address}", "--key", str(one.key), "--yes", "--name", one.name]
        argv = [sys.executable, "-m", "ops.local.main", *reached, "--slots", str(slots), "--home", str(here.home)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stderr
    assert here.call("PATCH", "/hosts/local/", json={"capacity": 0}).status_code == 200


def rooms(one: Machine) -> str:
    """What stands in the rooms of sessions on the machine."""
    return one.inside("sh", "-c", f"ls /home/{ACCOUNT}/.ao-host/*/rooms")


def serves(one: Machine) -> list[int]:
    """hostkit's serve, by the machine's own numbers."""
    return [int(pid) for pid in one.inside("python3", "-c", _SERVE).split()]
