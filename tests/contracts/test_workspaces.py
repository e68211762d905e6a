"""What every Workspaces keeps: a tree of one's own, made once, judged by git, handed out as a bundle, never lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from orchestrator.ports import Command, Completed, Refused, Room, Sandbox, WorkspaceSpec
from tests.installation import running, wait_for
from tests.repositories import Repository, open_folder
from workers.git.mirror import Mirror
from workers.plugins.hosts.local import LocalHost
from workers.plugins.workspaces.worktree import WorktreeWorkspaces

BRANCH = "app/12-fix"
CAP = 1 << 20
FILES = {"README": "hello\n", "src/a.py": "a = 1\n", ".gitignore": "ignored\n", "bin/tool": "#!/bin/sh\n"}


@dataclass(frozen=True, slots=True)
class House:
    """A project, its mirror and a host."""

    origin: Repository
    mirror: Mirror
    host: LocalHost
    sandbox: Sandbox

    def spec(self, workspace: str = "app-12-1", branch: str | None = BRANCH) -> WorkspaceSpec:
        base = self.mirror.base_sha("main") or ""
        return WorkspaceSpec(
            workspace=f"{workspace}-{os.getpid()}",  # test processes share the machine
            mirror=str(self.mirror.path),
            base_branch="main",
            base_sha=base,
            branch=branch,
            sandbox=self.sandbox,
        )

    def open(self, spec: WorkspaceSpec) -> Room:
        return self.host.open_workspace(spec.workspace)

    def agent(self, spec: WorkspaceSpec, script: str) -> str:
        """Do as an agent does: a shell in the tree, as the workspace's account, inside its sandbox."""
        done = self.attempt(spec, script)
        assert done.code == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def attempt(self, spec: WorkspaceSpec, script: str) -> Completed:
        command = Command(
            argv=("/bin/sh", "-ec", script), workspace=spec.workspace, sandbox=spec.sandbox, readonly=(spec.mirror,)
        )
        return self.host.command(command)

    def advance_base(self) -> str:
        self.origin.commit({"README": "the base went on\n"})
        return self.mirror.fetch("main")


@pytest.fixture(scope="module")
def host() -> Iterator[LocalHost]:
    with open_folder() as folder, closing(LocalHost(folder / "home")) as made:
        yield made


@pytest.fixture(params=[Sandbox.NONE, Sandbox.BUBBLEWRAP])
def sandbox(request: pytest.FixtureRequest, host: LocalHost) -> Sandbox:
    wanted: Sandbox = request.param
    if wanted not in {Sandbox.NONE} | host.facts().sandboxes:
        pytest.skip(f"{wanted} does not work on this machine")
    return wanted


@pytest.fixture
def house(host: LocalHost, sandbox: Sandbox) -> Iterator[House]:
    with open_folder() as folder:
        origin = Repository.make(folder / "origin", FILES)
        (origin.path / "bin/tool").chmod(0o755)
        origin.commit({})
        mirror = Mirror(path=folder / "mirror.git", remote_url=str(origin.path))
        mirror.create(base_branch="main")
        yield House(origin, mirror, host, sandbox)


@pytest.fixture
def workspaces() -> WorktreeWorkspaces:
    return WorktreeWorkspaces(author_name='Agent "A" #1', author_email="agent@example.invalid")


@pytest.fixture
def spec(house: House, workspaces: WorktreeWorkspaces) -> Iterator[WorkspaceSpec]:
    """A workspace that is prepared."""
    made = house.spec()
    house.open(made)
    try:
        workspaces.prepare(made, house.host)
        yield made
    finally:
        workspaces.remove(made, house.host)


def test_a_prepared_tree_is_the_base_on_a_branch_of_its_own(
    house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces
) -> None:
    room = house.open(spec)
    assert workspaces.prepare(spec, house.host) == room.work
    assert house.agent(
        spec, "git status --porcelain; git symbolic-ref HEAD; git rev-parse HEAD origin/main"
    ) == "\n".join([f"refs/heads/{BRANCH}", spec.base_sha, spec.base_sha])
    assert house.agent(spec, "cat README src/a.py; test -x bin/tool; git log --format=%s | wc -l") == "hello\na = 1\n2"


