"""The private keys that we open machines with. They stay here: nothing of them is ever sent or forwarded."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import paramiko

from orchestrator.ports import Refused

USUAL = ("id_ed25519", "id_ecdsa", "id_rsa")
MOST_TRIES = 5  # servers hang up after six


def candidates(key_path: str) -> Iterator[paramiko.PKey]:
    """The key at `key_path`; without one, those of this account and of its SSH agent. Refused codes: `no-key`, `key-file-open`."""
    if key_path:
        yield _read(Path(key_path))
        return
    yield from islice(_usual(), MOST_TRIES)


def _usual() -> Iterator[paramiko.PKey]:
    for name in USUAL:
        path = Path.home() / ".ssh" / name
        if path.is_file():
            try:
                yield _read(path)
            except Refused:
                continue  # one with a passphrase, or one that others may read: the agent may hold it
    if os.environ.get("SSH_AUTH_SOCK"):
        yield from paramiko.Agent().get_keys()


def _read(path: Path) -> paramiko.PKey:
    """Raises `Refused` with what is wrong with the file, and what to do about it."""
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise Refused(f"others may read the key {path}: chmod 600 {path}", code="key-file-open")
        return paramiko.PKey.from_path(path)
    except OSError as error:
        raise Refused(f"the key {path} cannot be read: {error.strerror}", code="no-key") from error
    except (paramiko.PasswordRequiredException, TypeError) as error:  # the latter from the library below
        raise Refused(
            f"the key {path} has a passphrase, which nobody is here to type: name one without, or hold it in an SSH agent",
            code="no-key",
        ) from error
    except (paramiko.SSHException, ValueError, paramiko.pkey.UnknownKeyType) as error:
        raise Refused(f"{path} is no private key that can be used: {error}", code="no-key") from error
