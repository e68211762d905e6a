"""A small installation inside a test: a real repository, the real local host, real git; jobs are carried out when the test says so.

Scripted agents are shell scripts that read their prompt on stdin; what they do depends on the turn and on the words, never on time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist
from django.db import connection
from django.utils import timezone

from orchestrator.domain.snapshot import JobState
from orchestrator.domain.status import TaskStatus
from orchestrator.models import (
    Check,
    Host,
    Interruption,
    Job,
    Message,
    Project,
    PullRequest,
    RuleRow,
    Session,
    Task,
    Turn,
)
from orchestrator.services import projects, rounds, tasks, transcripts
from orchestrator.services.events import Actor
from orchestrator.services.reconcile import reconcile
from tests.fakes.flaky import FlakyHost
from tests.homes import hostkit_home
from tests.repositories import Repository, open_folder
from workers import looks, mirrors, runner, sweeps, toolbox
from workers.git.mirror import Mirror
from workers.observers import HostChannel
from workers.plugins.hosts.local import LocalHost
from workers.plugins.scms.local import LocalForge
from workers.toolbox import Toolbox

ALL = ["control", "effects", "host.local", "ssh.local"]
PATIENCE = 90.0
CHECKED = {"plugin": "local", "checks": {"tests": "sh test.sh"}}
FIX = "echo fixed >> README; git commit -qam 'Fix it'"
TRY = 'echo try $AO_TURN >> README; git commit -qam "Try $AO_TURN"'
NOTHING = "echo nothing to do"


def turns(*scripts: str) -> str:
    """A scripted agent that repeats what it is told and then does the n-th of these in its n-th turn, and the last one ever after."""
    cases = "".join(f"{n}) {script} ;;\n" for n, script in enumerate(scripts[:-1], start=1))
    return f"cat; echo\ncase $AO_TURN in\n{cases}*) {scripts[-1]} ;;\nesac"


def together(*calls: Callable[[], object]) -> None:
    """Call all of them at the same moment, each in a thread with a connection of its own."""
    barrier = threading.Barrier(len(calls))
    wrong: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        barrier.wait()
        try:
            call()
        except BaseException as error:  # noqa: BLE001  # told by the test's own thread
            wrong.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE)
    if wrong:
        raise wrong[0]


@dataclass(slots=True)
class Lab:
    """Everything of one installation in one thread."""

    folder: Path
    repository: Repository
    project: Project
    host: Host
    tools: Toolbox
    channel: HostChannel
    port: FlakyHost
    home: Path
    actor: Actor
    reviewer: Actor
    ahead: timedelta = field(default_factory=timedelta)

    def submit(
        self, title: str = "Fix the failing test", script: str = "", project: Project | None = None, **more: object
    ) -> Task:
        """A task whose agent is this shell script."""
        task, _ = tasks.submit(project=project or self.project, title=title, actor=self.me, **more)  # type: ignore[arg-type]
        if script:
            Task.objects.filter(pk=task.pk).update(agent_config={"command": ["/bin/sh", "-c", script]})
        return task

    def _now(self, actor: Actor) -> Actor:
        return replace(actor, at=timezone.now())

    @property
    def me(self) -> Actor:
        return self._now(self.actor)

    @property
    def other(self) -> Actor:
        return self._now(self.reviewer)

    def step(self) -> None:
        """One round of everything that workers do."""
        sweeps.place_tasks()
        sweeps.reconcile_due()
        rounds.complete_due(now=timezone.now())
        for task_id in Task.objects.filter(outcome="").values_list("pk", flat=True):
            reconcile(task_id=task_id, now=timezone.now() + self.ahead)
        runner.run_due(queues=ALL, tools=self.tools)
        self.channel.once()
        looks.observe_due_pull_requests(self.tools)

    def until(self, true: Callable[[], bool], what: str) -> None:
        """Step until the condition holds (a row that is not there yet does not hold); what the jobs say is told when it never does."""
        deadline = time.monotonic() + PATIENCE
        while not _holds(true):
            self.step()
            time.sleep(0.01)  # agents and checks are programs of their own
            if time.monotonic() > deadline:
                raise AssertionError(f"never: {what}\n{self.report()}")

    def reach(self, task: Task, *statuses: TaskStatus) -> Task:
        """Step until the task has one of the statuses."""

        def there() -> bool:
            task.refresh_from_db()
            return task.status in statuses

        self.until(there, f"{task} is {' or '.join(statuses)}")
        return task

    def report(self) -> str:
        lines = [f"{task} {task.status}: {task.reason} {task.evidence}" for task in Task.objects.all()]
        lines += [f"  {job.key} {job.state} {job.code} {job.error}" for job in Job.objects.order_by("id")]
        lines += [f"  {one} {one.status} {one.detail}: {one.failing_log[-500:]}" for one in Check.objects.all()]
        return "\n".join(lines)

    def set(self, **fields: object) -> None:
        """Change the project's settings."""
        Project.objects.filter(pk=self.project.pk).update(**fields)
        self.project.refresh_from_db()

    def rule(self, trigger: str, **fields: object) -> None:
        """What the project sets of a rule."""
        RuleRow.objects.update_or_create(project=self.project, trigger=trigger, defaults=fields)

    def later(self, span: timedelta) -> None:
        """The clock by which is decided is moved; nothing sleeps."""
        self.ahead += span

    def equip(self, tools: Toolbox) -> None:
        """From here on the workers hold these."""
        self.tools = tools
        self.channel = HostChannel(host_name="local", holder="lab", tools=tools, wait=0)

    def elsewhere(self) -> None:
        """From here on the host counts as another machine; the way to it stays as it is."""
        Host.objects.update(kind=Host.Kind.SSH, address="me@elsewhere", host_key="ssh-ed25519 A", folder="elsewhere")
        self.host.refresh_from_db()

    def forget(self) -> None:
        """All workers are new: nothing is known but what the database and the host hold."""
        connection.close()
        self.channel = HostChannel(host_name="local", holder="another", tools=self.tools, wait=0)
        Host.objects.update(channel_until=None)

    def observe(self) -> None:
        """Look at all pull requests now, as the next poll would."""
        PullRequest.objects.update(poll_at=timezone.now())
        self.step()

    def hurry(self) -> None:
        """Jobs that wait before they are tried again are due now."""
        Job.objects.filter(state=JobState.PROMISED).update(run_at=timezone.now())

    def settle(self, rounds: int = 8) -> None:
        """Rounds in which what must not happen has its chance to."""
        for _ in range(rounds):
            self.step()
            time.sleep(0.01)

    def sent(self, task: Task, trigger: str) -> list[Message]:
        """The messages of a trigger, oldest first."""
        return list(Message.objects.filter(task=task, trigger=trigger).order_by("created_at"))

    def escalations(self, task: Task) -> list[Interruption]:
        return list(Interruption.objects.filter(task=task, escalation=True).order_by("id"))

    def session(self, task: Task) -> Session:
        """The newest session of the task."""
        return Session.objects.filter(task=task).latest("epoch")

    def turn(self, task: Task) -> Turn:
        """The newest turn of the newest session."""
        return Turn.objects.filter(session=self.session(task)).latest("n")

    def heard(self, task: Task, n: int | None = None) -> str:
        """What the agent repeated of what it was told, in its n-th turn or in all of them."""
        found = Turn.objects.filter(session__task=task).order_by("pk")
        found = found.filter(n=n) if n is not None else found
        return "".join(transcripts.read(run=turn.run_id)[0].decode() for turn in found)

    def doubles(self) -> int:
        """Messages that reached an agent more than once."""
        return Message.objects.filter(deliveries__gt=1).count()


