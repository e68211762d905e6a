"""A machine reached over SSH, as a Host: hostkit copied there once a version, its serve spoken to through a bridge on a channel.

The machine needs python3 and git and holds no credential of ours: neither a key nor a token nor a forwarded agent.
"""

from __future__ import annotations

import io
import re
import shlex
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import paramiko

from orchestrator.ports import Refused, Unavailable
from workers.hostkit import bridge, release
from workers.plugins.hosts import wire
from workers.plugins.hosts.ssh.link import Link
from workers.plugins.hosts.ssh.machine import Machine

SOURCE = Path(release.__file__).parent
LINES = 8  # channels at a time: sshd's MaxSessions is 10, and one is needed to install
NOISE = 64 * 1024  # bytes that a machine's start files may print before we are heard
TRIES = 3
OLD_VERSIONS = 2  # of hostkit that stay on a machine beside ours
NO_PYTHON, NOT_INSTALLED, OLD_PYTHON, NO_GIT, NO_ROOM = 81, 82, 83, 84, 85
OLDEST_PYTHON = (3, 9)
_FOLDER = re.compile(r"[a-z0-9]{4,40}")
_REFUSALS = {
    NO_PYTHON: ("no-python", "has no python3: install it (apt install python3)"),
    OLD_PYTHON: ("old-python", f"has a python3 that is older than {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]}"),
    NO_GIT: ("no-git", "has no git: install it (apt install git)"),
}

# What an account's folder is below: rooms are entered by other accounts where hostkit is root, and nobody may enter /root.
_BASE = "case $(id -u) in 0) base=/var/lib/ao-host ;; *) base=$HOME/.ao-host ;; esac"
_BRIDGE = f"""{_BASE}
lib=$base/$1/lib/$2
command -v python3 > /dev/null 2>&1 || exit {NO_PYTHON}
[ -d "$lib" ] || exit {NOT_INSTALLED}
exec python3 -I -S -c "$4" "$lib" "$base/$1" "$3"
"""
_BRIDGE_PROGRAM = "import sys; sys.path.insert(0, sys.argv.pop(1)); from workers.hostkit.bridge import main; main()"
_INSTALL = f"""{_BASE}
umask 077
command -v python3 > /dev/null 2>&1 || exit {NO_PYTHON}
command -v git > /dev/null 2>&1 || exit {NO_GIT}
python3 -c 'import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})' || exit {OLD_PYTHON}
exec python3 -I -S -c "$3" "$base" "$1" "$2"
"""
# The archive on standard input becomes HOME/lib/VERSION by one rename. A few older versions stay, for services that go back to one; what
# still runs of those that go has read all of its files.
_INSTALL_PROGRAM = f"""
import os, pathlib, shutil, sys, tarfile
base, folder, version = sys.argv[1:]
home = pathlib.Path(base, folder)
fresh = home / "lib" / (".%s.%d" % (version, os.getpid()))
try:
    fresh.mkdir(parents=True)
    for open_to_pass in (pathlib.Path(base), home):
        open_to_pass.chmod(0o711)
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        for member in archive:
            path = fresh / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(archive.extractfile(member).read())
                file.flush()
                os.fsync(file.fileno())
    try:
        fresh.rename(home / "lib" / version)
    except OSError:
        if not (home / "lib" / version).is_dir():
            raise
    others = [one for one in (home / "lib").iterdir() if not one.name.startswith((".", version))]
    try:
        for old in sorted(others, key=lambda one: one.stat().st_mtime)[:-{OLD_VERSIONS}]:
            shutil.rmtree(old, ignore_errors=True)
    except FileNotFoundError:
        pass  # somebody else clears too
except OSError as error:
    print("%s: %s" % (error.filename or home, error.strerror), file=sys.stderr)
    sys.exit({NO_ROOM})
finally:
    shutil.rmtree(fresh, ignore_errors=True)
"""
_REMOVE = f"""{_BASE}
rm -rf -- "$base/$1"
rmdir -- "$base" 2> /dev/null || :
"""


