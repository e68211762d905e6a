"""Workspaces as git worktrees of a private repository.

A room holds the repository at home/.ao/repo.git and its one tree at work. The repository borrows the mirror's objects, so making it copies
nothing; nobody else ever runs git on it, because whoever does runs what the agent has written into it. Each question is one round trip
to the host: a fixed shell script whose arguments are positional, run as the workspace's account inside its sandbox.

A clean checkout for checks is the same thing with `branch=None` and the commit to be checked as its base.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.domain.naming import valid_branch, valid_sha
from orchestrator.ports import Command, Completed, Host, PortError, Refused, Standing, Unavailable, WorkspaceSpec
from workers.plugins.workspaces import scripts

_ENVIRONMENT: Mapping[str, str] = {
    "LC_ALL": "C",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_EDITOR": ":",
    "GIT_PAGER": "cat",
    "GIT_NO_REPLACE_OBJECTS": "1",
}
# What is never followed in the workspace's own configuration: not for safety, which the sandbox gives, but so that our calls are quick
# and mean the same in every workspace.
_SETTINGS: Mapping[str, str] = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "commit.gpgSign": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "advice.detachedHead": "false",
    "core.quotePath": "false",
}
_REPOSITORY = "{home}/.ao/repo.git"
_STANDING = re.compile(rb"head=([0-9a-f]{40}) commits=(\d{1,9}) dirty=([01]) conflicted=([01])\n?")
_LINK_NAME = re.compile(r"(?!\.git(?:/|$))(?!.*(?:^|/)\.\.?(?:/|$))[A-Za-z0-9_.][A-Za-z0-9_./ -]*", re.IGNORECASE)
_PASSING = re.compile(rb"no space left|cannot allocate|\.lock': file exists|resource temporarily", re.IGNORECASE)
_CONTROL = re.compile(r"[^\x20-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorktreeWorkspaces:
    """The Workspaces port. `author_name` and `author_email` are whom the agents' commits name."""

    author_name: str = "Coding Agent"
    author_email: str = "agent@ao.invalid"

    def prepare(self, spec: WorkspaceSpec, host: Host, *, timeout: float = 50) -> str:
        """One script makes the tree or adopts what is there; with a warm tree it is a checkout of a new branch."""
        for name, target in spec.symlinks.items():
            if not _LINK_NAME.fullmatch(name) or not target.startswith("/") or "\n" in target:
                raise Refused(
                    f"the symlink {name[:60]!r} is not a name in the workspace and an absolute path", code="bad-symlink"
                )
        links = [part for pair in spec.symlinks.items() for part in pair]
        who = (_quoted(self.author_name), _quoted(self.author_email))
        done = self._run(scripts.PREPARE, spec, host, spec.mirror, *who, *links, timeout=timeout)
        return done.stdout.decode("utf-8", "replace").rstrip("\n")

    def standing(self, spec: WorkspaceSpec, host: Host, *, timeout: float = 30) -> Standing:
        """The work is what HEAD holds where it continues the branch, else the branch; `commits` and `head_sha` speak of that."""
        return _standing(self._run(scripts.STANDING, spec, host, timeout=timeout), spec)

    def set_base(self, spec: WorkspaceSpec, host: Host, *, timeout: float = 30) -> None:
        """One ref, so that `git rebase origin/BASE` means today's base."""
        self._run(scripts.SET_BASE, spec, host, timeout=timeout)

    def commit_leftovers(self, spec: WorkspaceSpec, host: Host, *, message: str, timeout: float = 50) -> Standing:
        """With nothing to commit it is `standing`; an unfinished merge is left as it is, because only its maker knows how it goes on."""
        return _standing(self._run(scripts.COMMIT, spec, host, message, timeout=timeout), spec)

    def bundle(self, spec: WorkspaceSpec, host: Host, *, cap: int, timeout: float = 50) -> bytes:
        """The commits under refs/heads/BRANCH. Refused codes: `nothing`, `too-large`."""
        if spec.branch is None:
            raise Refused("the workspace is on no branch yet", code="nothing")
        return self._capped(scripts.BUNDLE, spec, host, cap=cap, timeout=timeout)

    def save(self, spec: WorkspaceSpec, host: Host, *, message: str, cap: int, timeout: float = 50) -> bytes | None:
        """One commit on top of HEAD, of every branch and of the stash, with all that is uncommitted in it; HEAD, the index and the tree
        stay as they are."""
        try:
            return self._capped(scripts.SAVE, spec, host, message, cap=cap, timeout=timeout)
        except Refused as refused:
            if refused.code == "nothing":
                return None
            raise

    def remove(self, spec: WorkspaceSpec, host: Host, *, timeout: float = 30) -> None:
        """Repository and tree go with the room."""
        host.remove_workspace(spec.workspace, timeout=timeout)

    def _capped(self, script: str, spec: WorkspaceSpec, host: Host, *args: str, cap: int, timeout: float) -> bytes:
        done = self._run(script, spec, host, *args, cap=cap, timeout=timeout)
        if done.truncated or len(done.stdout) > cap:
            raise Refused(
                f"the work of {spec.workspace} is larger than {cap / 1e6:.0f} MB",
                code="too-large",
                evidence={"cap": cap},
            )
        return done.stdout

    def _run(
        self, script: str, spec: WorkspaceSpec, host: Host, *args: str, cap: int = 64 * 1024, timeout: float
    ) -> Completed:
        _check(spec)
        command = Command(
            argv=(
                "/bin/sh",
                "-c",
                script,
                "workspace",
                _REPOSITORY,
                "{work}",
                spec.base_branch,
                spec.base_sha,
                spec.branch or "",
                *args,
            ),
            workspace=spec.workspace,
            env=_environment(),
            sandbox=spec.sandbox,
            readonly=(spec.mirror, *spec.symlinks.values()),
            output_cap=cap,
        )
        done = host.command(command, timeout=timeout)
        if done.code != 0 and not done.truncated:
            raise _problem(done, spec)
        return done