def _holds(true: Callable[[], bool]) -> bool:
    try:
        return true()
    except ObjectDoesNotExist:
        return False


@contextmanager
def lab(files: Mapping[str, str] | None = None, **settings: object) -> Iterator[Lab]:
    """An installation with one project. `settings` are fields of the project; its checks are none unless `scm` says otherwise."""
    with open_folder() as folder, hostkit_home() as home:
        users = get_user_model().objects
        ada, grace = (users.create_user(name, is_superuser=True) for name in ("ada", "grace"))
        actor = Actor(user=ada, name="ada", at=datetime.now(tz=UTC))
        repository = _repository(folder / "app", files)
        project = register(repository, actor, **settings)
        host = projects.local_host(name="local", capacity=30)
        local = LocalHost(home)
        port = FlakyHost(inner=local)

        def mirror(row: Project) -> Mirror:
            return Mirror(path=folder / f"mirror-{row.pk}.git", remote_url=row.remote)

        tools = replace(
            toolbox.real(),
            host=lambda _: port.port,
            mirror=mirror,
            scm=lambda row: LocalForge(project=row, mirror=mirror(row)),
        )
        made = Lab(
            folder=folder,
            repository=repository,
            project=project,
            host=host,
            tools=tools,
            channel=HostChannel(host_name="local", holder="lab", tools=tools, wait=0),
            port=port,
            home=home,
            actor=actor,
            reviewer=Actor(user=grace, name="grace", at=datetime.now(tz=UTC)),
        )
        mirrors.fetch(project, tools, timeout=30)
        project.refresh_from_db()
        try:
            yield made
        finally:
            port.down.clear()
            local.close()


def _repository(path: Path, files: Mapping[str, str] | None) -> Repository:
    made = Repository.make(path, files or {"README": "hello\n", "test.sh": "grep -q fixed README\n"})
    made.git("config", "receive.denyCurrentBranch", "updateInstead")
    return made


def register(repository: Repository, actor: Actor, **settings: object) -> Project:
    """A project on the built-in forge for a repository; it is called as the repository's folder is."""
    project, _ = projects.register(
        key=repository.path.name,
        name=repository.path.name,
        remote=str(repository.path),
        default_branch="main",
        agent="command",
        scm={"plugin": "local", "requiredChecks": []},
        actor=actor,
    )
    Project.objects.filter(pk=project.pk).update(**{"warm_workspaces": 0, **settings})
    project.refresh_from_db()
    return project
