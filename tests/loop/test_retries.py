"""A person says go on, perhaps twice."""

from __future__ import annotations

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Job, Workspace
from orchestrator.services import tasks
from tests.lab import FIX, lab, turns

pytestmark = pytest.mark.django_db(transaction=True)

# Fails the first time; the second time it takes until somebody lets it go on.
FAILS_ONCE = """
test -e ~/tried || { touch ~/tried; echo no index >&2; exit 1; }
until test -e ~/go-on; do sleep 0.02; done
"""


def test_saying_retry_twice_sets_a_workspace_up_once() -> None:
    with lab(post_create=[FAILS_ONCE]) as here:
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.FAILED)
        assert "no index" in task.reason
        tasks.retry(task=task, actor=here.me)
        here.until(lambda: setups(task.pk) == [("refused", 0), ("done", 1)], "the second set-up is under way")
        tasks.retry(task=task, actor=here.me)
        for _ in range(5):
            here.step()
        assert setups(task.pk) == [("refused", 0), ("done", 1)]
        here.port.write("home/go-on", b"", workspace=Workspace.objects.get(session__task=task).name)
        here.reach(task, TaskStatus.REVIEW_PENDING)


def setups(task: int) -> list[tuple[str, int]]:
    """The state and the attempt of each preparation, in their order."""
    found = Job.objects.filter(task=task, verb="Prepare").order_by("id").values_list("state", "key")
    return [(state, int(key.rpartition(":")[2])) for state, key in found]
