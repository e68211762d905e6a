"""Merges, compares and judges commits in a bare repository: no working tree, so nothing of theirs can run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.naming import valid_sha
from orchestrator.ports import Refused
from workers.git.program import Deadline, Git, failure
from workers.git.rebasing import rebased

METHODS = ("merge", "squash", "rebase")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who is named as a commit's author and committer."""

    name: str
    email: str


ORCHESTRATOR = Person(name="Agent Orchestrator", email="orchestrator@ao.invalid")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    tree: str
    conflicts: tuple[str, ...]


def conflicts(git: Git, *, base: str, head: str, timeout: float) -> tuple[str, ...]:
    """The files in which merging `head` into `base` needs a decision; empty when it merges cleanly."""
    return _attempt(git, base=base, head=head, deadline=Deadline.after(timeout)).conflicts


def merge_commit(
    git: Git, *, base: str, head: str, method: str, message: str, at: datetime, author: Person, timeout: float
) -> str:
    """Make the commit that merges `head` into `base` (or the commits, when they are rebased) and answer its id: the same id for the same arguments, so that trying again is safe.

    Refused codes: `conflict` (evidence: files), `not-allowed` for an unknown method.
    """
    if method not in METHODS:
        raise Refused(f"the merge method {method[:20]!r} is not one of {', '.join(METHODS)}", code="not-allowed")
    deadline = Deadline.after(timeout)
    attempt = _attempt(git, base=base, head=head, deadline=deadline)
    if attempt.conflicts:
        sentence = f"the change conflicts with its base in {', '.join(attempt.conflicts[:5])}"
        raise Refused(sentence, code="conflict", evidence={"files": list(attempt.conflicts)})
    parents = (base, head) if method == "merge" else (base,)
    date = f"{int(at.timestamp())} +0000"
    committer = {
        "GIT_COMMITTER_NAME": ORCHESTRATOR.name,
        "GIT_COMMITTER_EMAIL": ORCHESTRATOR.email,
        "GIT_COMMITTER_DATE": date,
    }
    env = {"GIT_AUTHOR_NAME": author.name, "GIT_AUTHOR_EMAIL": author.email, "GIT_AUTHOR_DATE": date, **committer}
    if method == "rebase":
        return rebased(git, base=base, head=head, committer=env, deadline=deadline)
    args = [option for parent in parents for option in ("-p", parent)]
    writer = Git(git.repository, settings=git.settings, env={**git.env, **env})
    return writer.must("commit-tree", *args, "-F", "-", attempt.tree, timeout=deadline.left(), stdin=message.encode())


def diff(git: Git, *, base: str, head: str, cap: int, timeout: float) -> str:
    """What `head` changes since it left `base`, as a unified diff of at most `cap` bytes; a cut is said in its last line."""
    options = (
        "--no-ext-diff",
        "--no-textconv",
        "--no-color",
        "--no-indent-heuristic",
        "--find-renames",
        "--submodule=short",
    )
    span = f"{_sha(base)}...{_sha(head)}"
    output = git.run("diff", *options, "--end-of-options", span, timeout=timeout, cap=cap)
    if output.code != 0 and not output.truncated:
        raise failure(output, doing="comparing the change with its base")
    text = output.stdout.decode("utf-8", "replace")
    return f"{text}\n[the rest of the diff is left out: it is longer than {cap} bytes]\n" if output.truncated else text


def is_ancestor(git: Git, *, ancestor: str, of: str, timeout: float) -> bool:
    """Whether `ancestor` is contained in the history of `of`."""
    output = git.run("merge-base", "--is-ancestor", _sha(ancestor), _sha(of), timeout=timeout)
    if output.code not in {0, 1}:
        raise failure(output, doing="comparing two commits")
    return output.code == 0


def _attempt(git: Git, *, base: str, head: str, deadline: Deadline) -> _Attempt:
    args = ("merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", _sha(base), _sha(head))
    output = git.run(*args, timeout=deadline.left())
    if output.code not in {0, 1}:
        raise failure(output, doing="merging the change with its base")
    tree, *files = output.stdout.decode("utf-8", "replace").rstrip("\0").split("\0")
    return _Attempt(tree=tree.strip(), conflicts=tuple(sorted({file for file in files if file})) if output.code else ())


def _sha(text: str) -> str:
    if not valid_sha(text):
        raise Refused(f"{text[:60]!r} is no commit id", code="bad-sha")
    return text
