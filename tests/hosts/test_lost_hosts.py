"""Sessions whose machine over SSH is off, cut off or back: nothing is lost, and nothing happens twice."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from orchestrator.domain.addresses import fingerprint
from orchestrator.domain.status import TaskStatus
from orchestrator.models import Host, PullRequest, Session, Task, Workspace
from orchestrator.services import board, hosts, tasks
from tests.hosts.lab import SpareLab, spare
from tests.hosts.machines import needs_machines
from tests.lab import CHECKED, TRY, turns

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.root, pytest.mark.faults, needs_machines]
REASSIGN_AFTER = timedelta(minutes=5)


def at_work_again(here: SpareLab) -> Task:
    """A task whose first turn was published and red, and whose agent works on it for the second time."""
    here.set(scm=CHECKED, reassign_after=REASSIGN_AFTER)
    task = here.submit(script=turns(TRY, "sleep 300"))
    here.until(lambda: here.turn(task).n == 2 and here.turn(task).started_at is not None, "the agent works again")
    return task


def silent_after(here: SpareLab) -> float:
    """The seconds until the machine is shown as silent."""
    began = time.monotonic()
    while not any("spare does not answer" in trouble for trouble in board.health(now=timezone.now()).troubles):
        here.spare_channel.once()
        assert time.monotonic() - began < 60, "nobody notices"
    return time.monotonic() - began


def there(here: SpareLab) -> list[int]:
    return here.machine.processes("sleep 300")


def test_f4_a_session_on_a_host_that_is_off_goes_on_elsewhere_from_what_was_published() -> None:
    with spare() as here:
        task = at_work_again(here)
        here.machine.power_off()

        assert silent_after(here) < 45
        task.refresh_from_db()
        assert (Session.objects.count(), task.status) == (1, TaskStatus.WORKING)

        Host.objects.filter(name="local").update(draining=False)
        here.later(REASSIGN_AFTER + timedelta(minutes=1))
        here.until(lambda: here.session(task).host.name == "local", "it is placed elsewhere")
        here.until(lambda: here.turn(task).n == 2 and here.turn(task).started_at is not None, "its successor works")
        assert here.repository.ask("show", f"{task.branch}:README").splitlines() == ["hello", "try 1", "try 1"]
        assert PullRequest.objects.count() == 1

        here.machine.boot()
        here.until(lambda: Host.objects.get(name="spare").silent_since is None, "it is back")
        here.hurry()
        old = Session.objects.get(task=task, epoch=1)
        here.until(
            lambda: not Workspace.objects.filter(session=old).exclude(state="removed").exists(), "it is tidied up"
        )
        assert there(here) == []
        assert here.machine.inside("ls", f"{here.spare_port.facts().home}/rooms") == ""
        assert PullRequest.objects.count() == 1
        tasks.cancel(task=task, actor=here.me)
        here.reach(task, TaskStatus.CANCELLED)


def test_f5_a_host_that_is_cut_off_for_a_while_keeps_its_session_and_its_words() -> None:
    with spare() as here:
        task = here.submit(
            script="cat; for i in 1 2 3; do echo step $i; sleep 0.5; done; echo fixed >> README; echo done"
        )
        here.until(lambda: "step 1" in here.heard(task), "the agent works")
        here.machine.cut()
        assert silent_after(here) < 45
        here.machine.heal()

        here.reach(task, TaskStatus.REVIEW_PENDING)

        assert Session.objects.count() == 1
        assert here.heard(task).endswith("step 1\nstep 2\nstep 3\ndone\n")
        assert here.heard(task).count("step") == 3
        assert here.doubles() == 0


def test_f21_what_is_cancelled_while_its_host_is_cut_off_is_dead_at_reconnect() -> None:
    with spare() as here:
        task = at_work_again(here)
        here.machine.cut()
        assert silent_after(here) < 45
        tasks.cancel(task=task, actor=here.me)
        here.settle(2)
        assert there(here)

        here.machine.heal()

        here.reach(task, TaskStatus.CANCELLED)
        here.until(lambda: not there(here), "the agent is dead")
        here.until(lambda: not Workspace.objects.exclude(state="removed").exists(), "nothing is left")


def test_f25_a_host_with_another_key_is_shown_with_the_way_out_and_trusted_once_it_is_pinned() -> None:
    with spare() as here:
        task = at_work_again(here)
        here.machine.change_host_key()
        assert silent_after(here) < 45
        here.until(lambda: "--fingerprint" in Host.objects.get(name="spare").trouble, "it is said why")
        assert fingerprint(here.machine.host_key) in Host.objects.get(name="spare").trouble
        assert there(here)

        here.pin_anew()

        here.until(lambda: Host.objects.get(name="spare").silent_since is None, "it is trusted again")
        assert here.session(task).ended_at is None
        tasks.cancel(task=task, actor=here.me)
        here.reach(task, TaskStatus.CANCELLED)


def test_a_host_that_drains_takes_no_new_session_and_one_whose_label_is_wanted_does() -> None:
    with spare() as here:
        here.set(paused=False)
        Host.objects.filter(name="local").update(draining=False, capacity=30)
        Host.objects.filter(name="spare").update(capacity=1)
        here.spare_channel.once()
        labelled = [here.submit(script="cat; sleep 300", labels=["host:fast"]) for _ in range(2)]
        here.until(lambda: Session.objects.filter(host=here.spare).exists(), "one is placed")
        here.settle(3)
        assert [task.sessions.count() for task in labelled] == [1, 0]
        labelled[1].refresh_from_db()
        assert "all hosts are full" in labelled[1].reason

        Host.objects.filter(name="spare").update(draining=True, capacity=30)
        here.settle(3)
        labelled[1].refresh_from_db()
        assert "no host takes it: labels fast" in labelled[1].reason
        for task in labelled:
            tasks.cancel(task=task, actor=here.me)
        here.until(lambda: not there(here), "the agent is dead")
        hosts.remove(name="spare", actor=here.me)
        assert not Host.objects.present().filter(name="spare").exists()