def test_an_untouched_tree_stands_at_its_base(
    house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces
) -> None:
    standing = workspaces.standing(spec, house.host)
    assert (standing.head_sha, standing.base_sha) == (spec.base_sha, spec.base_sha)
    assert (standing.commits, standing.dirty, standing.conflicted) == (0, False, False)


def test_preparing_again_adopts_what_is_there(
    house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces
) -> None:
    house.agent(spec, "echo b > b; git add b; git commit -qm b; echo c > c")
    before = workspaces.standing(spec, house.host)
    workspaces.prepare(replace(spec, base_sha=house.advance_base()), house.host)
    assert workspaces.standing(spec, house.host) == before
    assert house.agent(spec, "cat b c") == "b\nc"


def test_what_a_killed_preparation_left_is_done_again(
    house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces
) -> None:
    house.agent(
        spec, "rm -r ~/.ao/repo.git/ao-prepared ~/.ao/repo.git/refs src; touch ~/.ao/repo.git/worktrees/work/index.lock"
    )
    workspaces.prepare(spec, house.host)
    assert house.agent(spec, "git status --porcelain; git log --oneline | wc -l; cat src/a.py") == "2\na = 1"


LEFT = "cd ~/.ao/repo.git; touch worktrees/work/index.lock worktrees/work/HEAD.lock refs/heads/{}.lock"


def test_what_a_killed_git_left_locked_stops_no_later_one(
    house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces
) -> None:
    house.agent(spec, f"echo b > b; {LEFT.format(BRANCH)}")
    assert workspaces.commit_leftovers(spec, house.host, message="leftovers").commits == 1
    house.agent(spec, f"echo c > c; {LEFT.format(BRANCH)}; mkdir refs/ao; touch refs/ao/saved.lock")
    assert workspaces.save(spec, house.host, message="saved", cap=CAP)
    house.agent(spec, "touch ~/.ao/repo.git/refs/remotes/origin/main.lock")
    newer = replace(spec, base_sha=house.advance_base())
    workspaces.set_base(newer, house.host)
    assert house.agent(newer, "git rev-parse origin/main") == newer.base_sha


def test_a_base_is_shown_to_a_working_agent_without_touching_its_locks(
    house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces
) -> None:
    house.agent(spec, LEFT.format(BRANCH))
    workspaces.set_base(replace(spec, base_sha=house.advance_base()), house.host)
    assert house.agent(spec, "ls ~/.ao/repo.git/worktrees/work/*.lock | wc -l") == "2"


def test_a_git_that_outlived_its_killed_script_is_waited_for(
    house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces
) -> None:
    script = "exec 9>> ~/.ao/alone; flock 9; touch held; while [ ! -e go ]; do sleep 0.02; done; rm held go; echo late > late"
    with ThreadPoolExecutor(2) as pool:
        outlived = pool.submit(house.agent, spec, script)
        wait_for(lambda: house.attempt(spec, "test -e held").code == 0, "the git that lives on holds the lock")
        committed = pool.submit(workspaces.commit_leftovers, spec, house.host, message="leftovers")
        wait_for(lambda: running("flock", "9"), "the next one waits")
        house.agent(spec, "touch go")
        outlived.result()
        committed.result()
    assert house.agent(spec, "git ls-tree --name-only HEAD late") == "late"


def test_a_warm_tree_becomes_a_branch_at_todays_base(house: House, workspaces: WorktreeWorkspaces) -> None:
    warm = house.spec("warm-1", branch=None)
    house.open(warm)
    workspaces.prepare(warm, house.host)
    newer = house.advance_base()
    claimed = replace(warm, branch=BRANCH, base_sha=newer)
    workspaces.prepare(claimed, house.host)
    assert house.agent(
        claimed, "git rev-parse HEAD origin/main; git symbolic-ref HEAD; cat README; git status --porcelain"
    ) == "\n".join([newer, newer, f"refs/heads/{BRANCH}", "the base went on"])
    workspaces.remove(claimed, house.host)


