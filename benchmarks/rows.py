"""Rows that the measurements read and write. Loaded once Django knows its database (see `stage.attach`)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from orchestrator.domain.status import Attention, TaskStatus
from orchestrator.models import Host, Job, JournalChunk, Message, Project, PullRequest, Session, Task, Turn, Workspace
from orchestrator.services import events
from workers.git.mirror import Mirror
from workers.plugins.scms.github import project as github
from workers.plugins.scms.github import queries
from workers.plugins.scms.github.forge import GitHubForge

HEAD = "4f2d9c1ab37e58d06c1b9ffa2e7d3c5580e6a1b2"
_PROMPTED = re.compile(rb"prompted (\d+\.\d+) (\d+)")


def warm(count: int) -> None:
    """How many workspaces the project keeps prepared."""
    Project.objects.update(warm_workspaces=count)


def warm_ready() -> int:
    """How many prepared workspaces wait for a session."""
    return Workspace.objects.warm().count()


def ready(count: int) -> bool:
    """Whether exactly so many prepared workspaces wait; what is too many is given away."""
    if count == 0:
        Workspace.objects.warm().update(state=Workspace.State.REMOVED, removed_at=timezone.now())
        return not Workspace.objects.filter(session__isnull=True).exclude(state=Workspace.State.REMOVED).exists()
    return warm_ready() == count


def prompted_at(task_id: int, *, turn: int = 1) -> float | None:
    """When the agent of the task had read a turn's whole prompt, by its own clock; None: it has not yet, as far as we have heard."""
    for data in JournalChunk.objects.filter(run__in=_runs(task_id, turn)).values_list("data", flat=True):
        found = _PROMPTED.search(bytes(data))
        if found is not None and int(found.group(2)) > 0:
            return float(found.group(1))
    return None


def _runs(task_id: int, turn: int | None = None) -> list[str]:
    """The runs of a task's turns, or of one of them."""
    turns = Turn.objects.filter(session__task=task_id)
    asked = turns.filter(n=turn) if turn is not None else turns
    return [f"turn-{pk}" for pk in asked.values_list("pk", flat=True)]


def move_to_github(remote: str, api_url: str) -> None:
    """Let the project be on this GitHub, whose only check is `ci`."""
    scm = {"plugin": "github", "apiUrl": api_url, "token": "${ACME_TOKEN}", "requiredChecks": ["ci"]}
    Project.objects.update(remote=remote, scm=scm)


def at_rest_with_pull(task_id: int) -> bool:
    """Whether the task's pull request is open and its agent waits."""
    done = Turn.objects.filter(session__task=task_id, n=1, published_at__isnull=False).exists()
    return done and PullRequest.objects.filter(task=task_id, state="open").exists()


def forge(mirror: Path, token: str) -> GitHubForge:
    """The project's forge in this process, with a mirror of its own."""
    project = Project.objects.get()
    copy = Mirror(path=mirror, remote_url=project.remote, token=lambda: token)
    copy.create(base_branch=project.default_branch)
    return github.forge(project, mirror=copy, token=lambda: token)


def queries_of(numbers: Sequence[int]) -> list[str]:
    """The questions that a look at these pull requests asks."""
    return [queries.looks((), numbers[at : at + queries.AT_ONCE]) for at in range(0, len(numbers), queries.AT_ONCE)]


def open_tasks() -> int:
    """Tasks that have not ended, sessions that live, jobs that wait: 0 when all is over."""
    jobs = Job.objects.filter(state__in=["promised", "claimed"]).count()
    return Task.objects.filter(outcome="").count() + Session.objects.live().count() + jobs


def statuses(ids: Sequence[int]) -> dict[int, str]:
    return dict(Task.objects.filter(pk__in=ids).values_list("pk", "status"))


def reasons() -> list[str]:
    """Why tasks that a human is needed for stand still."""
    return [f"{t}: {t.status}: {t.reason}" for t in Task.objects.filter(attention=Attention.RESPOND)]


def command(words: Sequence[str]) -> None:
    """What the project's agent is from now on."""
    Project.objects.update(agent_config={"command": list(words)})


def pause(*, paused: bool) -> None:
    """Whether tasks wait instead of being placed."""
    Project.objects.update(paused=paused)


def explained() -> bool:
    """Whether every waiting task was told why, so that nobody decides on it any more."""
    return settled() == 0 and not Task.objects.filter(waiting_for="").exists()


def forget_tasks() -> None:
    """Remove all tasks and what belongs to them."""
    with transaction.atomic():
        list(Task.objects.select_for_update().values_list("pk", flat=True))  # nobody decides meanwhile
        Task.objects.all().delete()


