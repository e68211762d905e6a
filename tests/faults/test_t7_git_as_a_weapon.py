"""T7: an agent owns its repository and plants programs wherever git would run one. Nothing of it runs as us; pushes go where we said.

Each planting is a shell script that the agent runs. The planted program writes down the account that it ran as. Afterwards the whole way of
the work is gone: judged, committed, saved, bundled, taken in, pushed, merged, removed.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.ports import Command, PortError, Refused, Sandbox, WorkspaceSpec
from tests.repositories import ENVIRONMENT, Repository, open_folder
from workers.git.findings import FindingKind
from workers.git.mirror import Mirror
from workers.plugins.hosts.local import LocalHost
from workers.plugins.workspaces.worktree import WorktreeWorkspaces

pytestmark = [
    pytest.mark.faults,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="without root the agents' account is the service's, at level none"),
]

BRANCH = "app/7-weapon"
CAP = 8 << 20
HOOKS = (
    "applypatch-msg commit-msg fsmonitor-watchman post-applypatch post-checkout post-commit post-index-change post-merge post-receive "
    "post-rewrite post-update pre-applypatch pre-auto-gc pre-commit pre-merge-commit pre-push pre-rebase pre-receive prepare-commit-msg "
    "proc-receive push-to-checkout reference-transaction sendemail-validate update"
)
WORK = "echo work >> src/a.py; git add -A; git commit -qm work;"

# In all of them: $C is the planted program, $R the private repository, $D a decoy that would love to be pushed to, $M the mirror.
PLANTINGS = {
    "hooks": f"mkdir -p $R/hooks; for h in {HOOKS}; do cp $C $R/hooks/$h; done; echo more > more",
    "hooks-of-the-worktree": f"mkdir -p $R/worktrees/work/hooks; for h in {HOOKS}; do cp $C $R/worktrees/work/hooks/$h; done; echo x > x",
    "hooks-path": f'mkdir .hooks; for h in {HOOKS}; do cp $C .hooks/$h; done; git config core.hooksPath "$PWD/.hooks"; echo x > x',
    "fsmonitor": "git config core.fsmonitor $C; git update-index --fsmonitor || true; echo x > x",
    "programs": "for k in core.sshCommand core.editor core.pager core.askPass core.gitProxy core.alternateRefsCommand sequence.editor "
    "gpg.program gpg.ssh.program gpg.x509.program diff.external interactive.diffFilter credential.helper uploadpack.packObjectsHook "
    "alias.status alias.push alias.commit trailer.x.command pager.log remote.origin.uploadpack remote.origin.receivepack remote.origin.vcs "
    "core.fsmonitor ssh.variant web.browser; do git config $k $C; done; git config commit.gpgSign true; "
    "git config push.gpgSign true; git config tag.gpgSign true; echo x > x",
    "filters": "printf '* filter=evil diff=evil merge=evil\\n' > .gitattributes; git config filter.evil.clean $C; "
    "git config filter.evil.smudge $C; git config filter.evil.process $C; git config diff.evil.textconv $C; git config diff.evil.command $C; "
    "git config merge.evil.driver $C; git config merge.default evil",
    "attributes-outside-the-tree": "mkdir -p $R/info; printf '* filter=evil\\n' > $R/info/attributes; git config filter.evil.clean $C; echo x > x",
    "push-instead-of": "git config url.$D.pushInsteadOf /; git config url.$D.insteadOf /; git config remote.origin.pushurl $D; "
    "git config remote.pushDefault $D; git config branch.main.pushRemote $D",
    "include": "printf '[core]\\n\\tfsmonitor = %s\\n\\tsshCommand = %s\\n' $C $C > ~/evil; git config include.path ~/evil; "
    "git config includeIf.gitdir:/.path ~/evil",
    "worktree-config": "git config extensions.worktreeConfig true; git config --worktree core.fsmonitor $C; git config --worktree core.hooksPath /",
    "home-config": "printf '[core]\\n\\tfsmonitor = %s\\n' $C > ~/.gitconfig; mkdir -p ~/.config/git; cp ~/.gitconfig ~/.config/git/config; echo x > x",
    "alternates": "echo /root/.git/objects >> $R/objects/info/alternates; echo $D/objects >> $R/objects/info/alternates; echo x > x",
    "symlinked-git": "git init -q ~/evil; git -C ~/evil config core.fsmonitor $C; "
    "rm -rf .git; ln -s ~/evil/.git .git; echo x > x",
    "another-git-file": "git init -q ~/evil; git -C ~/evil config core.fsmonitor $C; cp $C ~/evil/.git/hooks/pre-commit; "
    "echo gitdir: $HOME/evil/.git > .git; echo x > x",
    "git-directory-in-the-tree": "rm .git; git init -q .; git config core.fsmonitor $C; echo x > x",
    "repository-is-the-mirror": "rm -rf $R; ln -s $M $R",
    "repository-is-the-decoy": "rm -rf $R; ln -s $D $R",
    "git-common-dir-elsewhere": "echo $D > $R/worktrees/work/commondir",
    "submodule": "git init -q sub; git -C sub -c user.name=x -c user.email=x commit -q --allow-empty -m s; "
    "printf '[submodule \"sub\"]\\n\\tpath = sub\\n\\turl = ext::%s\\n\\tupdate = !%s\\n' $C $C > .gitmodules; "
    "git config submodule.sub.url ext::$C; git config submodule.sub.update !$C; git config protocol.ext.allow always; "
    "git config submodule.recurse true; git config -f sub/.git/config core.fsmonitor $C; git add -A",
    "refs-like-options": "for r in --upload-pack=x -x --exec=x; do mkdir -p $R/refs/heads; git rev-parse HEAD > $R/refs/heads/$r; done",
    "grafts-and-replacements": "git replace HEAD HEAD~1; mkdir -p $R/info; git rev-parse HEAD > $R/info/grafts; git rev-parse HEAD > $R/shallow",
    "promisor": "git config extensions.partialClone origin; git config remote.origin.promisor true; git config remote.origin.url ext::$C; "
    "git config protocol.allow always; rm -f $R/objects/info/alternates",
    "path-that-is-a-git-directory": "git config core.protectNTFS false; git config core.protectHFS false; "
    "b=$(git hash-object -w $C); t=$(printf '100755 blob %s\\tpre-push\\n' $b | git mktree); "
    "t=$(printf '040000 tree %s\\thooks\\n' $t | git mktree); t=$(printf '040000 tree %s\\t.GIT\\n' $t | git mktree); "
    "git update-ref HEAD $(git commit-tree -p HEAD -m x $t)",
}


@dataclass(frozen=True, slots=True)
class Field:
    """Everything that one attack needs, and what it must not reach."""

    folder: Path
    origin: Repository
    decoy: Repository
    mirror: Mirror
    host: LocalHost
    spec: WorkspaceSpec
    program: Path
    log: Path

    def agent(self, script: str) -> None:
        room = self.host.open_workspace(self.spec.workspace)
        env = {
            "C": str(self.program),
            "R": f"{room.home}/.ao/repo.git",
            "D": str(self.decoy.path),
            "M": str(self.mirror.path),
        }
        command = Command(
            argv=("/bin/sh", "-ec", script),
            workspace=self.spec.workspace,
            env=env,
            sandbox=self.spec.sandbox,
            readonly=(self.spec.mirror,),
        )
        done = self.host.command(command)
        assert done.code == 0, done.stderr.decode()

    def accounts_it_ran_as(self) -> set[str]:
        return set(self.log.read_text().split()) if self.log.exists() else set()


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
def field(host: LocalHost, sandbox: Sandbox) -> Iterator[Field]:
    with open_folder() as folder:
        origin = Repository.make(folder / "origin", {"README": "hello\n", "src/a.py": "a = 1\n"})
        origin.commit({"README": "hello again\n"})
        decoy = Repository(folder / "decoy.git")
        origin.git("clone", "-q", "--bare", str(origin.path), str(decoy.path))
        subprocess.run(["chmod", "-R", "a+rwX", str(decoy.path)], check=True)
        mirror = Mirror(path=folder / "mirror.git", remote_url=str(origin.path))
        base = mirror.create(base_branch="main")
        spec = WorkspaceSpec(
            workspace=f"app-7-{os.getpid()}",
            mirror=str(mirror.path),
            base_branch="main",
            base_sha=base,
            branch=BRANCH,
            sandbox=sandbox,
        )
        try:
            yield prepared(folder, origin, decoy, mirror, host, spec)
        finally:
            host.remove_workspace(spec.workspace)


def prepared(
    folder: Path, origin: Repository, decoy: Repository, mirror: Mirror, host: LocalHost, spec: WorkspaceSpec
) -> Field:
    room = host.open_workspace(spec.workspace)
    WorktreeWorkspaces().prepare(spec, host)
    program, log = Path(room.home, "planted"), Path(room.home, "planted.log")
    made = Field(folder, origin, decoy, mirror, host, spec, program, log)
    made.agent(f"printf '#!/bin/sh\\nid -u >> {log}\\nexit 0\\n' > $C; chmod 755 $C; {WORK}")
    return made


def go_the_whole_way(field: Field) -> str | None:
    """Do with the workspace all that is ever done with one. What is refused is refused; answers what arrived at the remote."""
    workspaces, spec, host, mirror = WorktreeWorkspaces(), field.spec, field.host, field.mirror
    steps: list[Callable[[], object]] = [
        lambda: workspaces.standing(spec, host),
        lambda: workspaces.set_base(spec, host),
        lambda: workspaces.prepare(spec, host),
        lambda: workspaces.commit_leftovers(spec, host, message="leftovers"),
        lambda: mirror.import_saved(
            workspaces.save(spec, host, message="saved", cap=CAP) or b"", task=7, base_sha=spec.base_sha
        ),
        lambda: publish(field),
        mirror.repack,
        lambda: mirror.fetch("main"),
    ]
    for step in steps:
        with suppress(PortError):
            step()
    return mirror.remote_sha(BRANCH)


def publish(field: Field) -> None:
    bundle = WorktreeWorkspaces().bundle(field.spec, field.host, cap=CAP)
    base = field.spec.base_sha
    head = field.mirror.import_bundle(bundle, branch=BRANCH, base_sha=base).head_sha
    field.mirror.push(BRANCH, head, expected=None)
    field.mirror.diff(base_sha=base, head_sha=head, cap=CAP)
    merge = field.mirror.merge_commit(
        base_sha=base, head_sha=head, method="squash", message="m", at=datetime(2026, 1, 2, tzinfo=UTC)
    )
    field.mirror.push("main", merge, expected=base)


@pytest.mark.parametrize("planting", PLANTINGS)
def test_nothing_that_an_agent_planted_runs_as_us(field: Field, planting: str) -> None:
    settings = (field.mirror.path / "config").read_text()
    before = set(field.decoy.path.rglob("*"))
    field.agent(PLANTINGS[planting])
    go_the_whole_way(field)
    assert str(os.geteuid()) not in field.accounts_it_ran_as()
    written = set(field.decoy.path.rglob("*")) - before
    assert not [path for path in written if path.lstat().st_uid == os.geteuid()]
    assert (field.mirror.path / "config").read_text() == settings
    assert not [
        path for path in field.mirror.path.rglob("*") if path.lstat().st_uid != os.geteuid() or path.is_symlink()
    ]


@pytest.mark.parametrize(
    "planting", ["hooks", "programs", "filters", "push-instead-of", "include", "home-config", "another-git-file"]
)
def test_a_planting_does_not_keep_the_work_from_the_pinned_remote(field: Field, planting: str) -> None:
    field.agent(PLANTINGS[planting])
    pushed = go_the_whole_way(field)
    assert pushed is not None
    assert field.origin.ask("show", f"{BRANCH}:src/a.py").startswith("a = 1")


@pytest.mark.parametrize(
    ("planting", "call"),
    [("fsmonitor", ["status"]), ("filters", ["add", "--all"]), ("hooks", ["commit", "--allow-empty", "-m", "x"])],
)
def test_the_plantings_would_run_as_whoever_runs_git_there(field: Field, planting: str, call: list[str]) -> None:
    """The control: without it the tests above could pass because nothing was planted."""
    field.agent(PLANTINGS[planting])
    field.log.unlink(missing_ok=True)
    work = field.host.open_workspace(field.spec.workspace).work
    subprocess.run(
        ["git", "-c", "safe.directory=*", *call],
        cwd=work,
        env={**ENVIRONMENT, "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"},
        capture_output=True,
        check=False,
    )
    assert str(os.geteuid()) in field.accounts_it_ran_as()


def test_hooks_that_a_change_brings_into_the_checked_out_base_do_not_run(field: Field) -> None:
    """The owner of the checkout keeps hooks among the files, as many do; merging would let an agent's file run."""
    field.origin.git("config", "core.hooksPath", ".husky")
    field.agent(f"mkdir .husky; for h in {HOOKS}; do cp $C .husky/$h; done; git add -A; git commit -qm hooks")
    bundle = WorktreeWorkspaces().bundle(field.spec, field.host, cap=CAP)
    base = field.spec.base_sha
    imported = field.mirror.import_bundle(bundle, branch=BRANCH, base_sha=base)
    assert FindingKind.SENSITIVE_PATH in {finding.kind for finding in imported.findings}
    at = datetime(2026, 1, 2, tzinfo=UTC)
    merge = field.mirror.merge_commit(base_sha=base, head_sha=imported.head_sha, method="merge", message="m", at=at)
    field.mirror.push("main", merge, expected=base)
    field.mirror.push(BRANCH, imported.head_sha, expected=None)
    assert (field.origin.path / ".husky/post-receive").exists()
    assert field.accounts_it_ran_as() <= {str(Path(field.program).stat().st_uid)}


