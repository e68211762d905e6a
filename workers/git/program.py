"""Runs git as nobody's configuration says: argv lists, a clean environment, a deadline and a cap on every call."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from orchestrator.ports import PortError, Refused, Unavailable
from workers.git import locks

# What git may be told by the environment that we were started in: the way to the network and to its keys, nothing else.
_INHERITED = (
    "PATH",
    "HOME",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTPS_PROXY",
    "NO_PROXY",
)
_FIXED = {
    "LC_ALL": "C",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "SSH_ASKPASS": "/bin/false",
    "GIT_EDITOR": "/bin/false",
    "GIT_PAGER": "cat",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ALLOW_PROTOCOL": "file:http:https:ssh",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=10 -oServerAliveInterval=10 -oForwardAgent=no",
}
# Settings given by environment outrank those of the repository at hand.
NEUTRAL_SETTINGS: Mapping[str, str] = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.bigFileThreshold": "16m",
    "commit.gpgSign": "false",
    "push.gpgSign": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "20",
    "transfer.fsckObjects": "true",
}
_STDERR_CAP = 64 * 1024
_OUTPUT_CAP = 8 * 1024 * 1024
_LAST_WORDS = 1.0  # seconds that a git whose time is up gets for tidying
_CONTROL = re.compile(r"[^\x20-\x7e]+")
_UNAVAILABLE = re.compile(
    r"could not resolve|couldn't resolve|connection (refused|reset|timed out|closed)|operation timed out|operation too slow|"
    r"network is unreachable|no route to host|requested url returned error: (5\d\d|429)|early eof|hung up unexpectedly|"
    r"cannot lock ref|unable to create .*\.lock|no space left|temporarily unavailable|failed to connect|rpc failed|"
    r"gnutls|ssl_|resource deadlock|cannot fork|out of memory",
    re.IGNORECASE,
)
_REFUSED = (
    ("host-key", re.compile(r"host key verification failed|remote host identification has changed", re.IGNORECASE)),
    (
        "no-access",
        re.compile(
            r"authentication failed|could not read (username|password)|permission denied|access denied|"
            r"requested url returned error: 40[13]|dubious ownership",
            re.IGNORECASE,
        ),
    ),
    (
        "no-repository",
        re.compile(
            r"repository .*not found|not appear to be a git repository|requested url returned error: 404", re.IGNORECASE
        ),
    ),
    ("no-branch", re.compile(r"couldn't find remote ref", re.IGNORECASE)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """How one git call ended. With `truncated` the call was cut off when its output passed the cap."""

    code: int
    stdout: bytes
    stderr: str
    truncated: bool = False

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace").strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The account that git is to run as, when the service is root and the repository at hand is somebody else's."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant by which several calls together have to be done."""

    at: float

    @classmethod
    def after(cls, timeout: float) -> Deadline:
        return cls(time.monotonic() + timeout)

    def left(self) -> float:
        """The seconds that are left; raises when there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise Unavailable("there was not enough time for all of the git calls")
        return left


@dataclass(frozen=True, slots=True)
class Git:
    """Git on one repository of ours, or on none. `settings` and `env` are added to the clean ones for every call."""

    repository: Path | None
    settings: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    def run(
        self,
        *args: str,
        timeout: float,
        stdin: bytes | memoryview = b"",
        cap: int = _OUTPUT_CAP,
        account: Account | None = None,
    ) -> Output:
        """Run `git ARGS` on the repository and answer how it ended; only a missed deadline raises."""
        where = [f"--git-dir={self.repository}"] if self.repository else []
        env = clean_environment(settings=self.settings) | dict(self.env)
        deadline = Deadline.after(timeout)
        while True:
            output = _run(
                ["git", *where, *args],
                env=env,
                cwd=self.repository or Path("/"),
                doing=f"git {args[0]}",
                stdin=stdin,
                timeout=deadline.left(),
                cap=cap,
                account=account,
            )
            if output.code == 0 or self.repository is None or not locks.freed(self.repository, output.stderr):
                return output

    def must(self, *args: str, timeout: float, stdin: bytes | memoryview = b"", cap: int = _OUTPUT_CAP) -> str:
        """Like `run`, for calls that have to succeed: their output as text."""
        output = self.run(*args, timeout=timeout, stdin=stdin, cap=cap)
        if output.code != 0:
            raise failure(output, doing=f"git {args[0]}")
        return output.text


def clean_environment(*, settings: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a git call: nothing of the user's configuration, our settings on top of any repository's."""
    env = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return env | _FIXED | settings_environment({**NEUTRAL_SETTINGS, **settings})


def settings_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Settings as the variables by which git takes them, so that they never show among a process's arguments."""
    env = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return env


def failure(output: Output, *, doing: str, remote: bool = False) -> PortError:
    """The error that a failed call stands for. What is not known is worth another try only where a network is between."""
    said = complaint(output.stderr)
    sentence = f"{doing} failed: {said or f'exit code {output.code}'}"
    for code, pattern in _REFUSED:
        if pattern.search(output.stderr):
            return Refused(sentence, code=code, evidence={"said": said})
    if remote or _UNAVAILABLE.search(output.stderr):
        return Unavailable(sentence)
    return Refused(sentence, code="git-failed", evidence={"said": said})


def complaint(stderr: str) -> str:
    """The line of git's words that says what is wrong, printable and short."""
    lines = [_CONTROL.sub(" ", line).strip() for line in stderr.splitlines()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote: error:", "!"))]
    return next(iter(telling or [line for line in reversed(lines) if line]), "")[:300]


def _run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    doing: str,
    stdin: bytes | memoryview,
    timeout: float,
    cap: int,
    account: Account | None,
) -> Output:
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(_spooled(stdin))
        try:
            process = subprocess.Popen(
                argv,
                env=env,
                cwd=cwd,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                umask=0o022,  # agents' accounts read the mirror's objects
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        except FileNotFoundError as error:
            raise Refused(f"git cannot be started: {error.strerror}: {error.filename}", code="no-git") from error
        except OSError as error:
            raise Unavailable(f"git cannot be started: {error.strerror}") from error
        try:
            return _collect(process, deadline=time.monotonic() + timeout, cap=cap, doing=doing)
        finally:
            _kill(process)


@contextlib.contextmanager
def _spooled(data: bytes | memoryview) -> Iterator[IO[bytes]]:
    # A file and not a pipe: a pipe would have to be written while the output is read.
    with tempfile.TemporaryFile() as spool:
        spool.write(data)
        spool.seek(0)
        yield spool


def _collect(process: subprocess.Popen[bytes], *, deadline: float, cap: int, doing: str) -> Output:
    if process.stdout is None or process.stderr is None:
        raise ValueError("both outputs of the process have to be pipes")
    out, err = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, out)
        selector.register(process.stderr, selectors.EVENT_READ, err)
        while selector.get_map():
            for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                data = os.read(key.fd, 1 << 16)
                key.data.extend(data[: _STDERR_CAP - len(err)] if key.data is err else data)
                if not data:
                    selector.unregister(key.fileobj)
            if len(out) > cap:
                return Output(code=-1, stdout=bytes(out[:cap]), stderr=err.decode("utf-8", "replace"), truncated=True)
            if time.monotonic() >= deadline:
                raise Unavailable(f"{doing} did not finish in time")
    try:
        code = process.wait(timeout=max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{doing} did not finish in time") from error
    return Output(code=code, stdout=bytes(out), stderr=err.decode("utf-8", "replace"))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Git's helpers (ssh, remote-https) share its process group, so none outlives the call. First it may take its locks away."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_LAST_WORDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