@transaction.atomic
def reviewable(count: int, *, head: str = HEAD, wake_in: timedelta | None = None) -> list[int]:
    """So many tasks that wait for a review: a live session at rest, its turn published, a pull request open."""
    project, host, now = Project.objects.get(), Host.objects.get(), timezone.now()
    first = project.next_number
    Project.objects.update(next_number=first + count)
    numbers = range(first, first + count)
    tasks = Task.objects.bulk_create(
        Task(
            project=project, number=n, title=f"Seeded task {n}", agent="command", branch=f"{project.session_prefix}/{n}-seeded",
            status=TaskStatus.REVIEW_PENDING, attention=Attention.REVIEW, reason="waits for a review",
            wake_at=now + wake_in if wake_in is not None else None,
        )
        for n in numbers
    )  # fmt: skip
    sessions = Session.objects.bulk_create(
        Session(
            task=task,
            epoch=1,
            host=host,
            agent="command",
            base_sha=project.base_sha,
            prepared_at=now,
            published_sha=head,
            commits=1,
        )
        for task in tasks
    )
    turns = Turn.objects.bulk_create(
        Turn(
            session=one, n=1, prompt="do it", started_at=now, ended_at=now, end="finished", exit_code=0, progress_at=now,
            published_at=now, head_before=project.base_sha, head_after=head,
        )
        for one in sessions
    )  # fmt: skip
    Message.objects.bulk_create(
        Message(
            task=one.task, session=one, key=f"task:{one.pk}", occasion="task", text="do it", turn=turn,
            delivered_at=now, confirmed_at=now, deliveries=1,
        )
        for one, turn in zip(sessions, turns, strict=True)
    )  # fmt: skip
    PullRequest.objects.bulk_create(
        PullRequest(
            project=project, task=task, number=task.number, title=task.title, branch=task.branch, base_branch=project.default_branch,
            head_sha=head, head_since=now, base_sha=project.base_sha, mergeable=True, observed_at=now,
            poll_at=now + timedelta(days=1),
        )
        for task in tasks
    )  # fmt: skip
    return [task.pk for task in tasks]


def watched(numbers: Sequence[int], *, head: str) -> None:
    """A task that waits for its review for each of these pull requests of the forge, looked at in turns as they are."""
    ids = reviewable(len(numbers), head=head)
    Host.objects.update(capacity=F("capacity") + len(ids))  # these sessions live, and leave the room that there was
    Project.objects.update(max_sessions=F("max_sessions") + len(ids))
    now = timezone.now()
    rows = list(PullRequest.objects.filter(task__in=ids).order_by("pk"))
    for place, (row, number) in enumerate(zip(rows, numbers, strict=True)):
        row.number, row.poll_at = number, now + timedelta(seconds=60 * place / len(rows))
    # Numbers that were given by ours and by the forge may meet on the way.
    PullRequest.objects.filter(task__in=ids).update(number=F("number") + 10_000_000)
    PullRequest.objects.bulk_update(rows, ["number", "poll_at"], batch_size=500)


def all_looked_at(since: datetime) -> bool:
    """Whether each open pull request was looked at since then."""
    return not PullRequest.objects.filter(state="open", observed_at__lt=since).exists()


def look_now() -> None:
    """Let all open pull requests be looked at."""
    PullRequest.objects.filter(state="open").update(poll_at=timezone.now())


def over(task_id: int) -> bool:
    """Whether the task has ended and nothing of it is left to do."""
    jobs = Job.objects.filter(task=task_id, state__in=["promised", "claimed"])
    return not jobs.exists() and Task.objects.filter(pk=task_id).exclude(outcome="").exists()


def settled() -> int:
    """Tasks that still ask to be looked at now."""
    return Task.objects.filter(wake_at__lte=timezone.now()).count()


def touch(task_id: int) -> None:
    """Something visible of the task changed, as an executor or an observer would say it."""
    with transaction.atomic():
        events.touch(task=Task.objects.select_related("project").get(pk=task_id))


def version(task_id: int) -> int:
    return Task.objects.values_list("version", flat=True).get(pk=task_id)


def cookie() -> str:
    """A cookie that logs the owner of the installation in."""
    user = User.objects.filter(is_superuser=True).earliest("pk")
    store = SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.save()
    return f"{settings.SESSION_COOKIE_NAME}={store.session_key}"


def found_project() -> None:
    """A project and a host, where nothing was registered."""
    Host.objects.create(name="local", seen_at=timezone.now())
    Project.objects.create(
        key="app", name="app", remote="/nowhere", default_branch="main", session_prefix="app", agent="command",
        scm={"plugin": "local", "requiredChecks": []}, base_sha=HEAD,
    )  # fmt: skip


def due(ids: Sequence[int]) -> None:
    """These tasks ask to be looked at now."""
    Task.objects.filter(pk__in=ids).update(wake_at=timezone.now())


def analyze() -> None:
    """What the database does by itself within a minute."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def promise(count: int, *, queue: str) -> None:
    """So many jobs that are due on a queue, and no others on it."""
    Job.objects.filter(queue=queue).delete()
    now, run = timezone.now(), secrets.token_hex(4)
    Job.objects.bulk_create(
        (Job(key=f"bench:{run}:{n}", verb="Deliver", action={}, queue=queue, run_at=now) for n in range(count)),
        batch_size=1000,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE orchestrator_job")


def disconnect() -> None:
    """Hold no connection, so that the servers may stop."""
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]  # of the PostgreSQL backend


def wrong(task_id: int) -> int:
    """What a death must not leave behind: prompts that were lost or doubled, a task that did not end well, sessions, turns, rooms, jobs."""
    told = sum(
        len(_PROMPTED.findall(bytes(data)))
        for data in JournalChunk.objects.filter(run__in=_runs(task_id)).values_list("data", flat=True)
    )
    return (
        abs(told - 1)
        + Task.objects.filter(pk=task_id).exclude(status=TaskStatus.DONE).count()
        + abs(Turn.objects.filter(session__task=task_id).count() - 1)
        + Session.objects.live().count()
        + Message.objects.filter(deliveries__gt=1).count()
        + Job.objects.exclude(state="done").count()
        + Workspace.objects.filter(session__task=task_id).exclude(state=Workspace.State.REMOVED).count()
    )