def _quoted(value: str) -> str:
    """The value as git's configuration files quote it."""
    plain = value.replace("\n", " ").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"'


def _environment() -> dict[str, str]:
    env = {**_ENVIRONMENT, "GIT_CONFIG_COUNT": str(len(_SETTINGS))}
    for number, (key, value) in enumerate(_SETTINGS.items()):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return env


def _check(spec: WorkspaceSpec) -> None:
    for branch in (spec.base_branch, *((spec.branch,) if spec.branch is not None else ())):
        if not valid_branch(branch):
            raise Refused(f"the branch name {branch[:80]!r} cannot be used", code="bad-branch")
    if not valid_sha(spec.base_sha):
        raise Refused(f"the base {spec.base_sha[:60]!r} is no commit id", code="bad-sha")
    if not spec.mirror.startswith("/") or "\n" in spec.mirror:
        raise Refused("the mirror has to be an absolute path", code="bad-mirror")


def _standing(done: Completed, spec: WorkspaceSpec) -> Standing:
    match = _STANDING.fullmatch(done.stdout)
    if match is None:
        raise Refused(
            f"git in {spec.workspace} gives no sound answer: its repository is damaged", code="workspace-broken"
        )
    head, commits, dirty, conflicted = match.groups()
    return Standing(
        head_sha=head.decode(),
        base_sha=spec.base_sha,
        commits=int(commits),
        dirty=dirty == b"1",
        conflicted=conflicted == b"1",
    )


def _problem(done: Completed, spec: WorkspaceSpec) -> PortError:
    said = _CONTROL.sub(" ", done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2])[:300]
    match done.code:
        case scripts.NOTHING:
            return Refused(f"{spec.workspace} has no commits of its own", code="nothing")
        case scripts.NO_BASE:
            return Refused(
                f"the mirror does not hold {spec.base_sha[:12]}, the base of {spec.workspace}", code="no-base"
            )
        case scripts.LINK_IN_THE_WAY:
            return Refused(f"a symlink of {spec.workspace} cannot be made: {said}", code="bad-symlink")
        case scripts.NOT_PREPARED:
            return Refused(f"{spec.workspace} holds no tree yet", code="not-prepared")
        case _ if _PASSING.search(done.stderr):
            return Unavailable(f"git in {spec.workspace} could not go on: {said}")
    if done.code < 0 or done.code == 137:
        return Unavailable(f"git in {spec.workspace} was killed before it was done")
    return Refused(f"git in {spec.workspace} failed: {said or f'exit code {done.code}'}", code="workspace-broken")
