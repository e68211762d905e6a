"""An agent whose program dies is resumed, whatever it had written by then and wherever it ran."""

from __future__ import annotations

import shutil

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Turn
from orchestrator.ports import Sandbox
from tests.lab import FIX, lab, turns

pytestmark = pytest.mark.django_db(transaction=True)

SANDBOXES = [
    Sandbox.NONE,
    pytest.param(Sandbox.BUBBLEWRAP, marks=pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap")),
]


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_what_a_dying_agent_left_half_done_is_gone_on_with_and_not_put_up_for_review(sandbox: Sandbox) -> None:
    with lab(sandbox=sandbox) as here:
        task = here.submit(script=turns("echo half > HALF; kill -9 $$", FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert list(Turn.objects.order_by("n").values_list("end", "resumes")) == [("killed", 0), ("finished", 1)]
        assert len(here.sent(task, "agent-exited")) == 1
