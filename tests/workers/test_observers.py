"""The channel to a host: what it takes in, what it survives, and who holds it."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import pytest
from django.utils import timezone

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Check, Host, JournalChunk, PullRequest, Turn
from orchestrator.ports import Refused, Unavailable
from tests.homes import kill_serve
from tests.lab import CHECKED, FIX, NOTHING, Lab, lab, turns
from workers import looks, mirrors
from workers.observers import HostChannel

pytestmark = pytest.mark.django_db(transaction=True)


def _kill_guard(here: Lab, run: str) -> None:
    (identity,) = here.home.glob(f"**/{run}/run.json")
    os.kill(json.loads(identity.read_text())["guard"]["pid"], signal.SIGKILL)


def test_a_run_whose_guard_was_killed_is_over_and_its_agent_is_resumed() -> None:
    with lab() as here:
        task = here.submit(script=turns("sleep 60", FIX))
        here.until(lambda: here.turn(task).started_at is not None, "the agent is at work")
        first = here.turn(task)
        _kill_guard(here, first.run_id)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        first.refresh_from_db()
        assert (first.end, first.detail) == ("killed", "its guard was lost")
        assert Turn.objects.count() == 2


def test_a_check_whose_guard_was_killed_is_run_again() -> None:
    with lab(scm={"plugin": "local", "checks": {"tests": "sleep 60"}}) as here:
        task = here.submit(script=turns(FIX))
        here.until(lambda: Check.objects.filter(status="in_progress").exists(), "its check runs")
        here.set(scm={"plugin": "local", "checks": {"tests": "true"}})
        _kill_guard(here, Check.objects.get().run_id)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert list(Check.objects.order_by("n").values_list("n", "conclusion")) == [(1, "cancelled"), (2, "success")]


def test_the_journal_goes_on_where_it_was_after_serve_was_killed() -> None:
    with lab() as here:
        task = here.submit(script="cat > /dev/null; echo one; until [ -e $HOME/go ]; do sleep 0.05; done; echo two")
        here.until(lambda: here.turn(task).journal_size > 0, "it has said one")
        kill_serve(here.home)
        here.port.inner.write("home/go", b"", workspace=here.session(task).workspace.name)
        here.reach(task, TaskStatus.DONE)
        chunks = JournalChunk.objects.filter(run=here.turn(task).run_id).order_by("offset")
        assert b"".join(bytes(chunk.data) for chunk in chunks) == b"one\ntwo\n"
        assert (Turn.objects.count(), here.turn(task).end) == (1, "finished")


def test_of_two_who_watch_a_host_one_holds_its_channel() -> None:
    with lab() as here:
        other = HostChannel(host_name="local", holder="other", tools=here.tools, wait=0)
        assert here.channel.once() is True
        assert other.once() is False
        Host.objects.update(channel_until=timezone.now())
        assert other.once() is True
        assert here.channel.once() is False


def test_a_host_that_refuses_what_a_look_asked_for_is_looked_at_again() -> None:
    with lab(scm=CHECKED) as here:
        here.port.down.add("remove_workspace")
        task = here.submit(script=turns(FIX))
        here.until(lambda: Check.objects.filter(status="in_progress").exists(), "its check runs")
        here.settle(20)
        here.port.down.clear()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert Check.objects.get().conclusion == "success"


def test_a_turn_that_nobody_should_have_is_stopped() -> None:
    with lab() as here:
        task = here.submit(script="cat; sleep 60")
        here.until(lambda: here.turn(task).started_at is not None, "the agent is at work")
        run = here.turn(task).run_id
        now = timezone.now()
        Turn.objects.update(ended_at=now, end="stopped", published_at=now)
        here.channel.once()

        def live() -> list[bool]:
            look = here.port.inner.look(cursors={run: -1}, wait=0, timeout=5)
            return [state.live for state in look.runs if state.id == run]

        here.until(lambda: live() == [False], "it is stopped")


@pytest.mark.parametrize("error", [Unavailable("connection refused"), Refused("no branch main", code="no-branch")])
def test_a_repository_that_cannot_be_looked_at_is_said_on_its_project_until_it_can(error: Exception) -> None:
    with lab() as here:
        task = here.submit(script=turns(FIX, NOTHING))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        PullRequest.objects.update(poll_at=timezone.now())

        def broken(_: object) -> object:
            raise error

        tools = replace(here.tools, scm=broken)  # type: ignore[arg-type]
        assert looks.observe_due_pull_requests(tools) == 0
        here.project.refresh_from_db()
        assert here.project.notice == f"{here.repository.path}: {error}"
        task.refresh_from_db()
        assert task.status == TaskStatus.REVIEW_PENDING
        mirrors.fetch(here.project, here.tools, timeout=30)
        here.project.refresh_from_db()
        assert here.project.notice == ""