class ChannelStream:
    """One line to serve: a channel with the bridge at its other end."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def send(self, data: bytes, *, timeout: float) -> None:
        self._channel.settimeout(timeout)
        try:
            self._channel.sendall(data)
        except paramiko.SSHException as error:
            raise ConnectionError(str(error)) from error

    def receive(self, count: int, *, timeout: float) -> bytes:
        self._channel.settimeout(timeout)
        return self._channel.recv(count)

    def usable(self) -> bool:
        channel = self._channel
        transport = channel.get_transport()
        quiet = not (channel.recv_ready() or channel.eof_received or channel.closed)
        return quiet and transport.is_active()

    def close(self) -> None:
        self._channel.close()


class SshDial:
    """Makes lines to the serve of one machine, with our version of hostkit or a newer one behind it."""

    def __init__(self, machine: Machine, link: Link, ours: Callable[[], bool]) -> None:
        self._machine = machine
        self._link = link
        self._ours = ours
        self._version = release.digest(SOURCE)
        self._stamp = release.stamp(SOURCE)

    def __call__(self, *, timeout: float) -> wire.Stream:
        until = time.monotonic() + timeout
        if not self._ours():
            raise Refused(f"{self._machine.name} was removed", code="removed")
        for _ in range(TRIES):
            stream = self._bridge(until)
            if stream is None:
                self._install(until)
            elif wire.agreed(stream, version=self._version, stamp=self._stamp, until=until):
                return self._still_wanted(stream, until)
        raise Unavailable(f"hostkit does not answer on {self._machine.name}")

    def _still_wanted(self, stream: wire.Stream, until: float) -> wire.Stream:
        """The machine may have been removed while this began something there: then it is taken away again."""
        if self._ours():
            return stream
        stream.close()
        self.remove(timeout=max(1.0, until - time.monotonic()))
        raise Refused(f"{self._machine.name} was removed", code="removed")

    def remove(self, *, timeout: float) -> None:
        """Delete everything of ours on the machine; its serve sees that and ends."""
        until = time.monotonic() + timeout
        channel = self._run(_REMOVE, self._machine.folder, until=until)
        if (code := self._ended(channel, until)) != 0:
            raise self._problem(code, channel)

    def _bridge(self, until: float) -> ChannelStream | None:
        """A line to serve, or None where our version is not installed yet."""
        words = (self._machine.folder, self._version, str(self._stamp), _BRIDGE_PROGRAM)
        channel = self._run(_BRIDGE, *words, until=until)
        heard = b""
        try:
            while bridge.READY not in heard and len(heard) < NOISE:
                channel.settimeout(max(0.1, until - time.monotonic()))
                piece = channel.recv(4096)
                if not piece:
                    break
                heard += piece
        except OSError as error:
            channel.close()
            raise Unavailable(f"{self._machine.name} does not answer: {str(error) or type(error).__name__}") from error
        if heard.endswith(bridge.READY):
            return ChannelStream(channel)
        code = self._ended(channel, until)
        if code == NOT_INSTALLED:
            return None
        raise self._problem(code, channel)

    def _install(self, until: float) -> None:
        """Put our version of hostkit on the machine."""
        channel = self._run(_INSTALL, self._machine.folder, self._version, _INSTALL_PROGRAM, until=until)
        channel.settimeout(max(0.1, until - time.monotonic()))
        try:
            channel.sendall(_archive())
            channel.shutdown_write()
        except (OSError, paramiko.SSHException):
            pass  # it did not want it: it has said why
        if (code := self._ended(channel, until)) != 0:
            raise self._problem(code, channel)

    def _run(self, script: str, *words: str, until: float) -> paramiko.Channel:
        # Whatever shell the account has, it only has to understand quotes.
        return self._link.execute(f"exec {shlex.join(['/bin/sh', '-c', script, 'ao', *words])}", until=until)

    def _ended(self, channel: paramiko.Channel, until: float) -> int:
        """The exit code of the command; -1: the connection was lost, or it takes too long."""
        ended = channel.status_event.wait(max(0.1, until - time.monotonic()))
        channel.close()
        return channel.exit_status if ended else -1

    def _problem(self, code: int, channel: paramiko.Channel) -> Refused | Unavailable:
        name = self._machine.name
        if code in _REFUSALS:
            word, words = _REFUSALS[code]
            return Refused(f"{name} ({self._machine.address}) {words}", code=word)
        said = _last_line(channel)
        if code == NO_ROOM:
            return Unavailable(f"hostkit cannot be put on {name}: {said}")
        if code == -1:
            return Unavailable(f"the connection to {name} was lost")
        return Unavailable(f"hostkit does not run on {name} (exit code {code}): {said or 'it says nothing'}")


class SshHost(wire.WireHost):
    """The Host port for a machine over SSH: one connection, a few channels. `ours` is asked before anything is begun there: whoever has not
    heard yet that the machine was removed must not put hostkit on it once more."""

    def __init__(self, machine: Machine, *, ours: Callable[[], bool] = lambda: True) -> None:
        if not _FOLDER.fullmatch(machine.folder):
            raise Refused(f"{machine.folder[:60]!r} is no name for a folder on {machine.name}", code="bad-folder")
        self._link = Link(machine)
        self._ssh = SshDial(machine, self._link, ours)
        super().__init__(self._ssh, most=LINES)

    def close(self) -> None:
        super().close()
        self._link.close()

    def forget(self, *, timeout: float = 20) -> None:
        """Take everything of ours off the machine, and hang up."""
        self._ssh.remove(timeout=timeout)
        self.close()


def _archive() -> bytes:
    """Our hostkit as a tar file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in (
            ("workers/__init__.py", b""),
            *((f"workers/hostkit/{name}", (SOURCE / name).read_bytes()) for name in release.FILES),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _last_line(channel: paramiko.Channel) -> str:
    """The last words on its standard error."""
    said = b""
    channel.settimeout(0.5)
    try:
        while piece := channel.recv_stderr(4096):
            said += piece
    except OSError:
        pass
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
