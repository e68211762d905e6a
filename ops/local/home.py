"""The home of one installation: its folders, its lock, its format, its secret key."""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.local.errors import CannotRun

# Raised when an older program could no longer read what a newer one wrote here.
FORMAT = 1
VERSION = "0.1.0"
LONGEST_SOCKET_FOLDER = 80
NEEDED_BYTES = 200 * 1024 * 1024


def default_home() -> Path:
    """Say where an installation lives when nobody says otherwise."""
    if os.environ.get("AO_HOME"):
        return Path(os.environ["AO_HOME"])
    if os.geteuid() == 0:
        return Path("/var/lib/ao")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "ao"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "ao"


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The folders of one installation."""

    path: Path

    @property
    def data(self) -> Path:
        """Databases: what must be backed up."""
        return self.path / "data"

    @property
    def runtime(self) -> Path:
        """Programs copied here, so that they survive an upgrade of their packages."""
        return self.path / "runtime"

    @property
    def logs(self) -> Path:
        """What the servers and processes said."""
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """Sockets and locks: short-lived, rebuilt at each start.

        A unix socket's path may be about 100 bytes long, so a deep home keeps its sockets in a short private folder.
        """
        inside = self.path / "run"
        if len(os.fsencode(inside)) <= LONGEST_SOCKET_FOLDER:
            return inside
        digest = hashlib.sha256(os.fsencode(self.path.resolve())).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"ao-{os.geteuid()}-{digest}"

    @property
    def lock_file(self) -> Path:
        """Held by the one `ao start` of this home; holds its process id."""
        return self.path / "lock"

    @property
    def membership_file(self) -> Path:
        """What a machine that joined a service elsewhere remembers of it."""
        return self.path / "join.json"

    @property
    def client_file(self) -> Path:
        """Where the command line finds the address and the token of the running service."""
        return self.path / "client.json"


def prepare(path: Path) -> Home:
    """Make the home's folders, or say why that cannot be."""
    home = Home(path=path.expanduser().absolute())
    try:
        # As root the servers and agents have accounts of their own, which must be able to pass through.
        make_folder(home.path, 0o711 if os.geteuid() == 0 else 0o700)
        for folder in (home.data, home.runtime, home.run):
            make_folder(folder, 0o711 if os.geteuid() == 0 else 0o700)
        make_folder(home.logs, 0o700)
    except OSError as error:
        raise CannotRun(
            f"cannot use {home.path} as home: {error.strerror}. Choose another with --home DIR or AO_HOME.",
        ) from error
    refuse_newer_format(home)
    return home


def make_folder(path: Path, mode: int) -> None:
    """Make a folder with exactly this mode, and refuse one that somebody else put in our place."""
    path.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.geteuid():
        raise CannotRun(f"{path} belongs to somebody else. Choose another home with --home DIR or AO_HOME.")
    path.chmod(mode)


def refuse_newer_format(home: Home) -> None:
    """Refuse a home that a newer version wrote; remember our own format in a fresh one."""
    stamp = home.path / "version.json"
    try:
        found = json.loads(stamp.read_text())
        version, theirs = str(found["version"]), int(found["format"])
    except FileNotFoundError:
        version, theirs = VERSION, FORMAT
        write_private(stamp, json.dumps({"format": FORMAT, "version": VERSION}))
    except (ValueError, KeyError, TypeError) as error:
        raise CannotRun(f"{stamp} cannot be read. Restore it from a backup, or choose another home.") from error
    if theirs > FORMAT:
        raise CannotRun(
            f"{home.path} was written by version {version} (format {theirs}); this is {VERSION} (format {FORMAT}). "
            "Upgrade this program, or choose another home with --home DIR.",
        )


def refuse_full_disk(home: Home) -> None:
    """Say so before a server dies of it half-way."""
    free = shutil.disk_usage(home.path).free
    if free < NEEDED_BYTES:
        raise CannotRun(
            f"only {free // 2**20} MiB are free where {home.path} is, and at least {NEEDED_BYTES // 2**20} are needed. "
            "Make room, or choose another home with --home DIR.",
        )


@contextmanager
def locked(home: Home) -> Iterator[int]:
    """Hold the home for as long as we run; a second start is told who holds it. Gives the lock's descriptor."""
    descriptor = os.open(home.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CannotRun(
                f"already running: process {holder(home) or 'unknown'} holds {home.path}. "
                "Stop it with `ao stop`, or choose another home with --home DIR.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def holder(home: Home) -> int | None:
    """Name the process that runs this home, or None when nothing does."""
    try:
        descriptor = os.open(home.lock_file, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(descriptor, 32, 0) or b"0") or None
    else:
        return None
    finally:
        os.close(descriptor)


def secret_key(home: Home) -> str:
    """Read the installation's secret key; the first start makes it."""
    file = home.path / "secret.key"
    if not file.exists():
        write_private(file, secrets.token_urlsafe(64))
    return file.read_text().strip()


def write_private(path: Path, text: str) -> None:
    """Write a file that only we may read, whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)
