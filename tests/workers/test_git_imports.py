"""What an agent's workspace hands out is believed in nothing: taken in whole, or refused without a trace, and looked through."""

from __future__ import annotations

import hashlib
import os
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.ports import Refused
from tests.repositories import Repository, open_folder
from workers.git.findings import FindingKind, Limits
from workers.git.imports import Imported
from workers.git.mirror import Mirror

BRANCH = "app/1-change"
REF = f"refs/heads/{BRANCH}"
# Put together here, so that this file does not look like a leak itself.
AWS_KEY = "AKIA" + "ABCDEFGH" + "IJKLMNOP"
PRIVATE_KEY = "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as made:
        yield made


@pytest.fixture
def origin(folder: Path) -> Repository:
    return Repository.make(
        folder / "origin", {"README": "hello\n", "tests/data": f"key = {AWS_KEY}\n", ".ci/run": "true\n"}
    )


@pytest.fixture
def mirror(folder: Path, origin: Repository) -> Mirror:
    made = Mirror(path=folder / "mirror.git", remote_url=str(origin.path))
    made.create(base_branch="main")
    return made


@pytest.fixture
def work(folder: Path, origin: Repository) -> Repository:
    return origin.clone(folder / "work", branch=BRANCH)


def take(mirror: Mirror, work: Repository, *refs: str, limits: Limits | None = None) -> Imported:
    base = work.ask("rev-parse", "origin/main")
    bundle = work.bundle(base, *(refs or (REF,)))
    return mirror.import_bundle(bundle, branch=BRANCH, base_sha=base, limits=limits or Limits())


def found(imported: Imported) -> set[tuple[FindingKind, str]]:
    return {(finding.kind, finding.path) for finding in imported.findings}


def objects(mirror: Mirror) -> set[Path]:
    return set((mirror.path / "objects").rglob("*"))


def test_plain_work_is_taken_in_without_a_finding(mirror: Mirror, work: Repository) -> None:
    sha = work.commit({"src/a.py": "a = 1\n"})
    taken = take(mirror, work)
    assert taken == Imported(head_sha=sha, ref=f"refs/ao/published/{BRANCH}", findings=())
    assert mirror.has(sha)


def test_taking_the_same_work_in_again_changes_nothing(mirror: Mirror, work: Repository) -> None:
    work.commit({"src/a.py": "a = 1\n"})
    assert take(mirror, work) == take(mirror, work)


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/ci.yml",
        ".github/actions/x/action.yml",
        ".github/CODEOWNERS",
        "CODEOWNERS",
        "docs/CODEOWNERS",
        "src/.gitattributes",
        ".gitlab-ci.yml",
        ".circleci/config.yml",
        "Jenkinsfile",
        "azure-pipelines.yml",
        ".pre-commit-config.yaml",
        ".husky/pre-commit",
        ".forgejo/workflows/x.yaml",
        ".GitHub/Workflows/ci.yml",
        ".ci/deploy",
    ],
)
def test_what_decides_who_may_or_what_runs_is_shown_to_a_human(mirror: Mirror, work: Repository, path: str) -> None:
    work.commit({path: "x\n"})
    assert (FindingKind.SENSITIVE_PATH, path) in found(take(mirror, work))


def test_deleting_and_moving_a_sensitive_file_is_a_change_of_it(mirror: Mirror, work: Repository) -> None:
    work.git("mv", ".ci/run", "run")
    work.commit({})
    assert (FindingKind.SENSITIVE_PATH, ".ci/run") in found(take(mirror, work))


def test_a_sensitive_file_that_comes_and_goes_within_the_branch_is_seen(mirror: Mirror, work: Repository) -> None:
    work.commit({".github/workflows/ci.yml": "on: push\n"})
    (work.path / ".github/workflows/ci.yml").unlink()
    work.commit({"src/a.py": "a = 1\n"})
    assert (FindingKind.SENSITIVE_PATH, ".github/workflows/ci.yml") in found(take(mirror, work))


def test_a_repository_inside_the_repository_is_shown_to_a_human(mirror: Mirror, work: Repository) -> None:
    work.git("update-index", "--add", "--cacheinfo", f"160000,{work.head},vendor/lib")
    work.git("commit", "-q", "-m", "vendor it")
    assert (FindingKind.SENSITIVE_PATH, "vendor/lib") in found(take(mirror, work))


@pytest.mark.parametrize(
    "content", [f"aws = '{AWS_KEY}'\n", PRIVATE_KEY, "t = 'ghp_" + "a1B2" * 9 + "'\n", "xoxb-" + "1234567890-abc\n"]
)
def test_a_likely_secret_is_found_and_not_repeated(mirror: Mirror, work: Repository, content: str) -> None:
    work.commit({"src/a.py": f"one\ntwo\n{content}"})
    findings = take(mirror, work).findings
    assert [(finding.kind, finding.path) for finding in findings] == [(FindingKind.SECRET, "src/a.py")]
    assert "line 3" in findings[0].detail
    assert content.strip() not in findings[0].detail


