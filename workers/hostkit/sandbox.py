"""How a program is put into bubblewrap: what it may see, and which of the two ways of making a sandbox works here.

`user`: the account is taken on first and bubblewrap works unprivileged, in a user namespace. `root`: bubblewrap is run by root and the
account taken on inside, for machines without user namespaces and for programs below folders that only root may enter.
Paths inside equal the paths outside. The room is bound as a whole, because its parent is ours: what an agent can replace by a symlink is
never the source of a bind.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from workers.hostkit import launch
from workers.hostkit.errors import Refused
from workers.hostkit.launch import Account

NOBODY = Account("nobody", 65534, 65534, own=False)
MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
RESOLVER = Path("/etc/resolv.conf")
BASE = ("bwrap", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--die-with-parent", "--new-session")


class Ways(NamedTuple):
    """Which ways were tried and work."""

    user: bool
    root: bool


def try_out(account: Account) -> Ways:
    """Try each way once with a program that does nothing."""
    if launch.find_program("bwrap") is None:
        return Ways(user=False, root=False)
    is_root = os.getuid() == 0
    trial = (*BASE, *_system(), "--", "true")
    user, _ = launch.run_short(trial, timeout=5, account=NOBODY if is_root else account)
    as_root = is_root and launch.run_short((*BASE, *_system(), *_taking_on(NOBODY), "true"), timeout=5)[0]
    return Ways(user=user, root=as_root)


def bubblewrap(
    argv: tuple[str, ...], *, root: str, cwd: str, readonly: Iterable[str], network: bool, account: Account, ways: Ways
) -> tuple[tuple[str, ...], bool]:
    """The program inside a sandbox, and whether the account is to be taken on before bubblewrap runs."""
    shown = tuple(readonly)
    drop = ways.user and (not ways.root or all(_reachable(Path(path)) for path in shown))
    if not (ways.user or ways.root):
        raise Refused(
            "bubblewrap does not work here: install the package bubblewrap and allow user namespaces", code="no-sandbox"
        )
    binds = [
        *_doors((*shown, root)),
        *(word for path in shown for word in ("--ro-bind", path, path)),
        "--bind",
        root,
        root,
    ]
    inside = (*BASE, *_system(), *binds, *(() if network else ("--unshare-net",)), "--chdir", cwd)
    return (*inside, "--", *argv) if drop else (*inside, *_taking_on(account), *argv), drop


def _system() -> list[str]:
    """The parts of the system that every program needs, read-only, and nothing of anybody's."""
    words = ["--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc"]
    for folder in MERGED:
        path = Path(folder)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), folder]
        elif path.is_dir():
            words += ["--ro-bind", folder, folder]
    words += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/var/tmp", "--tmpfs", "/run"]  # noqa: S108
    resolver = RESOLVER.resolve()
    if not resolver.is_relative_to("/etc") and resolver.is_file():
        words += ["--ro-bind", str(resolver), str(resolver)]
    return words


def _doors(paths: Iterable[str]) -> list[str]:
    """The folders above what is shown, empty and open to all: bubblewrap alone would make them as closed as the originals."""
    parents = {parent for path in paths for parent in Path(path).parents}
    made = sorted(
        parent for parent in parents if not parent.is_relative_to("/usr") and not parent.is_relative_to("/etc")
    )
    return [word for parent in made if str(parent) != "/" for word in ("--perms", "0755", "--dir", str(parent))]


def _taking_on(account: Account) -> tuple[str, ...]:
    ids = ("--reuid", str(account.uid), "--regid", str(account.gid), "--clear-groups")
    capabilities = ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP")
    return (*capabilities, "--", "setpriv", *ids, "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--")


def _reachable(path: Path) -> bool:
    """Whether anybody may read the path and enter its parents."""
    try:
        parents = all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)
        return bool(parents and path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
