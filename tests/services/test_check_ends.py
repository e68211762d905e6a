"""What the end of a check's run says of the change."""

from __future__ import annotations

import pytest
from django.utils import timezone

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Check
from orchestrator.ports import RunEnd, RunState
from orchestrator.services import observations
from tests.lab import lab

pytestmark = pytest.mark.django_db(transaction=True)

FIX = "cat > /dev/null; echo fixed >> README; git commit -qam 'Fix it'"


def _ended(check: Check, how: RunEnd) -> RunState:
    return RunState(
        id=check.run_id,
        fence=check.run_id,
        epoch=1,
        live=False,
        end=how,
        exit_code=None,
        signal=None,
        size=0,
        dropped=0,
        started_at=None,
        ended_at=None,
    )


@pytest.mark.parametrize(
    ("how", "conclusion", "runs"), [(RunEnd.DEADLINE, "timed_out", 1), (RunEnd.LOST, "cancelled", 2)]
)
def test_a_check_that_ran_too_long_has_failed_and_one_that_was_lost_is_run_again(
    how: RunEnd, conclusion: str, runs: int
) -> None:
    with lab(scm={"plugin": "local", "checks": {"tests": "sleep 60"}}) as here:
        task = here.submit(script=FIX)
        here.reach(task, TaskStatus.CI_PENDING)
        here.until(lambda: Check.objects.filter(status="in_progress").exists(), "the check runs")
        check = Check.objects.get()
        observations.check_ended(check_id=check.pk, state=_ended(check, how), log="", now=timezone.now())
        check.refresh_from_db()
        assert check.conclusion == conclusion
        assert Check.objects.count() == runs
