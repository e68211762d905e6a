"""As whom the embedded servers run: Postgres refuses to run as root, and root's power is nothing they need."""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ops.local.errors import CannotRun

OWN_ACCOUNT = "ao-db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The uid and gid that a server runs under, and what to put before its command line."""

    uid: int
    gid: int
    name: str
    switch: bool
    prefix: tuple[str, ...] = ()

    @property
    def user(self) -> int | None:
        """As which user a program is started; None: as ourselves."""
        return self.uid if self.switch else None

    @property
    def group(self) -> int | None:
        """With which group a program is started; None: with ours."""
        return self.gid if self.switch else None

    @property
    def extra_groups(self) -> list[int] | None:
        """No other group of ours goes along to another account."""
        return [] if self.switch else None

    def own(self, path: Path) -> None:
        """Give a folder, with all that is in it, to this account alone."""
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700)
        if self.switch and path.stat().st_uid != self.uid:
            for folder, _, files in os.walk(path):
                for name in (folder, *(os.path.join(folder, file) for file in files)):  # noqa: PTH118
                    os.chown(name, self.uid, self.gid, follow_symlinks=False)


def choose() -> Account:
    """Choose the account: our own user, or, as root, one that is not root."""
    if os.geteuid() != 0:
        return unprivileged()
    for name in (OWN_ACCOUNT, "postgres", "nobody"):
        if name == OWN_ACCOUNT and not exists(name):
            create(name)
        if exists(name):
            entry = pwd.getpwnam(name)
            return Account(uid=entry.pw_uid, gid=entry.pw_gid, name=name, switch=True)
    raise CannotRun(
        "Postgres refuses to run as root, and there is no account for it. "
        f"Create one (useradd --system {OWN_ACCOUNT}), or start as another user.",
    )


def unprivileged() -> Account:
    """Run as ourselves; a uid without an account of its own gets one through a user namespace."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        return Account(uid=uid, gid=gid, name=pwd.getpwuid(uid).pw_name, switch=False)
    except KeyError:
        prefix = ("unshare", "--user", f"--map-user={pwd.getpwnam('nobody').pw_uid}")
        if (
            shutil.which("unshare")
            and subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode == 0
        ):
            return Account(uid=uid, gid=gid, name=str(uid), switch=False, prefix=prefix)
    raise CannotRun(f"user id {uid} has no account on this machine, which Postgres needs. Add one to /etc/passwd.")


def exists(name: str) -> bool:
    """Tell whether the machine has this account."""
    return any(entry.pw_name == name for entry in pwd.getpwall())


def create(name: str) -> None:
    """Try to make a system account without a login; without the tools for it the next choice is taken."""
    nologin = shutil.which("nologin", path="/usr/sbin:/sbin:/usr/bin:/bin") or "/bin/false"
    for program, words in (
        (
            "useradd",
            ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", nologin, name],
        ),
        ("adduser", ["-S", "-D", "-H", "-h", "/nonexistent", "-s", nologin, name]),
    ):
        found = shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")
        if found and subprocess.run([found, *words], check=False, capture_output=True).returncode == 0:
            return
