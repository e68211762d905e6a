"""Replays the commits of a change on its base in a bare repository: no working tree, so nothing of theirs can run."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.ports import Refused
from workers.git.program import Deadline, Git, failure

MOST_COMMITS = 200
_FALLBACK = "unknown"


def rebased(git: Git, *, base: str, head: str, committer: Mapping[str, str], deadline: Deadline) -> str:
    """The last of the change's commits as they stand on `base`, each with its author, date and message; merges in between are left out, as
    are commits that the base has already. Refused codes: `conflict` (evidence: files), `not-allowed` for a change of too many commits."""
    commits = git.must(
        "rev-list", "--reverse", "--topo-order", "--no-merges", f"{base}..{head}", timeout=deadline.left()
    ).split()
    if len(commits) > MOST_COMMITS:
        raise Refused(
            f"the change has {len(commits)} commits: at most {MOST_COMMITS} are rebased, squash it", code="not-allowed"
        )
    onto = base
    for commit in commits:
        onto = _replayed(git, commit, onto, committer=committer, deadline=deadline)
    return onto


def _replayed(git: Git, commit: str, onto: str, *, committer: Mapping[str, str], deadline: Deadline) -> str:
    tree = _tree_on(git, commit, onto, committer=committer, deadline=deadline)
    if tree == git.must("rev-parse", f"{onto}^{{tree}}", timeout=deadline.left()):
        return onto  # the base has it already
    shown = git.must("show", "-s", "--format=%an%x00%ae%x00%ad%x00%B", "--date=raw", commit, timeout=deadline.left())
    name, email, date, message = shown.split("\0", 3)
    author = {
        "GIT_AUTHOR_NAME": name.strip() or _FALLBACK,
        "GIT_AUTHOR_EMAIL": email.strip() or _FALLBACK,
        "GIT_AUTHOR_DATE": date,
    }
    writer = Git(git.repository, settings=git.settings, env={**git.env, **committer, **author})
    return writer.must("commit-tree", "-p", onto, "-F", "-", tree, timeout=deadline.left(), stdin=message.encode())


def _tree_on(git: Git, commit: str, onto: str, *, committer: Mapping[str, str], deadline: Deadline) -> str:
    """What the commit's own change makes of `onto`: merged with a commit that has the tree of `onto` and the parent of `commit`, so that
    this parent is what both sides are compared with."""
    stand_in = Git(git.repository, settings=git.settings, env={**git.env, **committer})
    beside = stand_in.must(
        "commit-tree", "-p", f"{commit}^", "-m", "stand-in", f"{onto}^{{tree}}", timeout=deadline.left()
    )
    args = ("merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", beside, commit)
    output = git.run(*args, timeout=deadline.left())
    if output.code not in {0, 1}:
        raise failure(output, doing="rebasing the change on its base")
    tree, *files = output.stdout.decode("utf-8", "replace").rstrip("\0").split("\0")
    if output.code:
        names = sorted({file for file in files if file})
        sentence = f"the commit {commit[:10]} conflicts with the base in {', '.join(names[:5])}: rebase it by hand, or merge otherwise"
        raise Refused(sentence, code="conflict", evidence={"files": names})
    return tree.strip()
