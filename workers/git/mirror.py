"""Our own bare copy of a project: agents' repositories borrow its objects, and every push leaves from here.

It holds no configuration from outside, no working tree and no secret; it is never pruned, because others borrow from it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.domain.naming import valid_sha
from orchestrator.ports import Refused, Unavailable
from workers.git import imports, merging
from workers.git.findings import Limits
from workers.git.imports import Imported
from workers.git.merging import ORCHESTRATOR, Person
from workers.git.program import Deadline, Git, Output, failure
from workers.git.remote import Remote, checked_branch, push_refusal, remote_at, remote_sha

SAVED_REF = "refs/ao/saved"
_CONFIG = """[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
\thooksPath = /dev/null
[gc]
\tauto = 0
[maintenance]
\tauto = false
"""
_DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    """The branch is at `sha` on the remote; `confirmed_by` says whether its reply or a look-up afterwards told us."""

    sha: str
    confirmed_by: str  # reply | look-up


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """The mirror of one project at `path`. `token` is asked for the remote's token at each call and lives in the call's environment only."""

    path: Path
    remote_url: str
    token: Callable[[], str | None] = lambda: None

    # --- making it and keeping it fresh ---

    def create(self, *, base_branch: str, timeout: float = 300) -> str:
        """Clone the base branch, or bring the mirror that is there up to date; answers the base's commit. Whole or not at all."""
        deadline = Deadline.after(timeout)
        with self._lock(deadline):
            if not self.exists:
                self._clone(base_branch, deadline)
                return self._must_have(base_branch, deadline)
            return self._fetch(base_branch, deadline)

    @property
    def exists(self) -> bool:
        return (self.path / "HEAD").is_file()

    def fetch(self, branch: str, *, timeout: float = 50) -> str:
        """Bring one branch of the remote here and answer its commit. Refused code: `no-branch`."""
        deadline = Deadline.after(timeout)
        with self._lock(deadline):
            return self._fetch(branch, deadline)

    def base_sha(self, branch: str, *, timeout: float = 10) -> str | None:
        """Where the remote's branch was when it was last fetched."""
        ref = f"{_tracking(branch)}^{{commit}}"
        output = self._git().run("rev-parse", "--verify", "-q", "--end-of-options", ref, timeout=timeout)
        return output.text.splitlines()[-1] if output.code == 0 else None

    def has(self, sha: str, *, timeout: float = 10) -> bool:
        """Whether this commit is here."""
        return valid_sha(sha) and self._git().run("cat-file", "-e", f"{sha}^{{commit}}", timeout=timeout).code == 0

    def text_of(self, path: str, *, sha: str, cap: int, timeout: float = 10) -> str | None:
        """The text of a plain file at the top of a commit; None where there is none, where it is longer than `cap` bytes, or no UTF-8."""
        listed = self._git().must("ls-tree", "-l", "--end-of-options", _commit(sha), path, timeout=timeout).split()
        if len(listed) < 5 or listed[0] not in {"100644", "100755"} or int(listed[3]) > cap:
            return None
        read = self._git().run("cat-file", "blob", listed[2], timeout=timeout)
        if read.code != 0:
            raise failure(read, doing=f"reading {path} at {sha[:12]}")
        try:
            return read.stdout.decode()
        except UnicodeDecodeError:
            return None

    def remote_sha(self, branch: str, *, timeout: float = 30) -> str | None:
        """Where the branch is on the remote right now; None when it is not there."""
        remote = self._remote()
        return remote_sha(self._git(remote), remote, branch, timeout=timeout)

    def repack(self, *, timeout: float = 50) -> None:
        """Gather small packs into larger ones. Nothing is ever dropped: agents' repositories borrow these objects."""
        deadline = Deadline.after(timeout)
        with self._lock(deadline):
            self._git().must("repack", "-q", "-d", "--geometric=2", "--no-write-bitmap-index", timeout=deadline.left())

    # --- taking work in ---

    def import_bundle(
        self, bundle: bytes, *, branch: str, base_sha: str, limits: Limits = _DEFAULT_LIMITS, timeout: float = 50
    ) -> Imported:
        """Take in the bundle of a workspace and put it at refs/ao/published/BRANCH. Refused codes: `too-large`, `bad-bundle`.

        With findings the work is here as well, so that people can look at it; whether it may be pushed is for the caller to decide.
        """
        deadline = Deadline.after(timeout)
        ref = f"refs/heads/{checked_branch(branch)}"
        taken = imports.take_in(self.path, bundle, only_ref=ref, base_sha=base_sha, limits=limits, deadline=deadline)
        published = f"refs/ao/published/{branch}"
        self._git().must("update-ref", published, taken.head_sha, timeout=deadline.left())
        return Imported(head_sha=taken.head_sha, ref=published, findings=taken.findings)

    def import_saved(
        self, bundle: bytes, *, task: int, base_sha: str, limits: Limits = _DEFAULT_LIMITS, timeout: float = 50
    ) -> Imported:
        """Keep what a workspace would have lost at refs/ao/saved/TASK/N; the same work again keeps its number."""
        deadline = Deadline.after(timeout)
        taken = imports.take_in(
            self.path, bundle, only_ref=SAVED_REF, base_sha=base_sha, limits=limits, deadline=deadline
        )
        with self._lock(deadline):
            kept = self._saved(task, deadline)
            ref = kept.get(taken.head_sha) or f"{SAVED_REF}/{task}/{len(kept) + 1}"
            self._git().must("update-ref", ref, taken.head_sha, timeout=deadline.left())
        return Imported(head_sha=taken.head_sha, ref=ref, findings=taken.findings)

    # --- giving work out ---

    def bundle(self, sha: str, *, haves: Sequence[str], to: Path, timeout: float) -> None:
        """Write a bundle of this commit and its history, without what the commits `haves` hold, to a file."""
        deadline = Deadline.after(timeout)
        ref = f"refs/ao/carried/{uuid.uuid4().hex}"
        self._git().must("update-ref", ref, _commit(sha), timeout=deadline.left())
        try:
            without = [f"^{_commit(have)}" for have in haves]
            self._git().must("bundle", "create", "-q", str(to), ref, *without, timeout=deadline.left())
        finally:
            self._git().must("update-ref", "-d", ref, timeout=max(5.0, deadline.at - time.monotonic()))

    # --- the remote's branches ---

    def push(self, branch: str, new_sha: str, *, expected: str | None, timeout: float = 50) -> PushResult:
        """Move the remote's branch from `expected` (None: it must not exist) to `new_sha`; already there is success, whatever was replied.

        Refused codes: `diverged` (somebody else moved it; evidence: expected, remote, ours), `base-dirty`, `not-allowed`, `no-access`.
        """
        deadline = Deadline.after(timeout)
        remote = self._remote()
        with self._alone(remote, deadline):
            output = self._push(remote, branch, source=_commit(new_sha), expected=expected, deadline=deadline)
        if output.code == 0:
            return PushResult(sha=new_sha, confirmed_by="reply")
        there = remote_sha(self._git(remote), remote, branch, timeout=deadline.left())
        if there == new_sha:
            return PushResult(sha=new_sha, confirmed_by="look-up")
        if there != expected:
            evidence = {"expected": expected, "remote": there, "ours": new_sha}
            moved = f"is at {there[:12]}" if there else "is gone"
            raise Refused(f"{branch} {moved} on the remote, which is not our doing", code="diverged", evidence=evidence)
        raise push_refusal(output, branch=branch, remote=remote) or failure(
            output, doing=f"pushing {branch} to {remote.url}", remote=True
        )

    def delete_remote_branch(self, branch: str, *, expected_sha: str, timeout: float = 50) -> None:
        """Delete the remote's branch while it is at `expected_sha`; a missing branch is fine. Refused code: `branch-moved`."""
        deadline = Deadline.after(timeout)
        remote = self._remote()
        output = self._push(remote, branch, source="", expected=_commit(expected_sha), deadline=deadline)
        if output.code == 0:
            return
        there = remote_sha(self._git(remote), remote, branch, timeout=deadline.left())
        if there is None:
            return
        if there != expected_sha:
            evidence = {"expected": expected_sha, "remote": there}
            raise Refused(
                f"{branch} is at {there[:12]} on the remote and was left there", code="branch-moved", evidence=evidence
            )
        raise push_refusal(output, branch=branch, remote=remote) or failure(
            output, doing=f"deleting {branch} at {remote.url}", remote=True
        )

    # --- comparing and merging, without a working tree ---

    def conflicts(self, *, base_sha: str, head_sha: str, timeout: float = 30) -> tuple[str, ...]:
        """The files in which the two conflict; empty when they merge cleanly."""
        return merging.conflicts(self._git(), base=base_sha, head=head_sha, timeout=timeout)

    def merge_commit(
        self,
        *,
        base_sha: str,
        head_sha: str,
        method: str,
        message: str,
        at: datetime,
        author: Person = ORCHESTRATOR,
        timeout: float = 30,
    ) -> str:
        """Make the commit that merges `head_sha` into `base_sha` by `merge`, `squash` or `rebase`. Refused codes: `conflict`, `not-allowed`."""
        return merging.merge_commit(
            self._git(),
            base=base_sha,
            head=head_sha,
            method=method,
            message=message,
            at=at,
            author=author,
            timeout=timeout,
        )

    def diff(self, *, base_sha: str, head_sha: str, cap: int, timeout: float = 30) -> str:
        """What the head changes since it left the base, as text of at most `cap` bytes."""
        return merging.diff(self._git(), base=base_sha, head=head_sha, cap=cap, timeout=timeout)

    def is_ancestor(self, *, ancestor: str, of: str, timeout: float = 10) -> bool:
        """Whether one commit is contained in the other's history."""
        return merging.is_ancestor(self._git(), ancestor=ancestor, of=of, timeout=timeout)

    def count(self, *, base_sha: str, head_sha: str, timeout: float = 10) -> int:
        """How many commits the head has that the base does not."""
        between = f"{_commit(base_sha)}..{_commit(head_sha)}"
        return int(self._git().must("rev-list", "--count", between, timeout=timeout).split()[0])

    # --- inside ---

    def _git(self, remote: Remote | None = None) -> Git:
        if not self.exists:
            raise Unavailable("the project's mirror is not there yet")
        return Git(self.path, settings=remote.settings if remote else {})

    def _remote(self) -> Remote:
        return remote_at(self.remote_url, token=self.token())

    def _clone(self, base_branch: str, deadline: Deadline) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for unfinished in self.path.parent.glob(f".{self.path.name}.*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        aside = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}")
        try:
            for directory in ("objects/pack", "objects/info", "refs/heads"):
                (aside / directory).mkdir(parents=True)
            (aside / "config").write_text(_CONFIG, encoding="ascii")
            (aside / "HEAD").write_text("ref: refs/heads/none\n", encoding="ascii")
            _open_for_reading(aside)
            Mirror(path=aside, remote_url=self.remote_url, token=self.token)._fetch(base_branch, deadline)  # noqa: SLF001
            aside.rename(self.path)
        except OSError as error:
            raise Unavailable(f"the mirror cannot be made: {error.strerror}") from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _fetch(self, branch: str, deadline: Deadline) -> str:
        remote = self._remote()
        spec = f"+refs/heads/{checked_branch(branch)}:{_tracking(branch)}"
        options = ("--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules", "--quiet")
        output = self._git(remote).run(
            "fetch", *options, *remote.upload_pack, "--end-of-options", remote.url, spec, timeout=deadline.left()
        )
        if output.code != 0:
            raise failure(output, doing=f"fetching {branch} from {remote.url}", remote=True)
        return self._must_have(branch, deadline)

    def _must_have(self, branch: str, deadline: Deadline) -> str:
        sha = self.base_sha(branch, timeout=deadline.left())
        if sha is None:
            raise Refused(f"the mirror has no branch {branch}", code="no-branch")
        return sha

    def _push(self, remote: Remote, branch: str, *, source: str, expected: str | None, deadline: Deadline) -> Output:
        ref = f"refs/heads/{checked_branch(branch)}"
        options = (
            "--porcelain",
            "--no-verify",
            "--no-follow-tags",
            "--no-signed",
            "--recurse-submodules=no",
            f"--force-with-lease={ref}:{_commit(expected) if expected else ''}",
        )
        # A third of the time is kept for looking up what became of it.
        timeout = deadline.left() * 2 / 3
        args = ("push", *options, *remote.receive_pack, "--end-of-options", remote.url, f"{source}:{ref}")
        try:
            return self._git(remote).run(*args, timeout=timeout, account=remote.owner(uid=os.geteuid()))
        except Unavailable as error:
            return Output(code=-1, stdout=b"", stderr=f"fatal: {error}")

    @contextmanager
    def _alone(self, remote: Remote, deadline: Deadline) -> Iterator[None]:
        """Push into a checkout one at a time: git updates the tree before the branch, so that of two pushes at once the one that loses the
        branch may have changed the tree, which then looks as if somebody had left work there."""
        if not remote.is_checkout:
            yield
            return
        with self._lock(deadline):
            yield

    def _saved(self, task: int, deadline: Deadline) -> dict[str, str]:
        form = "--format=%(objectname) %(refname)"
        listed = self._git().must("for-each-ref", form, f"{SAVED_REF}/{task}/", timeout=deadline.left())
        return dict(line.split(" ", 1) for line in listed.splitlines())

    @contextmanager
    def _lock(self, deadline: Deadline) -> Iterator[None]:
        """One writer at a time among all processes of this machine; ends with the process that holds it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(
                self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise Unavailable(f"the mirror cannot be written: {error.strerror}") from error
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(min(0.02, deadline.left()))
            yield
        finally:
            os.close(handle)


def _tracking(branch: str) -> str:
    return f"refs/remotes/origin/{checked_branch(branch)}"


def _commit(sha: str) -> str:
    if not valid_sha(sha):
        raise Refused(f"{sha[:60]!r} is no commit id", code="bad-sha")
    return sha


def _open_for_reading(directory: Path) -> None:
    # Whatever the service's umask is: the accounts of the agents read this tree.
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
