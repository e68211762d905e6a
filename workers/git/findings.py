"""What a person should see before an agent's commits leave the house: sensitive paths, large files, likely secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from orchestrator.ports import Refused
from workers.git.program import Deadline, Git, failure


class FindingKind(StrEnum):
    SENSITIVE_PATH = "sensitive-path"  # it changes who may do what, or what runs where
    LARGE_FILE = "large-file"
    SECRET = "secret"  # noqa: S105 - a kind, not a password
    UNSCANNED = "unscanned"  # more content than is searched for secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One reason for a push to wait for a human. `detail` never holds the secret itself."""

    kind: FindingKind
    path: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """In bytes: a whole bundle, one file of a commit, and how much content is searched for secrets."""

    bundle: int = 100 * 1024 * 1024
    file: int = 50 * 1024 * 1024
    scanned: int = 32 * 1024 * 1024


_SENSITIVE = re.compile(
    r"""(^|/)\.github/(workflows|actions)/ | ^(\.github/|\.gitlab/|docs/)?codeowners$ | ^\.github/dependabot\.ya?ml$
    | (^|/)\.git(attributes|modules)$ | ^\.gitlab-ci\.ya?ml$ | ^\.gitlab/ci/ | ^\.circleci/ | (^|/)jenkinsfile$ | ^\.travis\.yml$
    | ^\.?azure-pipelines(\.ya?ml$|/) | ^bitbucket-pipelines\.yml$ | ^\.drone\.ya?ml$ | ^\.woodpecker(\.ya?ml$|/) | ^\.buildkite/
    | ^\.?appveyor\.yml$ | ^\.(gitea|forgejo)/workflows/ | ^\.pre-commit-config\.yaml$ | ^\.husky/ | ^\.lefthook | ^lefthook\.ya?ml$
    | ^workflow\.md$ | ^\.ci/ | ^\.teamcity/ | ^cloudbuild\.ya?ml$ | ^buildspec\.ya?ml$""",
    re.VERBOSE | re.IGNORECASE,
)
# Name -> words of which one is there in every match, and the match itself. Looking for the words first is a hundred times faster than any
# pattern, and a search holds up every other thread of the process.
_SECRETS: Mapping[str, tuple[tuple[bytes, ...], re.Pattern[bytes]]] = {
    "a private key": (
        (b"PRIVATE KEY",),
        re.compile(rb"-----BEGIN (?:[A-Z]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----\s{1,8}[A-Za-z0-9+/=:\s]{20}"),
    ),
    "an AWS access key": ((b"AKIA", b"ASIA"), re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    "a GitHub token": (
        (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_"),
        re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50})"),
    ),
    "a GitLab token": ((b"glpat-",), re.compile(rb"\bglpat-[A-Za-z0-9_-]{20}")),
    "a Slack token": ((b"xox",), re.compile(rb"\bxox[abeprs]-[0-9A-Za-z-]{10}")),
    "a Slack webhook": (
        (b"hooks.slack.com",),
        re.compile(rb"hooks\.slack\.com/services/T[A-Z0-9]{1,20}/B[A-Z0-9]{1,20}/[A-Za-z0-9]{20}"),
    ),
    "a Google key": ((b"AIza",), re.compile(rb"\bAIza[0-9A-Za-z_-]{35}")),
    "a model provider's key": ((b"sk-ant-", b"sk-proj-"), re.compile(rb"\bsk-(?:ant|proj)-[A-Za-z0-9_-]{20}")),
    "a Stripe key": ((b"k_live_",), re.compile(rb"\b[rs]k_live_[0-9a-zA-Z]{20}")),
    "an npm token": ((b"npm_",), re.compile(rb"\bnpm_[A-Za-z0-9]{36}\b")),
    "a PyPI token": ((b"pypi-AgEIcHlwaS5vcmc",), re.compile(rb"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50}")),
}
_HITS_CAP = 5  # of one kind in one file: a person needs the first ones only
_KNOWN_CAP = 500  # branches; each is an argument
_GITLINK = "160000"
_LIST_CAP = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Object:
    sha: str
    kind: str
    size: int
    path: str


def examine(git: Git, *, base: str, head: str, limits: Limits, deadline: Deadline) -> tuple[Finding, ...]:
    """Everything worth a look in the commits of `head` that are new to the remote, in any of them and not only in the last.

    New is what neither `base` has nor a branch that was fetched: work that was rebased on a later base is not blamed for what came with it.
    """
    known = [base, *_fetched(git, deadline=deadline)]
    left = git.run("merge-base", head, *known, timeout=deadline.left()).text or base
    objects = _new_objects(git, known=known, head=head, deadline=deadline)
    found = [*_sensitive(git, left=left, head=head, objects=objects, deadline=deadline)]
    found += [
        Finding(kind=FindingKind.LARGE_FILE, path=blob.path, detail=f"{blob.size / 1024 / 1024:.1f} MB")
        for blob in objects
        if blob.kind == "blob" and blob.size > limits.file
    ]
    found += _secrets(git, base=left, objects=objects, limits=limits, deadline=deadline)
    return tuple(dict.fromkeys(found))