def test_a_warm_tree_without_a_branch_follows_the_base(house: House, workspaces: WorktreeWorkspaces) -> None:
    warm = house.spec("warm-2", branch=None)
    house.open(warm)
    workspaces.prepare(warm, house.host)
    newer = house.advance_base()
    workspaces.prepare(replace(warm, base_sha=newer), house.host)
    assert house.agent(warm, "git rev-parse HEAD; git symbolic-ref -q HEAD || echo detached") == f"{newer}\ndetached"
    workspaces.remove(warm, house.host)


def test_a_base_that_the_mirror_does_not_have_is_named(house: House, workspaces: WorktreeWorkspaces) -> None:
    spec = replace(house.spec("missing-1"), base_sha="1" * 40)
    house.open(spec)
    with pytest.raises(Refused, match="111111111111") as refused:
        workspaces.prepare(spec, house.host)
    assert refused.value.code == "no-base"
    workspaces.remove(spec, house.host)


def test_commits_and_changes_are_told_apart(house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces) -> None:
    house.agent(spec, "echo b > b; echo x > ignored")
    assert (workspaces.standing(spec, house.host).commits, workspaces.standing(spec, house.host).dirty) == (0, True)
    house.agent(spec, "git add b; git commit -qm one; echo 2 >> b; git commit -qam two")
    standing = workspaces.standing(spec, house.host)
    assert (standing.commits, standing.dirty) == (2, False)
    assert standing.head_sha == house.agent(spec, "git rev-parse HEAD")


def test_an_unfinished_merge_is_seen_and_left_to_its_maker(
    house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces
) -> None:
    house.agent(spec, "echo mine > README; git commit -qam mine")
    newer = replace(spec, base_sha=house.advance_base())
    workspaces.set_base(newer, house.host)
    house.agent(newer, "git merge origin/main || true")
    assert workspaces.standing(newer, house.host).conflicted
    assert workspaces.commit_leftovers(newer, house.host, message="leftovers").conflicted
    assert house.agent(newer, "git log -1 --format=%s") == "mine"


def test_an_agent_can_rebase_on_the_new_base(house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces) -> None:
    house.agent(spec, "echo b > b; git add b; git commit -qm b")
    newer = replace(spec, base_sha=house.advance_base())
    workspaces.set_base(newer, house.host)
    house.agent(newer, "git rebase -q origin/main")
    standing = workspaces.standing(newer, house.host)
    assert (standing.commits, standing.conflicted) == (1, False)
    bundle = workspaces.bundle(newer, house.host, cap=CAP)
    assert house.mirror.import_bundle(bundle, branch=BRANCH, base_sha=newer.base_sha).head_sha == standing.head_sha


def test_leftovers_are_committed_once_in_the_agents_name(
    house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces
) -> None:
    house.agent(spec, "echo b > b; rm src/a.py; echo x > ignored; cd bin; echo y > other")
    message = "Finish the work\n\n$(id) `id` \"quoted\" 'single' -- --amend"
    standing = workspaces.commit_leftovers(spec, house.host, message=message)
    assert (standing.commits, standing.dirty) == (1, False)
    assert (
        house.agent(spec, "git log -1 --format='%an <%ae>%n%B'") == f'Agent "A" #1 <agent@example.invalid>\n{message}'
    )
    assert house.agent(spec, "git show --name-status --format= HEAD") == "A\tb\nA\tbin/other\nD\tsrc/a.py"
    assert workspaces.commit_leftovers(spec, house.host, message="again") == standing


def test_a_branch_without_commits_has_nothing_to_hand_out(
    house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces
) -> None:
    with pytest.raises(Refused) as refused:
        workspaces.bundle(spec, house.host, cap=CAP)
    assert refused.value.code == "nothing"


