"""Workers that were held up until somebody else had done their work, and questions that look like each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from django.utils import timezone

from orchestrator.domain.actions import Interrupt, Prepare, RunCheck, Settle
from orchestrator.domain.rules import Priority, Trigger
from orchestrator.domain.status import TaskStatus
from orchestrator.models import Check, Interruption, Workspace
from orchestrator.ports import Host, Workspaces, WorkspaceSpec
from orchestrator.services import promises, tasks
from orchestrator.services.sessions import Overtaken
from tests.lab import CHECKED, FIX, Lab, lab, turns
from workers.executors.table import EXECUTORS

pytestmark = pytest.mark.django_db(transaction=True)


class _HeldUp:
    """Workspaces of a worker that sleeps right before it makes a tree; what happens meanwhile is `meanwhile`."""

    def __init__(self, inner: Workspaces, meanwhile: Any) -> None:
        self._inner, self._meanwhile = inner, meanwhile

    def prepare(self, spec: WorkspaceSpec, host: Host, **more: Any) -> str:
        self._meanwhile()
        host.open_workspace(spec.workspace)
        return self._inner.prepare(spec, host, **more)


def _late(here: Lab, action: object, task: int, meanwhile: Any) -> Mapping[str, object]:
    held_up = cast("Workspaces", _HeldUp(here.tools.workspaces, meanwhile))
    return EXECUTORS[type(action)](action, task, replace(here.tools, workspaces=held_up))


def _on_the_host(here: Lab, room: str) -> bool:
    return any(here.folder.parent.glob(f"*/home/rooms/{room}"))


def test_a_worker_that_wakes_up_after_the_session_was_taken_down_leaves_no_room_behind() -> None:
    with lab() as here:
        task = here.submit(script="cat; sleep 60")
        here.until(lambda: here.turn(task).started_at is not None, "the agent is at work")
        session = here.session(task)
        room = session.workspace.name

        def taken_down() -> None:
            tasks.cancel(task=task, actor=here.me)
            here.until(lambda: Workspace.objects.get().state == "removed", "the room is gone")

        with pytest.raises(Overtaken):
            _late(here, Prepare(session=session.pk, attempt=0), task.pk, taken_down)
        assert not _on_the_host(here, room)


def test_a_worker_that_wakes_up_after_its_check_was_over_leaves_no_room_behind() -> None:
    with lab(scm=CHECKED) as here:
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        check = Check.objects.get()
        room = Workspace.objects.get(purpose="check").name
        with pytest.raises(Overtaken):
            _late(here, RunCheck(name="tests", head_sha=check.head_sha, n=1), task.pk, lambda: None)
        assert not _on_the_host(here, room)
        assert Check.objects.get().conclusion == "success"


def test_a_question_that_is_settled_takes_none_along_that_begins_like_it() -> None:
    with lab() as here:
        task = here.submit()

        def ask(cause: str, *, escalation: bool) -> Interrupt:
            return Interrupt(
                trigger=Trigger.AGENT_EXITED,
                cause=cause,
                priority=Priority.URGENT,
                escalation=escalation,
                question="What now?",
            )

        now = timezone.now()
        asked = [("agent-exited:turn-1.1", False), ("agent-exited:turn-1.10", False), ("agent-exited:turn-1.1x", True)]
        promises.promise([ask(cause, escalation=escalation) for cause, escalation in asked], task=task, now=now)
        promises.promise([Settle(cause="agent-exited:turn-1.1")], task=task, now=now)
        still = Interruption.objects.open().filter(trigger=Trigger.AGENT_EXITED).values_list("cause", flat=True)
        assert set(still) == {"agent-exited:turn-1.10", "agent-exited:turn-1.1x"}


def test_half_a_character_in_a_title_or_an_answer_is_left_out() -> None:
    with lab(paused=True) as here:
        task = here.submit("Fix \ud800the\x00 test", body="so \udfff it")
        task.refresh_from_db()
        assert (task.title, task.body) == ("Fix the test", "so  it")
        with pytest.raises(tasks.NotNow, match="does not ask"):
            tasks.answer(task=task, request_id="q\x00\ud800", answer="yes", actor=here.me)