def _fetched(git: Git, *, deadline: Deadline) -> Sequence[str]:
    listed = git.must("for-each-ref", "--format=%(objectname)", "refs/remotes/origin/", timeout=deadline.left())
    return listed.split()[:_KNOWN_CAP]


def _new_objects(git: Git, *, known: Sequence[str], head: str, deadline: Deadline) -> Sequence[_Object]:
    args = ("rev-list", "--objects", "--end-of-options", head, *(f"^{sha}" for sha in known))
    output = git.run(*args, timeout=deadline.left(), cap=_LIST_CAP)
    if output.truncated:
        raise Refused("the branch holds more objects than are accepted in one change", code="too-large")
    if output.code != 0:
        raise failure(output, doing="listing the new commits")
    lines = output.stdout.decode("utf-8", "surrogateescape").split("\n")
    paths = {line[:40]: line[41:] for line in lines if line}
    asked = "".join(f"{sha}\n" for sha in paths).encode()
    seen = git.must("cat-file", "--batch-check", timeout=deadline.left(), stdin=asked, cap=_LIST_CAP)
    rows = (line.split(" ") for line in seen.splitlines())
    return [_Object(sha=sha, kind=kind, size=int(size), path=_shown(paths[sha])) for sha, kind, size in rows]


def _sensitive(git: Git, *, left: str, head: str, objects: Sequence[_Object], deadline: Deadline) -> Iterator[Finding]:
    changed = _changed_paths(git, left=left, head=head, deadline=deadline)
    passing = {new.path: "" for new in objects if new.kind == "blob" and new.path}
    for path, mode in {**passing, **changed}.items():
        if mode == _GITLINK:
            yield Finding(kind=FindingKind.SENSITIVE_PATH, path=path, detail="another repository inside this one")
        elif _SENSITIVE.search(path):
            yield Finding(kind=FindingKind.SENSITIVE_PATH, path=path, detail="decides what runs, or who has to approve")


def _changed_paths(git: Git, *, left: str, head: str, deadline: Deadline) -> Mapping[str, str]:
    """Path -> new mode of what differs from where the branch left the base; deletions and moves are changes too."""
    args = ("diff-tree", "-r", "-z", "--no-renames", "--no-ext-diff", "--end-of-options", left, head)
    output = git.run(*args, timeout=deadline.left(), cap=_LIST_CAP)
    if output.code != 0:
        raise failure(output, doing="comparing the branch with its base")
    fields = output.stdout.decode("utf-8", "surrogateescape").split("\0")
    return {_shown(path): header.split(" ")[1] for header, path in zip(fields[::2], fields[1::2], strict=False)}


def _secrets(
    git: Git, *, base: str, objects: Sequence[_Object], limits: Limits, deadline: Deadline
) -> Iterator[Finding]:
    scanned: list[_Object] = []
    left = limits.scanned
    for candidate in objects:
        if candidate.kind == "tree" or (candidate.kind == "blob" and candidate.size > limits.file):
            continue
        if candidate.size > left:
            yield Finding(kind=FindingKind.UNSCANNED, path=candidate.path, detail="too much to search for secrets")
            continue
        left -= candidate.size
        scanned.append(candidate)
    contents = _contents(git, [new.sha for new in scanned], deadline=deadline, cap=limits.scanned * 2)
    for new, content in zip(scanned, contents, strict=True):
        for name, line in _new_secrets(git, content, base=base, path=new.path, deadline=deadline):
            where = new.path or f"commit {new.sha[:12]}"
            yield Finding(kind=FindingKind.SECRET, path=where, detail=f"looks like {name}, line {line}")


def _new_secrets(git: Git, content: bytes, *, base: str, path: str, deadline: Deadline) -> Sequence[tuple[str, int]]:
    hits = [
        (name, match)
        for name, (words, pattern) in _SECRETS.items()
        if any(word in content for word in words)
        for match in islice(pattern.finditer(content), _HITS_CAP)
    ]
    if not hits:
        return ()
    # What the base shows in the same file already is no news: test data with made-up keys would hold up every change.
    known = git.run("cat-file", "blob", f"{base}:{path}", timeout=deadline.left()).stdout if path else b""
    return [(name, content.count(b"\n", 0, hit.start()) + 1) for name, hit in hits if hit.group() not in known]


def _contents(git: Git, shas: Sequence[str], *, deadline: Deadline, cap: int) -> Iterator[bytes]:
    asked = "".join(f"{sha}\n" for sha in shas).encode()
    output = git.run("cat-file", "--batch", timeout=deadline.left(), stdin=asked, cap=cap)
    if output.code != 0:
        raise failure(output, doing="reading the new files")
    position = 0
    for _ in shas:
        end = output.stdout.index(b"\n", position)
        size = int(output.stdout[position:end].rsplit(b" ", 1)[1])
        yield output.stdout[end + 1 : end + 1 + size]
        position = end + 1 + size + 1


def _shown(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
