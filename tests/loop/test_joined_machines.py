"""Sessions on a machine that joined, in one thread: jobs go from its worker to where the mirror is and back, and so does the code."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Host, Job, Parcel, PullRequest, PushIntent, Session, Task
from orchestrator.ports import PortError, Refused
from orchestrator.services import jobs, tasks
from tests import lab as labs
from tests.lab import FIX, turns
from workers import runner
from workers.executors.packing import pack
from workers.git import outgoing
from workers.git.mirror import Mirror
from workers.observers import HostChannel
from workers.plugins import builtin
from workers.toolbox import Toolbox

pytestmark = pytest.mark.django_db(transaction=True)
SERVICE = ["control", "effects"]


@dataclass(slots=True, kw_only=True)
class JoinedLab(labs.Lab):
    """The installation, whose only host is a machine that joined: its own worker holds other tools than the service's."""

    theirs: Toolbox

    def step(self) -> None:
        labs.Lab.step(self)
        self.work_there()

    def work_there(self) -> None:
        runner.run_due(queues=["host.local"], tools=self.theirs)


@contextmanager
def joined(files: Mapping[str, str] | None = None, **settings: object) -> Iterator[JoinedLab]:
    """The lab's host counts as a machine that joined. The service cannot speak to it, and its worker has no mirror."""
    with labs.lab(files, **settings) as here:
        now = timezone.now()
        Host.objects.update(kind=Host.Kind.WORKER, link_digest="d", link_until=now, joined_at=now)
        here.host.refresh_from_db()

        def no_way(row: Host) -> object:
            return builtin.host(row, home=here.home, joined="")

        def no_mirror(row: object) -> Mirror:
            del row
            return Mirror(path=here.folder / "there" / "mirror.git", remote_url="/nowhere/at/all")

        theirs = replace(here.tools, mirror=no_mirror, joined="local")
        tools = replace(here.tools, host=no_way)
        fields = {name: getattr(here, name) for name in labs.Lab.__dataclass_fields__}
        channel = HostChannel(host_name="local", holder="lab", tools=theirs, wait=0)
        with at_work(tools):
            yield JoinedLab(**fields | {"tools": tools, "channel": channel}, theirs=theirs)


@contextmanager
def at_work(tools: Toolbox) -> Iterator[None]:
    """A worker of the service that packs while the machine's worker waits for it; at the end nobody waits for anything any more."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.02):
            for parcel in Parcel.objects.filter(size__isnull=True).values_list("pk", flat=True):
                with suppress(PortError, OSError):  # the job of it is carried out by the test's own thread as well
                    pack(parcel, tools)
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()
        Parcel.objects.all().delete()
        for bundle in list(outgoing.PACKING._going):
            with suppress(PortError):
                outgoing.PACKING.over(bundle, patience=10)


@pytest.fixture(autouse=True)
def _queues(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's workers do not listen for that machine."""
    monkeypatch.setattr(labs, "ALL", SERVICE)


def test_a_task_goes_there_and_back_and_the_push_leaves_from_here() -> None:
    with joined() as here:
        task = here.submit(script=f"cat; {FIX}")
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert here.repository.ask("show", f"{task.branch}:README") == "hello\nfixed"
        intent = PushIntent.objects.get(task=task)
        assert intent.confirmed_at is not None
        assert not (here.folder / "there" / "mirror.git").exists()
        assert not Parcel.objects.exists()
        publish = Job.objects.get(verb="Publish")
        assert (publish.state, publish.queue, jobs.deaths(publish)) == ("done", "effects", 0)


def test_what_the_base_became_meanwhile_gets_there_as_the_difference() -> None:
    with joined() as here:
        task = here.submit(
            script=turns(FIX, "git merge-base HEAD origin/main > base; git rebase -q origin/main; echo ok")
        )
        here.reach(task, TaskStatus.REVIEW_PENDING)
        moved = here.repository.commit({"other": "new\n"})
        here.observe()
        here.until(lambda: here.project.__class__.objects.get().base_sha == moved, "it is seen")
        tasks.send(task=task, text="Rebase, please", actor=here.me)
        here.until(lambda: here.turn(task).n == 2 and here.turn(task).published_at is not None, "it is published again")
        assert here.repository.ask("merge-base", task.branch, "main") == moved
        packed = Job.objects.filter(verb="Pack", state="done").order_by("id").values_list("result__bytes", flat=True)
        assert len(packed) == 2


