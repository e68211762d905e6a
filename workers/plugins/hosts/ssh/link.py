"""The one connection to a machine: made when it is needed, shared by all calls as channels, given up when nothing is heard any more.

Every phase has a deadline. A connection that cannot be made is not tried again at once: whoever asks meanwhile hears why.
"""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass

import paramiko

from orchestrator.domain.addresses import Address, fingerprint
from orchestrator.ports import PortError, Refused, Unavailable
from workers.plugins.hosts.ssh import keys
from workers.plugins.hosts.ssh.machine import Machine

CONNECT = 8.0  # seconds for each of: the way there, the greeting and keys, who we are
CHANNEL = 8.0
KEEPALIVE = 5  # seconds
UNHEARD = 10_000  # milliseconds that what we sent may stay unanswered by the machine's kernel
BACK_OFF = (0.25, 0.5, 1.0, 2.0, 4.0)  # seconds until a failed connection is tried again
REFUSED_FOR = 20.0  # seconds: what was refused stays refused for a while, or we would be locked out


@dataclass(slots=True)
class _Failure:
    """What went wrong last, and when it may be tried again."""

    error: PortError
    again_at: float


class Link:
    """The connection to one machine. Safe to use by many threads."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._lock = threading.Lock()
        self._transport: paramiko.Transport | None = None
        self._failure: _Failure | None = None
        self._failures = 0
        self._closed = threading.Event()

    def execute(self, command: str, *, until: float) -> paramiko.Channel:
        """Run a command line on the machine; its channel. Raises `Unavailable` or `Refused`."""
        transport = self._connected(until)
        timeout = min(CHANNEL, _left(until))
        try:
            channel = transport.open_session(timeout=timeout)
            with _closed_after(channel, timeout):
                channel.exec_command(command)
        except paramiko.ChannelException as error:
            raise Unavailable(f"{self._machine.name} opens no more channels ({error.text}): see MaxSessions") from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            self._drop(transport)
            raise Unavailable(f"the connection to {self._machine.name} is lost: {_words(error)}") from error
        return channel

    def close(self) -> None:
        """Hang up for good: calls that are under way fail, and connect no more."""
        self._closed.set()
        transport = self._transport
        if transport is not None:
            transport.close()

    def _connected(self, until: float) -> paramiko.Transport:
        if not self._lock.acquire(timeout=_left(until)):
            raise Unavailable(f"{self._machine.name} does not answer yet")
        try:
            if self._closed.is_set():
                raise Unavailable(f"{self._machine.name} is not reached in this way any more")
            if self._transport is not None and self._transport.is_active():
                return self._transport
            self._forget()
            if self._failure is not None and time.monotonic() < self._failure.again_at:
                raise self._failure.error.with_traceback(None)
            try:
                transport = connect(self._machine, until=until)
            except PortError as error:
                self._remember(error)
                raise
            self._transport, self._failure, self._failures = transport, None, 0
            if self._closed.is_set():  # meanwhile
                transport.close()
            return transport
        finally:
            self._lock.release()

    def _remember(self, error: PortError) -> None:
        wait = BACK_OFF[min(self._failures, len(BACK_OFF) - 1)] if isinstance(error, Unavailable) else REFUSED_FOR
        self._failures += 1
        self._failure = _Failure(error, time.monotonic() + wait)

    def _drop(self, transport: paramiko.Transport) -> None:
        """What does not open a channel in time is dead, whatever TCP says of it."""
        with self._lock:
            if self._transport is transport:
                self._forget()

    def _forget(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None


class _closed_after:  # noqa: N801 - reads as what it does, where it is used
    """Close a channel unless the block is left in time: paramiko waits for ever for the answer to a request."""

    def __init__(self, channel: paramiko.Channel, seconds: float) -> None:
        self._timer = threading.Timer(seconds, channel.close)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


def connect(machine: Machine, *, until: float) -> paramiko.Transport:
    """A connection to the machine that proved to be itself, and that let us in. Refused codes: `host-key-changed`, `no-access`, `no-key`,
    `key-file-open`."""
    transport = _greeted(machine.address, prefer=machine.host_key.split()[0], until=until)
    try:
        _must_be_itself(machine, transport)
        _log_in(machine, transport, until=until)
        transport.set_keepalive(KEEPALIVE)
    except BaseException:
        transport.close()
        raise
    return transport


def host_key_of(address: Address, *, timeout: float) -> str:
    """The key that a machine proves itself with right now: to be shown to a person before it is pinned."""
    transport = _greeted(address, prefer="ssh-ed25519", until=time.monotonic() + timeout)
    try:
        return _shown(transport)
    finally:
        transport.close()


def _greeted(address: Address, *, prefer: str, until: float) -> paramiko.Transport:
    """A connection on which keys are exchanged, and nobody is logged in yet."""
    timeout = min(CONNECT, _left(until))
    try:
        way = socket.create_connection((address.host, address.port), timeout=timeout)
    except OSError as error:
        raise Unavailable(f"{address} cannot be reached: {_words(error)}") from error
    transport = None
    try:
        # paramiko leaves the socket as it is: without these an exec costs 40 ms, and a cut cable is never noticed.
        way.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        way.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            way.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD)
        timeout = min(CONNECT, _left(until))
        transport = paramiko.Transport(way)
        transport.banner_timeout = transport.handshake_timeout = timeout
        _prefer(transport, prefer)
        transport.start_client(timeout=timeout)
        if not transport.initial_kex_done:
            raise TimeoutError("no keys were exchanged in time")
        return transport
    except (paramiko.SSHException, OSError, EOFError) as error:
        (transport or way).close()
        raise Unavailable(f"{address} does not speak SSH to us: {_words(error)}") from error


def _prefer(transport: paramiko.Transport, kind: str) -> None:
    """Ask for the kind of key that was pinned first: a machine has several. The others stay, so that a changed one is seen and named."""
    options = transport.get_security_options()
    first = [name for name in options.key_types if name == kind or (kind == "ssh-rsa" and name.startswith("rsa-"))]
    options.key_types = [*first, *(name for name in options.key_types if name not in first)]


def _must_be_itself(machine: Machine, transport: paramiko.Transport) -> None:
    shown = _shown(transport)
    if shown == machine.host_key:
        return
    pinned, now = fingerprint(machine.host_key), fingerprint(shown)
    raise Refused(
        f"{machine.name} ({machine.address}) shows another host key than the one that was pinned: {now} instead of {pinned}. Somebody may be in "
        f"between. If the machine was installed anew, pin its new key: ao host add {machine.address} --name {machine.name} --fingerprint {now}",
        code="host-key-changed",
        evidence={"host": machine.name, "pinned": pinned, "shown": now},
    )


def _shown(transport: paramiko.Transport) -> str:
    key = transport.get_remote_server_key()
    return f"{key.get_name()} {key.get_base64()}"


def _log_in(machine: Machine, transport: paramiko.Transport, *, until: float) -> None:
    """Try our keys, one after the other. Neither a password nor an agent of ours is ever offered to the machine."""
    tried = 0
    for key in keys.candidates(machine.key_path):
        tried += 1
        try:
            transport.auth_timeout = min(CONNECT, _left(until))
            if not transport.auth_publickey(machine.address.user, key):
                return
        except paramiko.BadAuthenticationType as error:
            kinds = ", ".join(error.allowed_types)
            raise Refused(f"{machine.address} takes no keys, only {kinds}", code="no-access") from error
        except paramiko.AuthenticationException as error:
            if not transport.is_active():
                raise Unavailable(f"{machine.address} hung up while we logged in: {_words(error)}") from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise Unavailable(f"{machine.address} did not let us in: {_words(error)}") from error
    raise _not_let_in(machine, tried)


def _not_let_in(machine: Machine, tried: int) -> Refused:
    if not tried:
        return Refused("this account has no SSH key (~/.ssh/id_ed25519): name one with --key", code="no-key")
    named = f"the key {machine.key_path}" if machine.key_path else f"any of the {tried} keys of this account"
    return Refused(
        f"{machine.address} does not accept {named}: add the public key to ~/.ssh/authorized_keys of {machine.address.user} there, "
        "or name another with --key",
        code="no-access",
    )


def _left(until: float) -> float:
    return max(0.1, until - time.monotonic())


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
