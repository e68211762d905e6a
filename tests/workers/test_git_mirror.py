"""The mirror: made once, never torn, pushed from with a lease, judged by what the remote says and not by what was replied."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from orchestrator.ports import Refused, Unavailable
from tests.repositories import Repository, open_folder
from workers.git.mirror import Mirror
from workers.git.program import Git
from workers.git.remote import default_branch, remote_at

BRANCH = "app/1-change"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as made:
        yield made


@pytest.fixture
def origin(folder: Path) -> Repository:
    return Repository.make(folder / "origin", {"README": "hello\n", "src/a.py": "a = 1\n"})


@pytest.fixture
def mirror(folder: Path, origin: Repository) -> Mirror:
    made = Mirror(path=folder / "mirrors" / "app-1.git", remote_url=str(origin.path))
    made.create(base_branch="main")
    return made


@pytest.fixture
def work(folder: Path, origin: Repository) -> Repository:
    return origin.clone(folder / "work", branch=BRANCH)


def imported(mirror: Mirror, work: Repository, base: str) -> str:
    bundle = work.bundle(base, f"refs/heads/{BRANCH}")
    return mirror.import_bundle(bundle, branch=BRANCH, base_sha=base).head_sha


def test_a_mirror_knows_the_base_and_making_it_again_brings_it_up_to_date(mirror: Mirror, origin: Repository) -> None:
    assert mirror.base_sha("main") == origin.head
    newer = origin.commit({"README": "newer\n"})
    assert mirror.create(base_branch="main") == newer
    assert mirror.base_sha("main") == newer


def test_a_clone_that_failed_leaves_nothing_that_looks_like_a_mirror(folder: Path) -> None:
    mirror = Mirror(path=folder / "mirrors" / "x.git", remote_url=str(folder / "nowhere"))
    with pytest.raises(Refused) as refused:
        mirror.create(base_branch="main")
    assert refused.value.code == "no-repository"
    assert not mirror.exists
    assert [path.name for path in (folder / "mirrors").iterdir()] == ["x.git.lock"]


def test_what_a_killed_clone_left_is_cleared_away(folder: Path, origin: Repository) -> None:
    left = folder / "mirrors" / ".x.git.0123"
    left.mkdir(parents=True)
    Mirror(path=folder / "mirrors" / "x.git", remote_url=str(origin.path)).create(base_branch="main")
    assert not left.exists()


@pytest.mark.parametrize("left", ["refs/remotes/origin/main.lock", "packed-refs.lock"])
def test_what_a_killed_git_left_locked_is_free_again(mirror: Mirror, origin: Repository, left: str) -> None:
    (mirror.path / left).touch()
    newer = origin.commit({"README": "newer\n"})
    if left.startswith("packed"):
        Git(mirror.path).must("pack-refs", "--all", timeout=10)
    assert mirror.fetch("main") == newer
    assert not (mirror.path / left).exists()


def test_a_lock_of_a_living_git_is_left_alone(mirror: Mirror, origin: Repository) -> None:
    lock = mirror.path / "refs/remotes/origin/main.lock"
    lock.touch()
    origin.commit({"README": "newer\n"})
    batch = subprocess.Popen(["git", f"--git-dir={mirror.path}", "cat-file", "--batch"], stdin=subprocess.PIPE)
    try:
        with pytest.raises(Unavailable, match="lock"):
            mirror.fetch("main")
        assert lock.exists()
    finally:
        batch.communicate()
    mirror.fetch("main")
    assert not lock.exists()


def test_many_make_one_mirror_at_once_and_all_get_the_base(folder: Path, origin: Repository) -> None:
    mirror = Mirror(path=folder / "mirrors" / "x.git", remote_url=str(origin.path))
    with ThreadPoolExecutor(8) as pool:
        shas = list(pool.map(lambda _: mirror.create(base_branch="main"), range(8)))
    assert set(shas) == {origin.head}


def test_a_missing_base_branch_is_named(mirror: Mirror) -> None:
    with pytest.raises(Refused, match="nope") as refused:
        mirror.fetch("nope")
    assert refused.value.code == "no-branch"


def test_a_remote_that_does_not_answer_is_worth_another_try(mirror: Mirror) -> None:
    away = Mirror(path=mirror.path, remote_url="http://127.0.0.1:9/x.git")
    with pytest.raises(Unavailable):
        away.fetch("main")


def test_a_remote_that_hangs_ends_with_its_deadline(mirror: Mirror) -> None:
    fifo = mirror.path.parent / "fifo.git"
    fifo.mkdir()
    os.mkfifo(fifo / "HEAD")
    hanging = Mirror(path=mirror.path, remote_url=str(fifo))
    with pytest.raises(Unavailable, match="in time"):
        hanging.remote_sha("main", timeout=0.5)


def test_the_objects_may_be_read_by_every_account(folder: Path, origin: Repository) -> None:
    before = os.umask(0o077)
    try:
        mirror = Mirror(path=folder / "tight.git", remote_url=str(origin.path))
        mirror.create(base_branch="main")
        mirror.repack()
    finally:
        os.umask(before)
    for path in (mirror.path, *mirror.path.rglob("*")):
        assert path.stat().st_mode & (0o005 if path.is_dir() else 0o004), path


def test_a_token_never_touches_the_disk(folder: Path, origin: Repository) -> None:
    mirror = Mirror(path=folder / "app.git", remote_url=str(origin.path), token=lambda: "tok-canary")
    mirror.create(base_branch="main")
    away = Mirror(path=mirror.path, remote_url="http://user:pass-canary@127.0.0.1:9/x.git", token=lambda: None)
    with pytest.raises(Unavailable) as unavailable:
        away.fetch("main")
    assert "canary" not in str(unavailable.value)
    assert not [path for path in mirror.path.rglob("*") if path.is_file() and b"canary" in path.read_bytes()]


def test_a_login_is_shown_to_its_own_host_only_and_is_not_in_the_url() -> None:
    remote = remote_at("https://somebody:secret@example.invalid:8443/team/app.git", token=None)
    assert remote.url == "https://example.invalid:8443/team/app.git"
    assert list(remote.settings) == ["http.https://example.invalid:8443/.extraHeader"]
    assert "secret" not in repr(remote)


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c id",
        "-oProxyCommand=id",
        "--upload-pack=id",
        "ssh://-oProxyCommand=id/x",
        "-x@host:path",
        "a@-host:path",
        "a@host:-path",
        "fd::17",
        "relative/path",
        "",
        "file://elsewhere/path",
        "https:///path",
        "git://example.invalid/x",
        "/tmp/a\nb",
        "ftp://h/x",
    ],
)
def test_a_remote_that_is_more_than_a_place_is_refused(url: str) -> None:
    with pytest.raises(Refused) as refused:
        remote_at(url, token=None)
    assert refused.value.code == "bad-remote"


@pytest.mark.parametrize(
    "url", ["git@example.invalid:team/app.git", "ssh://git@example.invalid:22/app.git", "/srv/app.git"]
)
def test_the_usual_places_are_taken(url: str) -> None:
    assert remote_at(url, token=None).url == url


def test_the_default_branch_is_what_the_remote_says(origin: Repository) -> None:
    origin.git("checkout", "-q", "-b", "trunk")
    assert default_branch(str(origin.path)) == "trunk"


def test_a_pushed_branch_is_on_the_remote_and_pushing_again_is_fine(
    mirror: Mirror, origin: Repository, work: Repository
) -> None:
    work.commit({"src/a.py": "a = 2\n"})
    sha = imported(mirror, work, origin.head)
    assert mirror.push(BRANCH, sha, expected=None).sha == sha
    assert mirror.push(BRANCH, sha, expected=None).sha == sha
    assert origin.ask("rev-parse", BRANCH) == sha == mirror.remote_sha(BRANCH)


def test_a_push_of_a_human_is_never_overwritten(mirror: Mirror, origin: Repository, work: Repository) -> None:
    base = origin.head
    first = imported(mirror, work, base) if work.commit({"src/a.py": "a = 2\n"}) else ""
    mirror.push(BRANCH, first, expected=None)
    origin.git("checkout", "-q", BRANCH)
    theirs = origin.commit({"src/a.py": "a = 3\n"})
    origin.git("checkout", "-q", "main")
    work.commit({"src/a.py": "a = 4\n"})
    second = imported(mirror, work, base)
    with pytest.raises(Refused) as refused:
        mirror.push(BRANCH, second, expected=first)
    assert refused.value.code == "diverged"
    assert refused.value.evidence == {"expected": first, "remote": theirs, "ours": second}
    assert mirror.remote_sha(BRANCH) == theirs


def test_a_branch_that_was_deleted_by_a_human_is_not_brought_back(
    mirror: Mirror, origin: Repository, work: Repository
) -> None:
    base = origin.head
    work.commit({"src/a.py": "a = 2\n"})
    first = imported(mirror, work, base)
    mirror.push(BRANCH, first, expected=None)
    origin.git("branch", "-q", "-D", BRANCH)
    work.commit({"src/a.py": "a = 4\n"})
    with pytest.raises(Refused, match="gone") as refused:
        mirror.push(BRANCH, imported(mirror, work, base), expected=first)
    assert refused.value.code == "diverged"
    assert mirror.remote_sha(BRANCH) is None


def test_a_lost_reply_is_found_by_the_look_up(
    mirror: Mirror, folder: Path, origin: Repository, work: Repository
) -> None:
    bare = folder / "bare.git"
    origin.git("clone", "-q", "--bare", str(origin.path), str(bare))
    # The ref is moved and then the connection breaks: git reports a failure for a push that has happened.
    hook = bare / "hooks" / "post-update"
    hook.write_text("#!/bin/sh\nkill -9 $(ps -o ppid= -p $$)\n")
    hook.chmod(0o755)
    work.commit({"src/a.py": "a = 2\n"})
    sha = imported(mirror, work, origin.head)
    result = Mirror(path=mirror.path, remote_url=str(bare)).push(BRANCH, sha, expected=None)
    assert result.confirmed_by == "look-up"
    assert result.sha == sha


def test_a_remote_that_says_no_is_quoted(mirror: Mirror, folder: Path, origin: Repository, work: Repository) -> None:
    bare = folder / "bare.git"
    origin.git("clone", "-q", "--bare", str(origin.path), str(bare))
    hook = bare / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho protected branch >&2\nexit 1\n")
    hook.chmod(0o755)
    work.commit({"src/a.py": "a = 2\n"})
    with pytest.raises(Refused) as refused:
        Mirror(path=mirror.path, remote_url=str(bare)).push(BRANCH, imported(mirror, work, origin.head), expected=None)
    assert refused.value.code == "not-allowed"


def test_a_branch_is_deleted_only_where_it_was_left(mirror: Mirror, origin: Repository, work: Repository) -> None:
    base = origin.head
    work.commit({"src/a.py": "a = 2\n"})
    sha = imported(mirror, work, base)
    mirror.push(BRANCH, sha, expected=None)
    with pytest.raises(Refused) as refused:
        mirror.delete_remote_branch(BRANCH, expected_sha=base)
    assert refused.value.code == "branch-moved"
    mirror.delete_remote_branch(BRANCH, expected_sha=sha)
    mirror.delete_remote_branch(BRANCH, expected_sha=sha)
    assert mirror.remote_sha(BRANCH) is None


def test_a_checked_out_base_is_updated_with_its_tree(mirror: Mirror, origin: Repository, work: Repository) -> None:
    base = origin.head
    work.commit({"src/a.py": "a = 2\n"})
    merge = mirror.merge_commit(
        base_sha=base, head_sha=imported(mirror, work, base), method="squash", message="m", at=NOW
    )
    mirror.push("main", merge, expected=base)
    assert (origin.path / "src/a.py").read_text() == "a = 2\n"
    assert origin.ask("status", "--porcelain") == ""


def test_a_change_is_rebased_commit_by_commit_with_its_authors_and_without_its_merges(
    mirror: Mirror, origin: Repository, work: Repository
) -> None:
    first = origin.head
    work.git("commit", "-q", "--allow-empty", "-m", "Nothing")
    work.commit({"src/a.py": "a = 2\n"})
    work.git("commit", "-q", "--amend", "--author=Ada <ada@example.com>", "-m", "Two\n\nWhy: so")
    work.commit({"src/b.py": "b = 1\n"})
    base = origin.commit({"elsewhere": "x\n"})
    mirror.fetch("main")
    head = imported(mirror, work, first)
    made = {mirror.merge_commit(base_sha=base, head_sha=head, method="rebase", message="m", at=NOW) for _ in range(2)}
    assert len(made) == 1  # trying again is safe
    (sha,) = made
    mirror.push("main", sha, expected=base)
    shown = origin.ask("log", "--format=%an %cn %s", f"{base}..main").splitlines()
    assert shown[1] == "Ada Agent Orchestrator Two"
    assert len(shown) == 2
    assert "Why: so" in origin.ask("log", "-1", "--format=%B", "main^")
    assert origin.ask("rev-list", "--merges", "--count", "main") == "0"
    assert (origin.ask("show", "main:src/a.py"), origin.ask("show", "main:elsewhere")) == ("a = 2", "x")


def test_a_commit_that_cannot_be_rebased_is_named_with_its_files(
    mirror: Mirror, origin: Repository, work: Repository
) -> None:
    first = origin.head
    work.commit({"src/a.py": "a = 2\n"})
    work.commit({"src/a.py": "a = 9\n"})  # as the base will have it: the merge is clean, the first commit is not
    base = origin.commit({"src/a.py": "a = 9\n"})
    mirror.fetch("main")
    head = imported(mirror, work, first)
    assert mirror.conflicts(base_sha=base, head_sha=head) == ()
    with pytest.raises(Refused, match=r"src/a\.py") as refused:
        mirror.merge_commit(base_sha=base, head_sha=head, method="rebase", message="m", at=NOW)
    assert refused.value.code == "conflict"


def test_of_many_pushes_into_a_checkout_one_wins_and_the_tree_is_its(
    mirror: Mirror, origin: Repository, work: Repository
) -> None:
    first = base = origin.head
    for number in range(3):
        merges = []
        for rival in range(6):
            work.git("checkout", "-q", "-B", BRANCH, first)
            work.commit({f"src/{number}-{rival}.py": "x = 1\n"})
            head = imported(mirror, work, first)
            merges.append(mirror.merge_commit(base_sha=base, head_sha=head, method="merge", message="m", at=NOW))
        with ThreadPoolExecutor(6) as pool:
            came_of_it = sorted(pool.map(partial(pushed, mirror, base), merges))
        base = mirror.fetch("main")
        assert came_of_it == sorted([base, *["diverged"] * 5])
        assert origin.ask("status", "--porcelain") == ""


def pushed(mirror: Mirror, base: str, sha: str) -> str:
    """The sha where it became the base, else why not."""
    try:
        return mirror.push("main", sha, expected=base).sha
    except Refused as refused:
        return refused.code


@pytest.mark.parametrize("file", ["README", "src/new.py"])
def test_a_dirty_base_waits_and_says_so(mirror: Mirror, origin: Repository, work: Repository, file: str) -> None:
    base = origin.head
    work.commit({"src/a.py": "a = 2\n", "src/new.py": "theirs\n"})
    merge = mirror.merge_commit(
        base_sha=base, head_sha=imported(mirror, work, base), method="merge", message="m", at=NOW
    )
    (origin.path / file).write_text("mine, not committed\n")
    with pytest.raises(Refused, match=r"commit or stash") as refused:
        mirror.push("main", merge, expected=base)
    assert refused.value.code == "base-dirty"
    assert (origin.path / file).read_text() == "mine, not committed\n"
    assert origin.head == base


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository to another account")
def test_a_checkout_of_another_account_stays_that_accounts(folder: Path, origin: Repository, work: Repository) -> None:
    for path in (origin.path, *origin.path.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    mirror = Mirror(path=folder / "app.git", remote_url=str(origin.path))
    base = mirror.create(base_branch="main")
    work.commit({"src/a.py": "a = 2\n", "src/deep/new.py": "n = 1\n"})
    merge = mirror.merge_commit(
        base_sha=base, head_sha=imported(mirror, work, base), method="squash", message="m", at=NOW
    )
    mirror.push("main", merge, expected=base)
    assert {path.lstat().st_uid for path in origin.path.rglob("*")} == {65534}


def test_the_same_merge_has_the_same_name_so_that_a_second_try_adopts_the_first(
    mirror: Mirror, origin: Repository, work: Repository
) -> None:
    base = origin.head
    work.commit({"src/a.py": "a = 2\n"})
    head = imported(mirror, work, base)
    merges = [
        mirror.merge_commit(base_sha=base, head_sha=head, method="merge", message="m\n\nbody", at=NOW) for _ in range(2)
    ]
    assert merges[0] == merges[1]
    assert mirror.is_ancestor(ancestor=head, of=merges[0])
    assert not mirror.is_ancestor(ancestor=merges[0], of=head)


def test_a_conflict_names_its_files(mirror: Mirror, origin: Repository, work: Repository) -> None:
    base = origin.head
    work.commit({"src/a.py": "a = 2\n", "b": "b\n"})
    head = imported(mirror, work, base)
    origin.commit({"src/a.py": "a = 3\n"})
    newer = mirror.fetch("main")
    assert mirror.conflicts(base_sha=base, head_sha=head) == ()
    assert mirror.conflicts(base_sha=newer, head_sha=head) == ("src/a.py",)
    with pytest.raises(Refused) as refused:
        mirror.merge_commit(base_sha=newer, head_sha=head, method="squash", message="m", at=NOW)
    assert refused.value.code == "conflict"
    assert refused.value.evidence == {"files": ["src/a.py"]}


def test_a_diff_is_of_the_change_alone_and_says_when_it_is_cut(
    mirror: Mirror, origin: Repository, work: Repository
) -> None:
    base = origin.head
    work.commit({"src/a.py": "a = 2\n" * 500})
    head = imported(mirror, work, base)
    origin.commit({"README": "the base went on\n"})
    newer = mirror.fetch("main")
    whole = mirror.diff(base_sha=newer, head_sha=head, cap=1 << 20)
    assert "+a = 2" in whole
    assert "README" not in whole
    cut = mirror.diff(base_sha=newer, head_sha=head, cap=100)
    assert len(cut) < 200
    assert "left out" in cut


def test_repacking_drops_nothing_that_others_may_borrow(mirror: Mirror, origin: Repository) -> None:
    old = origin.commit({"README": "to be forgotten\n"})
    mirror.fetch("main")
    origin.git("reset", "-q", "--hard", "HEAD~1")
    for number in range(5):
        origin.commit({"README": f"{number}\n"})
        mirror.fetch("main")
    mirror.repack()
    assert mirror.has(old)
    assert not mirror.has("0" * 40)


def test_readers_work_while_the_mirror_is_repacked(mirror: Mirror, origin: Repository) -> None:
    shas = []
    for number in range(12):
        origin.commit({"README": f"{number}\n"})
        shas.append(mirror.fetch("main"))
    stop = threading.Event()

    def read_until_stopped() -> list[bool]:
        seen = []
        while not stop.is_set():
            seen += [mirror.has(sha) for sha in shas]
        return seen

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_until_stopped)
        for _ in range(5):
            mirror.repack()
        stop.set()
        assert all(reading.result())