@pytest.mark.parametrize("planting", ["path-that-is-a-git-directory", "submodule"])
def test_what_would_bite_the_next_clone_never_leaves(field: Field, planting: str) -> None:
    field.agent(PLANTINGS[planting])
    WorktreeWorkspaces().commit_leftovers(field.spec, field.host, message="m")
    with pytest.raises(Refused) as refused:
        publish(field)
    assert refused.value.code == "bad-bundle"
    assert field.mirror.remote_sha(BRANCH) is None


def test_a_huge_file_is_cut_off_and_does_not_fill_us(field: Field) -> None:
    field.agent("head -c 40000000 /dev/urandom > big; git add big; git commit -qm big")
    with pytest.raises(Refused) as refused:
        WorktreeWorkspaces().bundle(field.spec, field.host, cap=CAP)
    assert refused.value.code == "too-large"


def test_the_service_never_runs_git_in_a_room(field: Field) -> None:
    """What is planted as the account's own git would be found by name only: our calls name no program of the room."""
    field.agent("mkdir -p ~/bin ~/.local/bin; cp $C ~/bin/git; cp $C ~/.local/bin/git; cp $C ./git; cp $C ./sh")
    assert go_the_whole_way(field) is not None
    assert str(os.geteuid()) not in field.accounts_it_ran_as()