def test_a_bundle_over_the_cap_is_refused(house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces) -> None:
    house.agent(spec, "head -c 200000 /dev/urandom > big; git add big; git commit -qm big")
    with pytest.raises(Refused) as refused:
        workspaces.bundle(spec, house.host, cap=100_000)
    assert refused.value.code == "too-large"


def test_the_bundle_holds_the_branch_and_the_mirror_takes_it(
    house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces
) -> None:
    house.agent(spec, "echo b > b; git add b; git commit -qm b")
    imported = house.mirror.import_bundle(
        workspaces.bundle(spec, house.host, cap=CAP), branch=BRANCH, base_sha=spec.base_sha
    )
    assert imported.head_sha == house.agent(spec, "git rev-parse HEAD")
    assert house.mirror.push(BRANCH, imported.head_sha, expected=None).sha == imported.head_sha
    assert house.origin.ask("show", f"{BRANCH}:b") == "b"


@pytest.mark.parametrize("move", ["git checkout -q -b my-own-idea", "git checkout -q --detach"])
def test_work_that_went_on_elsewhere_is_still_the_branchs_work(
    house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces, move: str
) -> None:
    house.agent(spec, f"echo b > b; git add b; git commit -qm b; {move}; echo c > c; git add c; git commit -qm c")
    head = house.agent(spec, "git rev-parse HEAD")
    assert workspaces.standing(spec, house.host).head_sha == head
    bundle = workspaces.bundle(spec, house.host, cap=CAP)
    assert house.mirror.import_bundle(bundle, branch=BRANCH, base_sha=spec.base_sha).head_sha == head


def test_a_look_at_an_older_commit_does_not_hide_the_work(
    house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces
) -> None:
    house.agent(spec, "echo b > b; git add b; git commit -qm b")
    head = house.agent(spec, "git rev-parse HEAD; git checkout -q HEAD~1").splitlines()[0]
    standing = workspaces.standing(spec, house.host)
    assert (standing.head_sha, standing.commits) == (head, 1)
    bundle = workspaces.bundle(spec, house.host, cap=CAP)
    assert house.mirror.import_bundle(bundle, branch=BRANCH, base_sha=spec.base_sha).head_sha == head


def test_everything_that_would_be_lost_is_saved_and_the_tree_stays_as_it_is(
    house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces
) -> None:
    house.agent(spec, "echo committed > b; git add b; git commit -qm b; echo stashed > README; git stash -q")
    house.agent(spec, "git checkout -q -b aside; echo aside > d; git add d; git commit -qm d; git checkout -q -")
    house.agent(spec, "echo staged > s; git add s; echo untracked > u; echo changed >> src/a.py; rm bin/tool")
    before = house.agent(spec, "git status --porcelain; git rev-parse HEAD")
    bundle = workspaces.save(spec, house.host, message="saved when the task was cancelled", cap=CAP)
    assert bundle is not None
    assert house.agent(spec, "git status --porcelain; git rev-parse HEAD") == before
    saved = house.mirror.import_saved(bundle, task=12, base_sha=spec.base_sha)
    kept = Repository(house.mirror.path)
    files = {name: kept.ask("show", f"{saved.ref}:{name}") for name in ("b", "s", "u", "src/a.py")}
    assert files == {"b": "committed", "s": "staged", "u": "untracked", "src/a.py": "a = 1\nchanged"}
    history = kept.ask("log", "--format=%s", saved.ref, f"^{spec.base_sha}").splitlines()
    assert {"saved when the task was cancelled", "b", "d"} <= set(history)
    assert any("WIP on" in line for line in history)


def test_saving_what_is_published_or_untouched_saves_nothing(
    house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces
) -> None:
    assert workspaces.save(spec, house.host, message="m", cap=CAP) is None
    house.agent(spec, "echo b > b; git add b; git commit -qm b")
    assert workspaces.save(spec, house.host, message="m", cap=CAP) is not None
    house.mirror.import_bundle(workspaces.bundle(spec, house.host, cap=CAP), branch=BRANCH, base_sha=spec.base_sha)
    assert workspaces.save(spec, house.host, message="m", cap=CAP) is None