def test_a_secret_that_was_taken_back_is_still_in_the_history(mirror: Mirror, work: Repository) -> None:
    work.commit({"src/a.py": AWS_KEY})
    work.commit({"src/a.py": "clean\n"})
    assert found(take(mirror, work)) == {(FindingKind.SECRET, "src/a.py")}


def test_a_secret_in_a_commit_message_is_found(mirror: Mirror, work: Repository) -> None:
    sha = work.commit({"src/a.py": "a = 1\n"}, message=f"use {AWS_KEY}")
    assert found(take(mirror, work)) == {(FindingKind.SECRET, f"commit {sha[:12]}")}


def test_what_the_base_shows_already_is_no_news(mirror: Mirror, work: Repository) -> None:
    work.commit({"tests/data": f"key = {AWS_KEY}\nmore\n"})
    assert found(take(mirror, work)) == set()


def test_work_rebased_on_a_later_base_is_not_blamed_for_the_base(
    mirror: Mirror, origin: Repository, work: Repository
) -> None:
    base = origin.head
    work.commit({"src/a.py": "a = 1\n"})
    origin.commit({".github/workflows/ci.yml": "on: push\n", "keys": AWS_KEY})
    mirror.fetch("main")
    work.git("pull", "-q", "--rebase", "origin", "main")
    bundle = work.bundle(base, REF)
    assert mirror.import_bundle(bundle, branch=BRANCH, base_sha=base).findings == ()


def test_a_merge_that_takes_the_bases_sensitive_change_back_is_seen(
    mirror: Mirror, origin: Repository, work: Repository
) -> None:
    base = origin.head
    work.commit({"src/a.py": "a = 1\n"})
    origin.commit({".ci/run": "the base went on\n"})
    mirror.fetch("main")
    work.git("fetch", "-q", "origin")
    work.git("merge", "-q", "-s", "ours", "-m", "merge", "origin/main")
    imported = mirror.import_bundle(work.bundle(base, REF), branch=BRANCH, base_sha=base)
    assert found(imported) == {(FindingKind.SENSITIVE_PATH, ".ci/run")}


def test_a_large_file_waits_for_a_human(mirror: Mirror, work: Repository) -> None:
    work.commit({"big": b"\0" * 200 * 1024 * 1024})
    assert found(take(mirror, work)) == {(FindingKind.LARGE_FILE, "big")}


def test_a_file_made_to_be_slow_to_search_is_not(mirror: Mirror, work: Repository) -> None:
    work.commit({"a": ("-----BEGIN " + "A " * 50 + "xox" * 20 + " PRIVATE KEY npm_ AKIA ghp_ sk-ant- AIza\n") * 60_000})
    started = time.monotonic()
    assert found(take(mirror, work)) == set()
    assert time.monotonic() - started < 10


def test_what_is_too_much_to_search_is_said(mirror: Mirror, work: Repository) -> None:
    work.commit({"a": "a\n" * 1000, "b": "b\n" * 1000})
    assert FindingKind.UNSCANNED in {kind for kind, _ in found(take(mirror, work, limits=Limits(scanned=2500)))}


def test_work_over_the_cap_is_refused(mirror: Mirror, work: Repository) -> None:
    before = objects(mirror)
    work.commit({"big": os.urandom(100_000)})
    with pytest.raises(Refused) as refused:
        take(mirror, work, limits=Limits(bundle=50_000))
    assert refused.value.code == "too-large"
    assert objects(mirror) == before


@pytest.mark.parametrize("extra", ["refs/heads/other", "refs/tags/v1", "refs/replace/x", "HEAD"])
def test_a_bundle_with_another_ref_is_refused(mirror: Mirror, work: Repository, extra: str) -> None:
    before = objects(mirror)
    sha = work.commit({"src/a.py": "a = 1\n"})
    if extra != "HEAD":
        work.git("update-ref", extra, sha)
    with pytest.raises(Refused) as refused:
        take(mirror, work, REF, extra)
    assert refused.value.code == "bad-bundle"
    assert objects(mirror) == before
    assert not mirror.has(sha)


def bare_bundle(sha: str, name: str, pack: bytes) -> bytes:
    return f"# v2 git bundle\n{sha} {name}\n\n".encode() + pack


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"junk",
        b"# v2 git bundle\n",
        b"# v2 git bundle\n\nPACK",
        b"# v3 git bundle\n@filter=blob:none\n" + b"0" * 40 + b" " + REF.encode() + b"\n\nPACK",
        bare_bundle("0" * 40, "refs/heads/../../config", b"PACK"),
        bare_bundle("0" * 40, "--upload-pack=id", b"PACK"),
        bare_bundle("0" * 40, REF, b"PACK\0\0\0\2\0\0\0\1junk"),
        bare_bundle("0" * 39, REF, b"PACK"),
    ],
)
def test_what_is_no_bundle_of_ours_is_refused(mirror: Mirror, junk: bytes) -> None:
    before = objects(mirror)
    with pytest.raises(Refused) as refused:
        mirror.import_bundle(junk, branch=BRANCH, base_sha=mirror.base_sha("main") or "")
    assert refused.value.code == "bad-bundle"
    assert objects(mirror) == before


