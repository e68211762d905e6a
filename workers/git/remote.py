"""The place that a project's changes are fetched from and pushed to: given by us on every call, never read from a repository."""

from __future__ import annotations

import base64
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from orchestrator.domain.naming import valid_branch
from orchestrator.ports import Refused
from workers.git.program import Account, Git, Output, complaint, failure

_SCP_LIKE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^-\s\x00-\x1f][^\x00-\x1f]*")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9a-fA-F:.]+\]|[0-9a-fA-F:.]+")
_ACCEPTED = "give https://HOST/PATH, ssh://HOST/PATH, USER@HOST:PATH or an absolute path"

# What serves us at the other end of a path. It may be somebody else's repository, which the person who named it vouches for.
_SERVE = "git -c safe.directory='*' -c core.fsmonitor=false -c maintenance.auto=false"
# In a checkout the hooks may be files of the repository itself, so that merging an agent's change would run them.
_SERVE_CHECKOUT = f"{_SERVE} -c core.hooksPath=/dev/null -c receive.denyCurrentBranch=updateInstead"
_DIRTY = re.compile(
    r"has (un)?staged changes|could not update working tree|would be overwritten|no worktree", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A remote as git is told of it: `url` holds no secret, `settings` hold the login and travel by environment only."""

    url: str
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    directory: Path | None = None

    @property
    def upload_pack(self) -> tuple[str, ...]:
        return (f"--upload-pack={_SERVE} upload-pack",) if self.directory else ()

    @property
    def receive_pack(self) -> tuple[str, ...]:
        if self.directory is None:
            return ()
        return (f"--receive-pack={_SERVE_CHECKOUT if self.is_checkout else _SERVE} receive-pack",)

    @property
    def is_checkout(self) -> bool:
        """Whether it is a directory with a working tree, which a push may have to bring along."""
        return self.directory is not None and (self.directory / ".git").exists()

    def owner(self, *, uid: int) -> Account | None:
        """Whom to push as: as root into somebody's own repository, as that somebody, so that no file there becomes root's."""
        if self.directory is None or uid != 0:
            return None
        try:
            status = (self.directory / ".git").stat() if self.is_checkout else self.directory.stat()
        except OSError:
            return None
        if status.st_uid == 0 or not stat.S_ISDIR(status.st_mode):
            return None
        return Account(uid=status.st_uid, gid=status.st_gid)


def remote_at(url: str, *, token: str | None) -> Remote:
    """The remote that people mean by `url`. Refused code: `bad-remote`."""
    if url.startswith("/"):
        return _directory(url)
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc:
        return _directory(unquote(parts.path))
    if parts.scheme in {"http", "https"} and parts.hostname and _HOST.fullmatch(parts.hostname):
        host = parts.netloc.rpartition("@")[2]
        login = _login(parts.username, parts.password, token)
        clean = urlunsplit((parts.scheme, host, parts.path, "", ""))
        # Scoped to the host, so that nothing else that git may come to ask is shown the login.
        return Remote(
            url=clean,
            settings={f"http.{parts.scheme}://{host}/.extraHeader": f"Authorization: Basic {login}"} if login else {},
        )
    ssh = parts.scheme == "ssh" and parts.hostname and _HOST.fullmatch(parts.hostname) and parts.password is None
    if (ssh and not (parts.username or "").startswith("-")) or _SCP_LIKE.fullmatch(url):
        return Remote(url=url)
    raise Refused(f"this is no remote that can be used: {_ACCEPTED}", code="bad-remote")


def default_branch(url: str, *, token: str | None = None, timeout: float = 30) -> str:
    """The branch that a remote's HEAD points to. Refused codes: `no-branch` for an empty remote, `bad-branch`."""
    remote = remote_at(url, token=token)
    git = Git(None, settings=remote.settings)
    output = git.run(
        "ls-remote", *remote.upload_pack, "--symref", "--end-of-options", remote.url, "HEAD", timeout=timeout
    )
    if output.code != 0:
        raise failure(output, doing=f"asking {remote.url} for its default branch", remote=True)
    match = re.search(r"^ref: refs/heads/(\S+)\tHEAD$", output.text, re.MULTILINE)
    if match is None:
        raise Refused(f"{remote.url} has no default branch yet: push a first commit to it", code="no-branch")
    return checked_branch(match[1])


def remote_sha(git: Git, remote: Remote, branch: str, *, timeout: float) -> str | None:
    """Where a branch of the remote is now; None when it has no such branch."""
    ref = f"refs/heads/{checked_branch(branch)}"
    output = git.run("ls-remote", *remote.upload_pack, "--refs", "--end-of-options", remote.url, ref, timeout=timeout)
    if output.code != 0:
        raise failure(output, doing=f"looking up {branch} at {remote.url}", remote=True)
    shas = [line.split("\t")[0] for line in output.text.splitlines() if line.endswith(f"\t{ref}")]
    return shas[0] if shas else None


def checked_branch(name: str) -> str:
    """The name itself where it is one that we work with. Refused code: `bad-branch`."""
    if not valid_branch(name):
        raise Refused(
            f"the branch name {name[:80]!r} cannot be used: letters, digits and . _ / + @ # - only", code="bad-branch"
        )
    return name


def push_refusal(output: Output, *, branch: str, remote: Remote) -> Refused | None:
    """Why the other side would not take a push, where it said so."""
    rejected = next((line for line in output.text.splitlines() if line.startswith("!")), "")
    if not rejected:
        return None
    reason = rejected.rpartition("(")[2].rstrip(") ")
    if _DIRTY.search(rejected) or _DIRTY.search(output.stderr):
        sentence = (
            f"{branch} is checked out at {remote.url} and has changes that are not committed: commit or stash them there, "
            "then this is tried again"
        )
        return Refused(sentence, code="base-dirty", evidence={"directory": remote.url, "said": reason})
    said = complaint(output.stderr) or reason
    return Refused(f"{remote.url} did not take {branch}: {reason or said}", code="not-allowed", evidence={"said": said})


def _directory(path: str) -> Remote:
    if not path.startswith("/") or any(ord(character) < 32 for character in path):
        raise Refused(f"this is no remote that can be used: {_ACCEPTED}", code="bad-remote")
    return Remote(url=path, directory=Path(path))


def _login(username: str | None, password: str | None, token: str | None) -> str | None:
    if token:
        pair = f"x-access-token:{token}"
    elif username is not None:
        pair = f"{unquote(username)}:{unquote(password or '')}"
    else:
        return None
    return base64.b64encode(pair.encode()).decode()