def test_a_turn_without_a_change_ends_there() -> None:
    with joined() as here:
        task = here.submit(script="cat")
        here.until(lambda: here.turn(task).published_at is not None, "it is published")
        assert Job.objects.get(verb="Publish").queue == "host.local"
        assert not Parcel.objects.exists()


def test_what_was_uncommitted_at_the_end_is_kept_here() -> None:
    with joined() as here:
        task = here.submit(script="cat; echo precious > notes; sleep 300")
        here.until(lambda: here.turn(task).started_at is not None, "the agent works")
        here.until(lambda: (list(here.home.glob("rooms/*/work/notes"))) != [], "it has written")
        tasks.cancel(task=task, actor=here.me)
        here.reach(task, TaskStatus.CANCELLED)
        here.until(lambda: here.session(task).saved_ref != "", "it is kept")
        ref = here.session(task).saved_ref
        kept = here.tools.mirror(here.project)
        shown = kept._git().must("show", f"{ref}:notes", timeout=10)
        assert shown.strip() == "precious"
        here.until(lambda: not Parcel.objects.exists(), "nothing is on the way any more")
        assert list(here.home.glob("rooms/[!.]*")) == []


def test_what_was_handed_in_and_lost_is_handed_in_again() -> None:
    with joined() as here:
        task = here.submit(script=f"cat; {FIX}")
        here.until(lambda: Job.objects.filter(verb="Publish").exists(), "it is to be published")
        here.work_there()
        assert Job.objects.get(verb="Publish").queue == "effects"
        Parcel.objects.all().delete()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert here.repository.ask("show", f"{task.branch}:README") == "hello\nfixed"


def test_what_a_fenced_session_handed_in_is_pushed_by_nobody() -> None:
    with joined(reassign_after=timedelta(minutes=5)) as here:
        task = here.submit(script=f"cat; {FIX}")
        here.until(lambda: Job.objects.filter(verb="Publish").exists(), "it is to be published")
        here.work_there()
        assert Parcel.objects.exists()
        Session.objects.filter(task=task).update(ended_at=timezone.now(), end_reason="the host was lost")
        runner.run_due(queues=SERVICE, tools=here.tools)
        assert Job.objects.get(verb="Publish").state == "dropped"
        assert task.branch not in here.repository.ask("branch", "--list", "--all")


def test_a_push_that_waits_for_a_person_is_asked_for_here_and_goes_when_it_is_allowed() -> None:
    with joined() as here:
        script = (
            "cat; mkdir -p .github/workflows; echo 'on: push' > .github/workflows/x.yml; git add .; git commit -qm Ci"
        )
        task = here.submit(script=script)
        here.until(lambda: Job.objects.filter(verb="Publish", state="refused").exists(), "a person is asked")
        assert Job.objects.get(verb="Publish").code == "sensitive"
        task.refresh_from_db()
        tasks.retry(task=task, actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)


def test_the_service_cannot_speak_to_the_machine_and_the_machine_to_no_other() -> None:
    with joined() as here:
        with pytest.raises(Refused, match="by its own workers"):
            here.tools.host(here.host)
        other = Host(name="other", kind=Host.Kind.WORKER)
        local = Host(name="local", kind=Host.Kind.LOCAL)
        for row in (other, local):
            with pytest.raises(Refused):
                builtin.host(row, home=here.home, joined="spare")
        assert here.theirs.reaches(here.host)
        assert not here.theirs.reaches(other)
        assert not here.tools.reaches(here.host)
        assert here.tools.reaches(local)


def test_what_cannot_be_packed_says_why_and_is_asked_for_again() -> None:
    with joined() as here:
        Task.objects.all().delete()
        task = here.submit(script=f"cat; {FIX}")
        here.set(base_sha="d" * 40)
        here.until(lambda: "does not hold dddddddddddd" in Job.objects.get(verb="Pack").error, "it is said")
        here.set(base_sha=here.repository.ask("rev-parse", "main"))
        here.hurry()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert PullRequest.objects.count() == 1
