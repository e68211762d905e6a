from __future__ import annotations

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Task
from tests.lab import FIX
from tests.symphony.lab import poll, task_of, tracked_lab

pytestmark = pytest.mark.django_db(transaction=True)


def test_x() -> None:
    with tracked_lab(FIX) as lab:
        lab.github.world.open_issue("grace", "Fix it", "Please.", ["bug"])
        lab.github.world.open_issue("stranger", "Mine too", "Please.", ["bug"])
        poll(lab)
        poll(lab)
        assert Task.objects.count() == 1
        task = task_of(1)
        lab.here.reach(task, TaskStatus.REVIEW_PENDING)
        print(lab.here.heard(task, 1))
        lab.here.report()
