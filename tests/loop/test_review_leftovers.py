"""Whatever was cut short leaves nothing for ever: rooms of checks, runs that a host forgot, workspaces that were being prepared."""

from __future__ import annotations

import pytest
from django.utils import timezone

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Event, Job, Session, Turn, Workspace
from orchestrator.services import sessions, tasks
from tests.lab import CHECKED, FIX, Lab, lab, together, turns
from tests.repositories import Repository
from workers import mirrors

pytestmark = pytest.mark.django_db(transaction=True)


def _rooms(here: Lab) -> set[str]:
    """The rooms that the host really holds."""
    return {path.name for path in (here.folder.parent).glob("*/home/rooms/[!.]*")} & set(
        Workspace.objects.values_list("name", flat=True)
    )


def test_the_room_of_a_check_that_was_never_started_goes_when_the_change_moves_on() -> None:
    with lab(scm=CHECKED) as here:
        task = here.submit(script=turns(f"until [ -e $HOME/go ]; do sleep 0.05; done; {FIX}"))
        here.until(lambda: here.turn(task).started_at is not None, "the agent is at work")
        here.port.down.add("start")
        here.port.inner.write("home/go", b"", workspace=here.session(task).workspace.name)
        here.until(lambda: "refused" in Job.objects.get(verb="RunCheck").error, "the check has a room and no run")
        room = Workspace.objects.get(purpose="check").name
        here.until(lambda: room in _rooms(here), "the room is on the host")
        here.repository.git("clone", "-q", "-b", task.branch, str(here.repository.path), str(here.folder / "person"))
        person = Repository(here.folder / "person")
        person.commit({"THEIRS": "by hand\n"})
        person.git("push", "-q", "origin", task.branch)
        here.observe()
        here.port.down.clear()
        here.hurry()
        here.until(lambda: Workspace.objects.get(name=room).state == "removed", "its row says that it is gone")
        assert room not in _rooms(here)


def test_a_turn_of_which_the_host_knows_nothing_any_more_is_over_and_resumed() -> None:
    with lab() as here:
        task = here.submit(script=turns(FIX))
        here.port.down.add("start")
        here.until(lambda: "refused" in Job.objects.get(verb="StartTurn").error, "the turn is not started")
        Job.objects.filter(verb="StartTurn").delete()
        here.port.down.clear()
        session = here.session(task)
        turn = sessions.begin_turn(session_id=session.pk, n=1, now=timezone.now())
        sessions.turn_started(turn_id=turn.pk, now=timezone.now())
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert list(Turn.objects.order_by("n").values_list("end", flat=True)) == ["killed", "finished"]
        assert here.doubles() == 0


def test_a_workspace_that_could_not_be_prepared_is_tried_again_and_not_forgotten() -> None:
    with lab(warm_workspaces=1) as here:
        here.channel.once()
        here.port.down.add("command")
        mirrors.warm_up(here.project, here.tools)
        (begun,) = Workspace.objects.all()
        assert (begun.state, _rooms(here)) == ("preparing", {begun.name})
        here.port.down.clear()
        mirrors.warm_up(here.project, here.tools)
        assert list(Workspace.objects.values_list("name", "state")) == [(begun.name, "ready")]


def test_two_that_prepare_ahead_of_need_at_once_prepare_no_more_than_is_wanted() -> None:
    with lab(warm_workspaces=2) as here:
        here.channel.once()
        together(*(lambda: mirrors.prepare_ahead(here.project, here.tools) for _ in range(4)))
        assert list(Workspace.objects.values_list("state", flat=True)) == ["ready", "ready"]


def test_a_session_whose_uncommitted_work_is_too_large_to_keep_still_ends_and_says_so() -> None:
    with lab() as here:
        task = here.submit(script="cat; head -c 120000000 /dev/urandom > big; sleep 60")
        here.until(lambda: here.turn(task).started_at is not None, "the agent is at work")
        name = here.session(task).workspace.name
        here.until(lambda: _size(here, name) == 120_000_000, "the file is there")
        tasks.cancel(task=task, actor=here.me)
        here.reach(task, TaskStatus.CANCELLED)
        here.until(lambda: not Session.objects.live().exists(), "its session is ended")
        here.until(lambda: Workspace.objects.get().state == "removed", "its room is gone")
        assert "larger than" in Event.objects.get(kind="work.not_saved").text


def _size(here: Lab, room: str) -> int:
    found = list(here.folder.parent.glob(f"*/home/rooms/{room}/work/big"))
    return found[0].stat().st_size if found else 0
