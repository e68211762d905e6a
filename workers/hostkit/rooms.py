"""Rooms: the directory tree of one workspace, its account, and its files as seen by us, who trust nothing in it."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from workers.hostkit import accounts, disk, launch, processes
from workers.hostkit.errors import Refused, Unavailable
from workers.hostkit.launch import Account

PLACEHOLDER = re.compile(r"\{(home|work|tmp|run)\}")
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FOLDER_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


class Room(NamedTuple):
    """One workspace's directories and account."""

    workspace: str
    root: Path
    account: Account

    def answer(self) -> dict[str, Any]:
        paths = {name: str(self.root / name) for name in ("home", "work", "tmp")}
        return {"workspace": self.workspace, "root": str(self.root), "account": self.account.name, **paths}

    def places(self, run: str = "") -> dict[str, str]:
        """What the placeholders stand for; {run} is a folder below {tmp} that only this run uses."""
        paths = {name: str(self.root / name) for name in ("home", "work", "tmp")}
        return {**paths, "run": str(self.root / "tmp" / run) if run else paths["tmp"]}

    def environment(self, given: Mapping[str, str], marker: str, places: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of a program in the room: an allow-list, what was given, and the marker by which it is found."""
        name, _, value = marker.partition("=")
        return {
            "PATH": launch.default_path(),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "HOME": places["home"],
            "TMPDIR": places["tmp"],
            "USER": self.account.name,
            "LOGNAME": self.account.name,
            **{key: expand(text, places) for key, text in given.items()},
            name: value,
        }


def expand(text: str, places: Mapping[str, str]) -> str:
    return PLACEHOLDER.sub(lambda found: places[found[1]], text)


def find(layout: disk.Layout, workspace: str) -> Room:
    """The room of a workspace, or `Refused` when it was not opened."""
    record = disk.read_json(layout.room_record(workspace))
    if record is None:
        raise Refused(f"there is no workspace {workspace}", code="no-workspace")
    return Room(workspace, layout.room(workspace), Account(**record["account"]))


def open_room(layout: disk.Layout, workspace: str, *, until: float) -> Room:
    """Make the room of a workspace, or find it. Made again after a crash, it comes out the same."""
    with layout.room_on_disk(), disk.locked(layout.run / f"room.{workspace}.lock", until=until):
        if disk.read_json(layout.room_record(workspace)) is not None:
            return find(layout, workspace)
        layout.need_space()
        account = accounts.claim(layout, workspace, until=until)
        room = Room(workspace, layout.room(workspace), account)
        _set_aside(room.root)
        room.root.mkdir(mode=0o700, exist_ok=True)
        for folder in (*(room.root / name for name in ("home", "work", "tmp")), room.root):
            folder.mkdir(mode=0o700, exist_ok=True)
            os.chown(folder, account.uid, account.gid)
        _check_reachable(room)
        disk.write_json(layout.room_record(workspace), {"account": account._asdict()})
        return room


def _set_aside(root: Path) -> None:
    """What stands where a room is to be and is no folder is not ours to delete or to follow: it is kept beside it, under another name."""
    try:
        found = root.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        kept = root.with_name(f".{root.name}.in-the-way.{time.time_ns()}")
        root.rename(kept)
        raise Unavailable(f"{root} was no folder: it was set aside as {kept.name}, and the room is made anew")


def _check_reachable(room: Room) -> None:
    """An account that cannot get to its room would fail later and darker."""
    work = room.root / "work"
    if accounts.acting(room.account, lambda: os.close(os.open(work, FOLDER_FLAGS))) is None:
        return
    closed = [
        str(parent)
        for parent in reversed(work.parents)
        if not parent.stat().st_mode & stat.S_IXOTH and parent != room.root
    ]
    where = closed[0] if closed else str(work)
    raise Refused(
        f"{room.account.name} cannot enter {where}: chmod o+x it, or put the home elsewhere", code="not-traversable"
    )


def marker_prefix(workspace: str) -> str:
    """What the markers of a workspace's short commands begin with."""
    return f"AO_RUN=command.{workspace}:"


def remove(layout: disk.Layout, workspace: str, *, until: float) -> Path | None:
    """Kill what is in the room, move it to the trash and free its account. Answers what is to be deleted."""
    with disk.locked(layout.run / f"room.{workspace}.lock", until=until):
        record = disk.read_json(layout.room_record(workspace))
        root = layout.room(workspace)
        if record is None and not root.exists():
            return None
        prefix = marker_prefix(workspace).encode()
        if not processes.slay(lambda: processes.marked(prefix), patience=max(1.0, until - time.monotonic())):
            raise Unavailable(f"processes of workspace {workspace} cannot be killed")
        trash = layout.trash / f"{workspace}.{time.time_ns()}"
        if record is not None:
            account = Account(**record["account"])
            accounts.kill_all(account)
            _move(root, trash)
            accounts.release(layout, workspace, account, until=until)
        else:
            _move(root, trash)
        layout.room_record(workspace).unlink(missing_ok=True)
        return trash


def _move(root: Path, trash: Path) -> None:
    try:
        root.rename(trash)
    except FileNotFoundError:
        return  # an earlier removal came this far


def inside(room: Room, path: str) -> tuple[str, ...]:
    """The components of a path below the room; `Refused` for one that leads out by its words."""
    full = PurePosixPath(str(room.root), expand(path, room.places()))
    root = PurePosixPath(str(room.root))
    if ".." in full.parts or "\0" in path or root not in full.parents:
        raise Refused(f"{path} is not below the room of {room.workspace}", code="outside")
    return full.relative_to(root).parts


def _descend(root: Path, folders: tuple[str, ...], *, make: bool) -> int:
    """The folder at the end of a row of components, none of which may be a symlink."""
    handle = os.open(root, FOLDER_FLAGS)
    for name in folders:
        try:
            if make:
                _make_folder(name, handle)
            deeper = os.open(name, FOLDER_FLAGS, dir_fd=handle)
        finally:
            os.close(handle)
        handle = deeper
    return handle


def _make_folder(name: str, parent: int) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return


def read(room: Room, path: str, *, cap: int) -> int:
    """Open a regular file of the room for reading, at most `cap` bytes long. To be called as the room's account."""
    parts = inside(room, path)
    try:
        folder = _descend(room.root, parts[:-1], make=False)
        try:
            handle = os.open(parts[-1], READ_FLAGS, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Refused(f"there is no file {path} ({error.strerror})", code="no-file") from error
    seen = os.fstat(handle)
    if not stat.S_ISREG(seen.st_mode):
        raise Refused(f"{path} is no regular file", code="no-file")
    if seen.st_size > cap:
        raise Refused(f"{path} has {seen.st_size} bytes, over {cap}", code="too-large")
    return handle


def write(room: Room, path: str, data: bytes) -> None:
    """Replace a file of the room, its folders made where they are missing. To be called as the room's account."""
    parts = inside(room, path)
    fresh = f".{parts[-1][:100]}.{os.getpid()}.new"
    try:
        folder = _descend(room.root, parts[:-1], make=True)
        try:
            if stat.S_ISLNK(_mode(parts[-1], folder)):
                raise Refused(f"{path} is a symlink", code="outside")
            handle = os.open(
                fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder
            )
            try:
                disk.write_all(handle, data)
            finally:
                os.close(handle)
            os.replace(fresh, parts[-1], src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno in disk.FULL:
            raise Unavailable(f"the disk of {room.root} is full") from error
        code = "outside" if error.errno in (errno.ELOOP, errno.ENOTDIR) else "not-writable"
        raise Refused(f"{path} cannot be written: {error.strerror}", code=code) from error


def _mode(name: str, folder: int) -> int:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0
