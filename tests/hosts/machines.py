"""Machines for tests, made and taken down in about a second: each has its own network, root, processes, host name, accounts and sshd.

A machine is a network namespace behind a virtual cable, with an overlay of this machine's root as its disk. Whatever its test does, nothing
of it stays: a machine whose test run is dead is found by its lock, which nobody holds any more, and taken down by the next run.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from workers.hostkit.accounts import PREFIX

PLACE = Path("/run/ao-test-hosts")
SSHD = "/usr/sbin/sshd"
PROGRAMS = ("ip", "nsenter", "unshare", "setpriv", "pivot_root", "ssh-keygen", SSHD)
ACCOUNT, UID = "agent", 4711
ACCOUNTS = 30_000  # numbers of accounts from here on are those of machines
NOWHERE = "02:00:00:00:00:01"  # a network card that nobody has
MOST = 200
PATIENCE = 10.0

_INIT = r"""
set -e
root=$1 name=$2 boot_id=$3
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
for folder in run tmp root dev/shm; do mount -t tmpfs -o mode=0755 tmpfs "$root/$folder"; done
chmod 1777 "$root/tmp" "$root/dev/shm"
mkdir "$root/run/sshd"
shift 3
for folder; do mkdir -p "$root$folder"; mount --bind "$folder" "$root$folder"; done
[ -z "$boot_id" ] || mount --bind "$boot_id" "$root/proc/sys/kernel/random/boot_id"
hostname "$name"
cd "$root"
pivot_root . mnt
umount -l /mnt
echo up
exec > /dev/null
exec /bin/bash -c 'sleep infinity & wait'
"""


def impossible() -> str:
    """Why no machines can be made here, or nothing."""
    if os.geteuid() != 0:
        return "hosts in namespaces need root"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"hosts in namespaces need {', '.join(missing)}: apt install openssh-server iproute2" if missing else ""


needs_machines = pytest.mark.skipif(bool(impossible()), reason=impossible())


@dataclass(slots=True, kw_only=True)
class Machine:
    """One machine. Its disk outlives a reboot; its processes do not."""

    number: int
    lock: int
    own_boot_id: bool
    init: subprocess.Popen[str] | None = None
    missing: Sequence[str] = ()
    shown: Sequence[str] = ()

    @property
    def name(self) -> str:
        return f"ao-test-{self.number}"

    @property
    def cable(self) -> str:
        return f"aotest{self.number}"

    @property
    def folder(self) -> Path:
        return PLACE / str(self.number)

    @property
    def root(self) -> Path:
        """The machine's disk, as seen from here."""
        return self.folder / "root"

    @property
    def address(self) -> str:
        # Of the block that is set aside for testing networks (RFC 2544).
        return f"198.18.{self.number}.2"

    @property
    def gateway(self) -> str:
        """Our end of its cable."""
        return f"198.18.{self.number}.1"

    @property
    def key(self) -> Path:
        """The private key that opens every account."""
        return self.folder / "key"

    @property
    def host_key(self) -> str:
        """What the machine proves that it is itself with: type and key, as known_hosts files say it."""
        return " ".join((self.root / "etc/ssh/test_host_key.pub").read_text().split()[:2])

    # --- what a test does to it ---

    def cut(self) -> None:
        """Swallow everything between here and there, silently: nobody is told that the way is closed."""
        for where, theirs, device in ((), self.address, self.cable), (("-n", self.name), self.gateway, "eth0"):
            _run("ip", *where, "neigh", "replace", theirs, "lladdr", NOWHERE, "dev", device, "nud", "permanent")

    def heal(self) -> None:
        for where, theirs, device in ((), self.address, self.cable), (("-n", self.name), self.gateway, "eth0"):
            _run("ip", *where, "neigh", "del", theirs, "dev", device)

    def unplug(self) -> None:
        """Pull the cable out of the machine."""
        _run("ip", "-n", self.name, "link", "set", "eth0", "down")

    def plug_in(self) -> None:
        _run("ip", "-n", self.name, "link", "set", "eth0", "up")

    def power_off(self) -> None:
        """Every process is gone at once, and nobody says goodbye."""
        self.unplug()
        if self.init is not None:
            self.init.kill()
            self.init.wait(PATIENCE)
            self.init = None

    def boot(self) -> None:
        """Start it, up to a sshd that listens."""
        boot_id = ""
        if self.own_boot_id:
            (self.folder / "boot_id").write_text(f"{uuid4()}\n")
            boot_id = str(self.folder / "boot_id")
        # It dies with us: what a killed test run leaves is mounts and names, never processes.
        apart = ("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--propagation", "private")
        argv = (
            "setpriv",
            "--pdeathsig",
            "KILL",
            "ip",
            "netns",
            "exec",
            self.name,
            *apart,
            "/bin/sh",
            "-c",
            _INIT,
            "init",
        )
        words = (*argv, str(self.root), self.name, boot_id, *self.shown)
        self.init = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self.init.stdout is not None
        with self.init.stdout as said:
            assert said.readline() == "up\n", f"{self.name} does not boot"
        self.plug_in()
        self.start_sshd()

    def shown_the_way_to(self, address: str) -> None:
        """Let it find an address of ours that is not on its own cable."""
        if address != self.gateway:
            _run("ip", "-n", self.name, "route", "add", address, "via", self.gateway)

    def reboot(self) -> None:
        self.power_off()
        self.boot()

    def inside(self, *argv: str, stdin: str = "") -> str:
        """What a program prints that is run on the machine as root."""
        return _run(*self.entering(), *argv, stdin=stdin)

    def entering(self) -> tuple[str, ...]:
        """What to put before a command line that is to run on the machine."""
        return ("nsenter", "--target", str(self._first), *_NAMESPACES, "--")

    def start_sshd(self) -> None:
        options = {
            "ListenAddress": self.address,
            "HostKey": "/etc/ssh/test_host_key",
            "AuthorizedKeysFile": "/etc/ssh/test_authorized_keys",
            "PidFile": "/run/sshd.pid",
            "PasswordAuthentication": "no",
            "UsePAM": "no",
            "UseDNS": "no",
            "Subsystem": "sftp internal-sftp",
        }
        told = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        self.inside(SSHD, "-f", "/dev/null", "-E", "/var/log/sshd.log", *told)
        # It goes into the background before it listens.
        _until(lambda: ":0016 00000000:0000 0A" in self.inside("cat", "/proc/net/tcp"), f"{self.name} listens")

    def kill_sshd(self) -> None:
        """Kill sshd and every session of it; what they started lives on."""
        for line in self.inside("ps", "-eo", "pid=,comm=").splitlines():
            pid, command = line.split(maxsplit=1)
            if command.startswith("sshd"):
                self.kill(int(pid))

    def kill(self, pid: int) -> None:
        """kill -9 of one of its processes, by its own number; one that is gone is none."""
        self.inside("/bin/sh", "-c", 'kill -9 "$1" 2> /dev/null || true', "kill", str(pid))

    def processes(self, word: str) -> list[int]:
        """The processes of the machine, by its own numbers, whose command line holds a word."""
        lines = self.inside("ps", "-ww", "-eo", "pid=,args=").splitlines()
        return [int(line.split()[0]) for line in lines if word in line and "ps -ww" not in line]

    def change_host_key(self) -> None:
        """What an impostor or a new installation would have."""
        self.kill_sshd()
        self._make_host_key()
        self.start_sshd()

    def fill(self, *, leave: int = 0) -> None:
        """Write its disk full, but for `leave` bytes."""
        stats = os.statvfs(self.folder / "disk")
        size, step = 0, max(4096, stats.f_bavail * stats.f_frsize - leave)
        with (self.root / "var/filler").open("wb") as filler:
            while step >= 4096:
                try:
                    os.posix_fallocate(filler.fileno(), size, step)
                    size += step
                    step = 0 if leave else step
                except OSError:
                    step //= 2  # somebody else writes too

    def make_room(self) -> None:
        (self.root / "var/filler").unlink()

    # --- making it ---

    def make(self, *, size: str) -> None:
        """Everything but the processes."""
        self.folder.mkdir(exist_ok=True)
        _run("ip", "netns", "add", self.name)
        _run("ip", "link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        here = [f"addr add {self.gateway}/30 dev {self.cable}", f"link set {self.cable} up"]
        there = [f"addr add {self.address}/30 dev eth0", "link set eth0 up", "link set lo up"]
        _run("ip", "-batch", "-", stdin="\n".join(here))
        _run("ip", "-n", self.name, "-batch", "-", stdin="\n".join(there))
        disk = self.folder / "disk"
        for path in (disk, self.root):
            path.mkdir()
        _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk))
        for path in (disk / "upper", disk / "work"):
            path.mkdir()
        layers = f"lowerdir=/,upperdir={disk}/upper,workdir={disk}/work"
        _run("mount", "-t", "overlay", "-o", layers, "overlay", str(self.root))
        self._furnish()

    def _furnish(self) -> None:
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(self.key))
        shutil.copy(self.key.with_suffix(".pub"), self.root / "etc/ssh/test_authorized_keys")
        self._make_host_key()
        lines = {
            "passwd": f"{ACCOUNT}:x:{UID}:{UID}::/home/{ACCOUNT}:/bin/bash",
            "shadow": f"{ACCOUNT}:*:19000:0:99999:7:::",
            "group": f"{ACCOUNT}:x:{UID}:",
        }
        for name, line in lines.items():
            file = self.root / "etc" / name
            kept = [old for old in file.read_text().splitlines() if not old.startswith(PREFIX)]
            file.write_text("\n".join([*kept, line, ""]))
        self._number_accounts()
        home = self.root / "home" / ACCOUNT
        home.mkdir(mode=0o755)
        os.chown(home, UID, UID)
        # Not this machine's: its claims on accounts, its installation.
        for path in ("var/lib/ao-accounts", "var/lib/ao"):
            shutil.rmtree(self.root / path, ignore_errors=True)
        for name in self.missing:
            for folder in ("usr/bin", "usr/local/bin", "bin"):
                for program in (self.root / folder).glob(f"{name}*"):
                    program.unlink(missing_ok=True)

    def _number_accounts(self) -> None:
        """Its pool of accounts has numbers that nobody else has: all machines here share one kernel, and whoever clears an account of this
        machine kills what runs under its number on all of them."""
        first = ACCOUNTS + 100 * self.number
        bounds = {"MIN": first, "MAX": first + 99}
        with (self.root / "etc/login.defs").open("a") as file:
            for kind in ("UID", "GID"):
                file.writelines(f"SYS_{kind}_{end} {value}\n" for end, value in bounds.items())

    def _make_host_key(self) -> None:
        path = self.root / "etc/ssh/test_host_key"
        for old in (path, path.with_suffix(".pub")):
            old.unlink(missing_ok=True)
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path))

    def take_down(self) -> None:
        """Afterwards nothing of it is left. Works on a machine that was made by half, and on one whose test run is dead."""
        if self.init is not None:
            self.init.kill()
            self.init.wait(PATIENCE)
            self.init = None
        for pid in _run("ip", "netns", "pids", self.name, check=False).split():
            _kill(int(pid))
        for mounted in (self.root, self.folder / "disk"):
            _until(lambda path=mounted: not path.is_mount() or _umount(path), f"{mounted} is not mounted")  # type: ignore[misc]
        _run("ip", "link", "del", self.cable, check=False)
        _run("ip", "netns", "del", self.name, check=False)
        shutil.rmtree(self.folder)

    @property
    def _first(self) -> int:
        """The machine's first process, by our numbers."""
        assert self.init is not None, f"{self.name} is off"
        pid = self.init.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--wd=/")