def test_links_lead_out_of_the_tree_and_into_no_commit(house: House, workspaces: WorktreeWorkspaces) -> None:
    target = house.origin.path / "src"
    spec = replace(house.spec("links-1"), symlinks={"node_modules": str(target), "deep/er/.env": str(target / "a.py")})
    house.open(spec)
    workspaces.prepare(spec, house.host)
    workspaces.prepare(spec, house.host)
    room = house.open(spec)
    assert Path(room.work, "node_modules").readlink() == target
    assert Path(room.work, "deep/er/.env").readlink() == target / "a.py"
    assert not workspaces.standing(spec, house.host).dirty
    assert workspaces.commit_leftovers(spec, house.host, message="m").commits == 0
    workspaces.remove(spec, house.host)


@pytest.mark.parametrize("name", ["../out", "/abs", ".git", ".git/hooks", "a/../../b", "-x", "a\nb", ""])
def test_a_link_that_leads_out_by_its_name_is_refused(house: House, workspaces: WorktreeWorkspaces, name: str) -> None:
    with pytest.raises(Refused) as refused:
        workspaces.prepare(replace(house.spec("links-2"), symlinks={name: "/srv"}), house.host)
    assert refused.value.code == "bad-symlink"


def test_a_link_in_the_place_of_a_file_is_refused(house: House, workspaces: WorktreeWorkspaces) -> None:
    spec = replace(house.spec("links-3"), symlinks={"README": str(house.origin.path)})
    house.open(spec)
    with pytest.raises(Refused, match="README") as refused:
        workspaces.prepare(spec, house.host)
    assert refused.value.code == "bad-symlink"
    workspaces.remove(spec, house.host)


def test_a_workspace_that_was_never_prepared_says_so(house: House, workspaces: WorktreeWorkspaces) -> None:
    spec = house.spec("empty-1")
    house.open(spec)
    with pytest.raises(Refused) as refused:
        workspaces.standing(spec, house.host)
    assert refused.value.code == "not-prepared"
    workspaces.remove(spec, house.host)


@pytest.mark.parametrize("branch", ["-x", "a..b", "a\nb", "$(id)/x;id", "--upload-pack=id"])
def test_a_branch_that_is_more_than_a_name_is_refused(
    house: House, workspaces: WorktreeWorkspaces, branch: str
) -> None:
    with pytest.raises(Refused) as refused:
        workspaces.prepare(house.spec("names-1", branch=branch), house.host)
    assert refused.value.code == "bad-branch"


def test_removing_leaves_nothing_and_removing_again_is_fine(
    house: House, spec: WorkspaceSpec, workspaces: WorktreeWorkspaces
) -> None:
    room = house.open(spec)
    workspaces.remove(spec, house.host)
    workspaces.remove(spec, house.host)
    assert not Path(room.root).exists()


def test_thirty_workspaces_at_once_are_all_made(house: House, workspaces: WorktreeWorkspaces) -> None:
    specs = [house.spec(f"many-{number}", branch=f"app/{number}-x") for number in range(30)]

    def make(spec: WorkspaceSpec) -> str:
        house.open(spec)
        workspaces.prepare(spec, house.host)
        return workspaces.standing(spec, house.host).head_sha

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(make, specs)) == {specs[0].base_sha}
        list(pool.map(lambda spec: workspaces.remove(spec, house.host), specs))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="without root the agents' account is the service's")
def test_an_agent_can_read_the_mirror_and_not_write_it(house: House, spec: WorkspaceSpec) -> None:
    before = sorted(house.mirror.path.rglob("*"))
    mirror = house.mirror.path
    assert house.attempt(spec, f"git --git-dir={mirror} update-ref refs/heads/x HEAD").code != 0
    assert house.attempt(spec, f"touch {mirror}/objects/x {mirror}/x").code != 0
    assert house.attempt(spec, f"git --git-dir={mirror} gc --prune=now -q").code != 0
    assert sorted(house.mirror.path.rglob("*")) == before
