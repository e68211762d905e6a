"""A session on a machine over SSH is one like any other: its code travels as bundles, and no credential of ours is ever there."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Session, Workspace
from orchestrator.ports import Unavailable
from orchestrator.services import reviews, tasks
from tests.hosts.lab import SpareLab, spare
from tests.hosts.machines import needs_machines
from tests.lab import CHECKED, FIX, TRY, turns
from workers import mirrors
from workers.git.replica import Replica

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.root, needs_machines]
NOISE = random.Random(7).randbytes(3_000_000).hex()  # what cannot be made much smaller


def packs(here: SpareLab) -> list[int]:
    """The sizes of the packs of the machine's mirror, the oldest first."""
    listed = here.machine.inside(
        "sh", "-c", f"stat -c '%Y %s' {here.spare_port.facts().home}/mirrors/*/objects/pack/*.pack"
    )
    return [int(line.split()[1]) for line in sorted(listed.splitlines())]


def replica_of(here: SpareLab) -> Replica:
    home, mirror = here.spare_port.facts().home, here.tools.mirror(here.project)
    return Replica(mirror=mirror, host=here.port_to_spare.port, name="spare", path=f"{home}/mirrors/{mirror.path.name}")


@pytest.mark.parametrize("account", ["agent", "root"])
def test_a_task_goes_from_words_to_a_merged_change_on_a_machine_over_ssh(account: str) -> None:
    with spare(account=account) as here:
        here.set(scm=CHECKED)
        task = here.submit(script=turns(TRY, FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        session = here.session(task)
        assert session.host.name == "spare"
        assert session.workspace.path.startswith(here.spare_port.facts().home)
        # Two turns: the first one's work was red here, and its log went to the agent there.
        assert here.repository.ask("show", f"{task.branch}:README").splitlines() == ["hello", "try 1", "fixed"]

        reviews.submit_review(task=task, decision="approve", actor=here.other)
        here.reach(task, TaskStatus.MERGEABLE)
        tasks.request_merge(task=task, actor=here.me)
        here.reach(task, TaskStatus.MERGED)

        here.until(lambda: not Workspace.objects.exclude(state="removed").exists(), "workspaces are removed")
        assert here.machine.inside("ls", f"{here.spare_port.facts().home}/rooms") == ""
        assert here.doubles() == 0


def test_t5_what_a_session_leaves_on_the_machine_holds_no_way_back_to_us() -> None:
    with spare() as here:
        here.reach(here.submit(script=turns(FIX)), TaskStatus.REVIEW_PENDING)
        home = here.spare_port.facts().home
        kept = here.machine.inside("sh", "-c", f"cat {home}/mirrors/*/config {home}/rooms/*/home/.ao/repo.git/config")
        running = here.machine.inside("sh", "-c", "cat /proc/[0-9]*/environ | tr '\\0' '\\n'")
        assert "repositoryformatversion" in kept
        assert "AO_RUN=" in running or "SSH_CONNECTION=" in running
        assert str(here.folder) not in kept
        assert "SSH_AUTH_SOCK" not in running


def test_the_second_session_carries_only_what_is_new() -> None:
    with spare(files={"README": "hello\n", "test.sh": "true\n", "noise": NOISE}) as here:
        here.reach(here.submit(script=turns(FIX)), TaskStatus.REVIEW_PENDING)
        here.repository.commit({"MORE": "the base moves\n"})
        mirrors.fetch(here.project, here.tools, timeout=30)
        here.project.refresh_from_db()

        here.reach(here.submit(script=turns(FIX)), TaskStatus.REVIEW_PENDING)

        assert Session.objects.filter(host=here.spare, base_sha=here.project.base_sha).count() == 1
        first, second = packs(here)
        assert first > 2_500_000
        assert second < 10_000


def test_a_restarted_session_goes_on_from_what_was_published() -> None:
    with spare() as here:
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        published = here.session(task).published_sha
        tasks.restart(task=task, actor=here.me)
        here.until(lambda: here.session(task).epoch == 2 and here.session(task).base_sha == published, "it goes on")
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert here.repository.ask("show", f"{task.branch}:README").splitlines() == ["hello", "fixed", "fixed"]


def test_a_repository_that_does_not_get_there_in_one_go_is_gone_on_with() -> None:
    with spare(files={"README": "hello\n", "test.sh": "true\n", "noise": NOISE * 3}) as here:
        replica = replica_of(here)
        here.port_to_spare.allowed = 2  # it is asked what is there, and one piece is carried
        with pytest.raises(Unavailable, match=r"4\.2 of 1[0-9]\.. MB of the repository have got to spare") as told:
            replica.bring(here.project.base_sha)
        assert told.value.retry_after == timedelta(0)
        here.port_to_spare.allowed = None

        asked = here.port_to_spare.asked["command"]
        replica.bring(here.project.base_sha)

        # Asked what is there; refused the first piece, which is there; two more pieces; taken in.
        assert here.port_to_spare.asked["command"] - asked == 5
        assert packs(here)[0] > 8_000_000


SLOW_GIT = """#!/bin/sh
case "$*" in *unbundle*) while [ ! -e /tmp/go-on ]; do sleep 0.02; done ;; esac
exec /usr/bin/git "$@"
"""


def test_a_repository_that_a_machine_takes_long_to_take_in_is_waited_for_and_carried_once() -> None:
    with spare() as here:
        here.machine.inside("sh", "-c", "cat > /usr/local/bin/git && chmod 755 /usr/local/bin/git", stdin=SLOW_GIT)
        replica = replica_of(here)
        waiting = []
        for sha in (here.project.base_sha, here.project.base_sha, "f" * 40):
            with pytest.raises(Unavailable, match="spare takes in the repository") as told:
                replica.bring(sha, timeout=2)
            assert told.value.under_way
            waiting.append(here.port_to_spare.asked["command"])
        assert len(set(waiting)) == 1
        here.machine.inside("touch", "/tmp/go-on")
        replica.bring(here.project.base_sha)
        assert here.port_to_spare.asked["command"] == waiting[-1] + 1  # whether anything is missing now
        assert len(packs(here)) == 1