@contextmanager
def machine(
    *, size: str = "512m", own_boot_id: bool = False, missing: Sequence[str] = (), shown: Sequence[str] = ()
) -> Iterator[Machine]:
    """A running machine. `missing` names programs that it lacks, `shown` folders of ours that it has although they are in places which are
    its own; `own_boot_id` gives it one that changes with each boot, at the price that
    sandboxes of accounts other than root do not work there."""
    PLACE.mkdir(exist_ok=True)
    clear_stale()
    number, lock = _claim()
    made = Machine(number=number, lock=lock, own_boot_id=own_boot_id, missing=missing, shown=shown)
    try:
        made.make(size=size)
        made.boot()
        yield made
    finally:
        made.take_down()
        _lock_file(number).unlink(missing_ok=True)
        os.close(lock)


def clear_stale() -> None:
    """Take down the machines of test runs that are dead."""
    for path in PLACE.glob("*.lock"):
        number = int(path.stem)
        lock = _locked(number)
        if lock is None:
            continue
        if (PLACE / path.stem).exists():
            Machine(number=number, lock=lock, own_boot_id=False).take_down()
        path.unlink(missing_ok=True)
        os.close(lock)


def _claim() -> tuple[int, int]:
    for number in range(1, MOST):
        lock = _locked(number)
        if lock is not None:
            return number, lock
    raise AssertionError(f"{MOST} machines are in use")


def _lock_file(number: int) -> Path:
    return PLACE / f"{number}.lock"


def _locked(number: int) -> int | None:
    """The lock of a number, or None while somebody holds it, or had it while we looked."""
    handle = os.open(_lock_file(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_ino == _lock_file(number).stat().st_ino:
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    return None


def _umount(path: Path) -> bool:
    return subprocess.run(["umount", str(path)], capture_output=True, check=False).returncode == 0


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _until(true: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < give_up, f"never: {what}"
        time.sleep(0.01)


def _run(*argv: str, stdin: str = "", check: bool = True) -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0 or not check, f"{' '.join(argv[:6])}: {done.stderr.strip()}"
    return done.stdout
