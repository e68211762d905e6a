"""A copy of our mirror on another machine, which has no credential to fetch one: what it lacks is carried there as a bundle.

Sessions there borrow its objects, as those here borrow our mirror's. Like it, it is never pruned. A bundle that does not get there in one go
is gone on with by the next call: what has arrived is always the beginning of what is wanted. Taking it in, which may last the first time, goes on
behind the calls that wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from orchestrator.ports import Command, Completed, Host, Refused, Unavailable
from workers.git.behind import Behind
from workers.git.outgoing import AT_MOST, LOOK_AGAIN, Source, packed
from workers.git.program import Deadline

PIECE = 4 * 1024 * 1024
_MISSING, _ELSEWHERE = 41, 42
_LOCKS: dict[tuple[Path, str], threading.Lock] = {}
_LOCKS_LOCK = threading.Lock()
_TAKING = Behind()

_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
}
_HEAD = """
set -eu
umask 022
mirror=$1 sha=$2
export GIT_DIR="$mirror"
command -v git > /dev/null || exit 127
"""

# Say whether the commit is there; if not, what is. Made by one rename when it is not there at all.
_ASK = f"""{_HEAD}
if [ ! -f "$mirror/HEAD" ]; then
    fresh="$mirror.$$"
    mkdir -p "$fresh/objects/pack" "$fresh/objects/info" "$fresh/refs/heads"
    printf '[core]\\n\\trepositoryformatversion = 0\\n\\tfilemode = true\\n\\tbare = true\\n\\thooksPath = /dev/null\\n' > "$fresh/config"
    printf '[gc]\\n\\tauto = 0\\n[maintenance]\\n\\tauto = false\\n' >> "$fresh/config"
    echo 'ref: refs/heads/none' > "$fresh/HEAD"
    chmod 0755 "${{mirror%/*}}"
    mv -T "$fresh" "$mirror" 2> /dev/null || rm -rf "$fresh"
fi
! git cat-file -e "$sha^{{commit}}" 2> /dev/null || exit 0
git for-each-ref --format='%(objectname)' refs/ao/have
exit {_MISSING}
"""

# More: file, offset. Append what comes to the file if it ends there; say where it ends.
_APPEND = f"""{_HEAD}
file="$mirror/$3"
exec 9>> "$file"
flock 9
[ "$(stat -c %s "$file")" = "$4" ] || {{ stat -c %s "$file"; exit {_ELSEWHERE}; }}
cat >&9
stat -c %s "$file"
"""

# More: file. The commits of the file are ours from here on, and what they continue need not be named any more.
_TAKE = f"""{_HEAD}
file="$mirror/$3"
exec 9>> "$mirror/ao-take.lock"
flock 9
if ! git cat-file -e "$sha^{{commit}}" 2> /dev/null; then
    git bundle unbundle "$file" > /dev/null || {{ rm -f "$file"; exit 1; }}
fi
git update-ref "refs/ao/have/$sha" "$sha"
git for-each-ref --format='delete %(refname)' --merged="$sha" refs/ao/have | grep -v "/$sha\\$" | git update-ref --stdin
rm -f "$file"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """The copy of `mirror` at `path` on the host that people call `name`."""

    mirror: Source
    host: Host
    name: str
    path: str

    def bring(self, sha: str, *, timeout: float = 45) -> None:
        """Make sure that this commit and its history are there. Raises `Unavailable` while it is on its way, with how far it has come."""
        deadline = Deadline.after(timeout)
        with _alone(self.mirror.path, self.name, deadline):
            self._wait(deadline)  # what another call wanted may be all that is missing
            bundle = self._carried(sha, deadline)
            if bundle is not None:
                _TAKING.begin((self.mirror.path, self.name), partial(self._take, sha, bundle))
                self._wait(deadline)

    def _wait(self, deadline: Deadline) -> None:
        """Until the host has taken in what got there."""
        if not _TAKING.over((self.mirror.path, self.name), patience=deadline.left() / 2):
            raise Unavailable(f"{self.name} takes in the repository", retry_after=LOOK_AGAIN, under_way=True)

    def _carried(self, sha: str, deadline: Deadline) -> Path | None:
        """The bundle that is there now and is still to be taken in; None: nothing is missing."""
        asked = self._run(_ASK, sha, deadline=deadline)
        if asked.code == 0:
            return None
        haves = [have for have in asked.stdout.decode().split() if self.mirror.has(have)]
        bundle = packed(self.mirror, sha, haves, to=self.name, deadline=deadline)
        self._send(sha, bundle, deadline)
        return bundle

    def _take(self, sha: str, bundle: Path) -> None:
        self._run(_TAKE, sha, bundle.name, deadline=Deadline.after(AT_MOST))
        bundle.unlink(missing_ok=True)

    def _send(self, sha: str, bundle: Path, deadline: Deadline) -> None:
        """Piece by piece, from where an earlier call came to."""
        size, offset = bundle.stat().st_size, 0
        with bundle.open("rb") as source:
            while offset < size:
                source.seek(offset)
                piece = source.read(PIECE)
                try:
                    answer = self._run(_APPEND, sha, bundle.name, str(offset), stdin=piece, deadline=deadline)
                except Unavailable as error:
                    raise Unavailable(
                        f"{offset / 1e6:.1f} of {size / 1e6:.1f} MB of the repository have got to {self.name}: {error}",
                        retry_after=timedelta(0) if offset else None,
                    ) from error
                offset = int(answer.stdout.split()[-1])

    def _run(self, script: str, sha: str, *words: str, stdin: bytes = b"", deadline: Deadline) -> Completed:
        """One of our scripts on the host, as the host's own account. Refused code: `no-git`."""
        argv = ("/bin/sh", "-c", script, "replica", self.path, sha, *words)
        done = self.host.command(Command(argv=argv, env=_ENVIRONMENT, stdin=stdin), timeout=deadline.left())
        if done.code in {0, _MISSING, _ELSEWHERE}:
            return done
        if done.code == 127:
            raise Refused(f"{self.name} has no git: install it (apt install git)", code="no-git")
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {done.code}"]
        raise Unavailable(f"the repository cannot be kept on {self.name}: {said[0][:300]}")


@contextmanager
def _alone(mirror: Path, host: str, deadline: Deadline) -> Iterator[None]:
    """Thirty sessions that begin at one commit carry it once."""
    with _LOCKS_LOCK:
        lock = _LOCKS.setdefault((mirror, host), threading.Lock())
    if not lock.acquire(timeout=deadline.left()):
        raise Unavailable(f"the repository is on its way to {host}", retry_after=timedelta(0))
    try:
        yield
    finally:
        lock.release()
