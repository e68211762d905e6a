"""Acceptance rows about what cannot be seen: silent hosts, messages that were not taken, a service that was away, work that would be lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Event, Host, Job, Notification, NotificationChannel, Session, Task, Turn
from orchestrator.ports import Refused
from orchestrator.services import board, observations, tasks
from tests.fakes.flaky import EVERYTHING
from tests.lab import FIX, Lab, lab, turns

pytestmark = pytest.mark.django_db(transaction=True)

WORK = "cat; sleep 60"


def _at_work(here: Lab) -> Task:
    task = here.submit(script=WORK)
    here.until(lambda: here.turn(task).started_at is not None, "the agent is at work")
    here.settle(2)
    task.refresh_from_db()
    return task


def test_d5_one_failed_look_changes_nothing_about_the_task() -> None:
    with lab() as here:
        task = _at_work(here)
        before = (task.status, task.version)
        here.port.down.add("look")
        assert here.channel.once() is False
        here.port.down.clear()
        here.settle(3)
        task.refresh_from_db()
        assert (task.status, task.version) == before
        assert here.turn(task).ended_at is None
        assert not Event.objects.filter(kind="host.silent").exists()


def test_d6_when_all_looks_fail_everything_is_held_and_one_alert_goes_out() -> None:
    with lab() as here:
        NotificationChannel.objects.create(name="pager", plugin="webhook", priorities=["urgent"])
        task = _at_work(here)
        Host.objects.create(name="other")
        here.port.down.add(EVERYTHING)
        for seconds in range(0, 600, 20):
            for host in Host.objects.all():
                at = timezone.now() + timedelta(seconds=seconds)
                observations.host_silent(host=host, now=at, trouble="connection refused")
        here.later(timedelta(minutes=9))
        here.settle(2)
        assert Task.objects.get().status == TaskStatus.WORKING
        assert Session.objects.live().filter(task=task).exists()
        assert Notification.objects.filter(telling="alert").count() == 1
        assert Event.objects.filter(kind="host.silent").count() == 2
        assert len(board.health(now=timezone.now()).troubles) == 2
        here.port.down.clear()
        here.channel.once()
        assert here.turn(task).ended_at is None
        assert list(Host.objects.filter(silent_since=None).values_list("name", flat=True)) == ["local"]


def test_d15_what_is_uncommitted_at_the_end_is_kept_under_a_ref_and_shown() -> None:
    with lab() as here:
        task = here.submit(script="cat; echo precious > WORK; touch $HOME/ready; sleep 60")
        here.until(lambda: here.turn(task).started_at is not None, "the agent is at work")
        room = here.session(task).workspace.name
        here.until(lambda: _there(here, room), "it has written something")
        tasks.cancel(task=task, actor=here.me)
        here.reach(task, TaskStatus.CANCELLED)
        here.until(lambda: here.session(task).workspace.state == "removed", "its workspace is removed")
        saved = here.session(task).saved_ref
        mirror = here.tools.mirror(here.project)
        assert saved.startswith("refs/ao/saved/")
        assert Event.objects.filter(task=task, kind="work.saved", text__contains=saved).exists()
        assert here.repository.ask("--git-dir", str(mirror.path), "show", f"{saved}:WORK") == "precious"


def _there(here: Lab, room: str) -> bool:
    try:
        here.port.inner.read("home/ready", workspace=room, cap=10)
    except Refused:
        return False
    return True


def test_d16_a_message_that_was_not_taken_is_tried_again_then_a_human_is_called_once() -> None:
    with lab() as here:
        here.port.down.add("start")
        task = here.submit(script=turns(FIX))
        here.until(lambda: Job.objects.filter(verb="StartTurn", attempts__gt=0).exists(), "the start failed")
        for _ in range(3):
            here.hurry()
            here.step()
        assert here.port.asked["start"] >= 4
        task.refresh_from_db()
        assert "connection refused" in task.reason
        assert Turn.objects.get().messages.filter(confirmed_at__isnull=True).count() == 1
        assert not here.escalations(task)
        here.later(timedelta(minutes=11))
        here.settle(3)
        assert len(here.escalations(task)) == 1
        assert here.reach(task, TaskStatus.STARTING).attention == "respond"
        here.port.down.clear()
        here.hurry()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert here.doubles() == 0


def test_a_start_whose_reply_was_lost_is_found_and_not_made_twice() -> None:
    with lab() as here:
        here.port.lost.add("start")
        task = here.submit(script=turns(FIX))
        here.until(lambda: Job.objects.filter(verb="StartTurn", attempts__gt=0).exists(), "the reply was lost")
        here.hurry()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert here.repository.ask("rev-list", "--count", f"main..{task.branch}") == "1"
        assert (Turn.objects.count(), here.doubles()) == (1, 0)


def test_d20_after_an_hour_away_the_board_says_how_old_it_is_and_catches_up() -> None:
    with lab() as here:
        task = here.submit(script=turns(FIX))
        here.until(lambda: Job.objects.filter(verb="StartTurn", state="done").exists(), "the agent was started")
        hour_ago = timezone.now() - timedelta(hours=1)
        Host.objects.update(seen_at=hour_ago)
        away = board.health(now=timezone.now())
        assert away.facts_at == hour_ago
        assert away.troubles == ("nobody watches local: are the workers running?",)
        here.forget()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        here.settle(2)
        back = board.health(now=timezone.now())
        assert back.troubles == ()
        assert back.facts_at is not None
        assert timezone.now() - back.facts_at < timedelta(seconds=30)