def raw_object(kind: str, content: bytes) -> tuple[str, bytes]:
    """The id of an object and how a pack holds it, made by hand because git itself would not make it."""
    sha = hashlib.sha1(f"{kind} {len(content)}\0".encode() + content).hexdigest()
    number = {"commit": 1, "tree": 2, "blob": 3}[kind]
    size, head = len(content), bytearray()
    byte = (number << 4) | (size & 15)
    size >>= 4
    while size:
        head.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    head.append(byte)
    return sha, bytes(head) + zlib.compress(content)


def hostile_bundle(base: str, tree_entry: str, blob: bytes, mode: str = "100644") -> bytes:
    """One commit on `base` whose tree has this one entry; a slash in it makes a folder."""
    sha, packed = raw_object("blob", blob)
    packs = [packed]
    for name in reversed(tree_entry.split("/")):
        sha, packed = raw_object("tree", f"{mode} {name}\0".encode() + bytes.fromhex(sha))
        mode = "40000"
        packs.append(packed)
    who = "A <a@example.invalid> 1700000000 +0000"
    sha, packed = raw_object("commit", f"tree {sha}\nparent {base}\nauthor {who}\ncommitter {who}\n\nx\n".encode())
    packs.append(packed)
    pack = b"PACK" + struct.pack(">II", 2, len(packs)) + b"".join(packs)
    return f"# v2 git bundle\n-{base} base\n{sha} {REF}\n\n".encode() + pack + hashlib.sha1(pack).digest()


def test_the_packs_made_by_hand_here_are_sound(mirror: Mirror) -> None:
    base = mirror.base_sha("main") or ""
    assert mirror.has(mirror.import_bundle(hostile_bundle(base, "a/b", b"x"), branch=BRANCH, base_sha=base).head_sha)


@pytest.mark.parametrize(
    "entry",
    [".git/config", ".GIT/config", ".Git/hooks/pre-push", "git~1/config", "sub/.git/config", "..", ".", "a/../b"],
)
def test_a_tree_that_would_write_into_a_git_directory_is_refused(mirror: Mirror, entry: str) -> None:
    before = objects(mirror)
    base = mirror.base_sha("main") or ""
    with pytest.raises(Refused) as refused:
        mirror.import_bundle(hostile_bundle(base, entry, b"[core]\n\tsshCommand = id\n"), branch=BRANCH, base_sha=base)
    assert refused.value.code == "bad-bundle"
    assert objects(mirror) == before


@pytest.mark.parametrize(
    "modules",
    [
        '[submodule "x"]\n\tpath = x\n\turl = -oProxyCommand=id\n',
        '[submodule "../x"]\n\tpath = x\n\turl = https://h/x\n',
        '[submodule "x"]\n\tpath = x\n\turl = ext::sh -c id\n\tupdate = !id\n',
        '[submodule "x"]\n\tpath = -x\n\turl = https://h/x\n',
    ],
)
def test_submodules_that_would_run_something_are_refused(mirror: Mirror, modules: str) -> None:
    base = mirror.base_sha("main") or ""
    with pytest.raises(Refused) as refused:
        mirror.import_bundle(hostile_bundle(base, ".gitmodules", modules.encode()), branch=BRANCH, base_sha=base)
    assert refused.value.code == "bad-bundle"


def test_a_symlink_in_the_place_of_gitmodules_is_refused(mirror: Mirror) -> None:
    base = mirror.base_sha("main") or ""
    with pytest.raises(Refused):
        mirror.import_bundle(
            hostile_bundle(base, ".gitmodules", b"/etc/passwd", mode="120000"), branch=BRANCH, base_sha=base
        )


def test_a_history_with_a_hole_is_refused(mirror: Mirror) -> None:
    base = mirror.base_sha("main") or ""
    who = "A <a@example.invalid> 1700000000 +0000"
    sha, packed = raw_object("commit", f"tree {'1' * 40}\nparent {base}\nauthor {who}\ncommitter {who}\n\nx\n".encode())
    pack = b"PACK" + struct.pack(">II", 2, 1) + packed
    bundle = f"# v2 git bundle\n-{base} base\n{sha} {REF}\n\n".encode() + pack + hashlib.sha1(pack).digest()
    with pytest.raises(Refused) as refused:
        mirror.import_bundle(bundle, branch=BRANCH, base_sha=base)
    assert refused.value.code == "bad-bundle"
    assert not mirror.has(sha)


def test_saved_work_is_numbered_and_the_same_work_keeps_its_number(mirror: Mirror, work: Repository) -> None:
    base = work.head

    def keep() -> str:
        work.git("update-ref", "refs/ao/saved", work.head)
        return mirror.import_saved(work.bundle(base, "refs/ao/saved"), task=12, base_sha=base).ref

    work.commit({"a": "1\n"})
    assert keep() == "refs/ao/saved/12/1"
    assert keep() == "refs/ao/saved/12/1"
    work.commit({"a": "2\n"})
    assert keep() == "refs/ao/saved/12/2"
