"""Symphony, group E: workspaces and the hooks around them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from orchestrator.domain.issues import workspace_key
from orchestrator.domain.status import TaskStatus
from orchestrator.models import Event, HookRun, Job, Session, Task, Turn, Workspace
from orchestrator.ports import Refused, Run, Unavailable
from orchestrator.services import observations, reviews, tasks, transcripts
from tests.homes import hostkit_home
from tests.lab import FIX, Lab, lab
from tests.symphony.lab import apply, script
from workers.plugins.hosts.local import LocalHost

pytestmark = pytest.mark.django_db(transaction=True)


def hooks(**scripts: str) -> str:
    """The front matter of these hooks."""
    lines = "".join(f"  {name}: {script!r}\n" for name, script in scripts.items() if name != "timeout_ms")
    return f"hooks:\n{lines}" + (f"  timeout_ms: {scripts['timeout_ms']}\n" if "timeout_ms" in scripts else "")


def log_of(hook: HookRun) -> str:
    return transcripts.read(run=hook.run_id)[0].decode()


def merged(here: Lab, task: Task) -> None:
    """A person approves it, and it is merged."""
    here.reach(task, TaskStatus.REVIEW_PENDING)
    reviews.submit_review(task=task, decision="approve", actor=here.other)
    here.reach(task, TaskStatus.MERGEABLE)
    tasks.request_merge(task=task, actor=here.me)
    here.reach(task, TaskStatus.MERGED)


def test_e1_a_workspace_is_below_one_root_is_used_again_by_every_turn_and_outlives_success() -> None:
    """Differs: the room is named at random, and not after the issue, so that no word of an issue is ever a path."""
    with lab(**script(f"pwd; {FIX}")) as here:
        apply(here.project, "workspace: {root: /somewhere/else}")
        task = here.submit()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        tasks.send(task=task, text="Once more.", actor=here.me)
        here.until(lambda: Turn.objects.filter(n=2, published_at__isnull=False).exists(), "a second turn")

        room = Workspace.objects.get()
        place = here.home / "rooms" / room.name / "work"
        assert str(place) in here.heard(task, 1)
        assert str(place) in here.heard(task, 2)
        assert (room.state, place.is_dir()) == ("ready", True)
        assert not Path("/somewhere/else").exists()


def test_e2_after_create_runs_when_the_workspace_is_made_and_not_for_the_next_turn() -> None:
    with lab(**script(f"cat $HOME/trace; {FIX}")) as here:
        apply(here.project, hooks(after_create="echo made for $AO_ISSUE in $AO_WORKSPACE_KEY >> $HOME/trace"))
        task = here.submit()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        tasks.send(task=task, text="Once more.", actor=here.me)
        here.until(lambda: Turn.objects.filter(n=2, published_at__isnull=False).exists(), "a second turn")

        line = f"made for {task} in {workspace_key(str(task))}"
        assert here.heard(task, 1).count(line) == 1
        assert here.heard(task, 2).count(line) == 1


def test_e3_hooks_run_in_order_in_the_workspace_and_their_output_is_kept() -> None:
    with lab(**script(f"echo agent >> $HOME/trace; {FIX}")) as here:
        apply(
            here.project,
            hooks(
                after_create="echo create >> $HOME/trace",
                before_run="echo before >> $HOME/trace; pwd",
                after_run="echo after >> $HOME/trace; cat $HOME/trace; exit 3",
                before_remove="cat $HOME/trace; exit 4",
            ),
        )
        task = here.submit()
        merged(here, task)
        here.until(lambda: Workspace.objects.get().state == "removed", "the workspace is gone")

        before, after, remove = HookRun.objects.order_by("pk")
        assert log_of(before).strip() == str(here.home / "rooms" / Workspace.objects.get().name / "work")
        assert log_of(after).split() == ["create", "before", "agent", "after"]
        assert log_of(remove).split() == ["create", "before", "agent", "after"]
        assert [hook.succeeded for hook in (before, after, remove)] == [True, False, False]
        told = list(Event.objects.filter(kind="hook.ended").order_by("pk").values_list("text", flat=True))
        assert told[1].startswith("hook after_run failed: exit code 3")


def test_e3_a_hook_before_the_turn_that_fails_fails_the_attempt_and_a_retry_runs_it_again() -> None:
    with lab(**script(FIX)) as here:
        apply(here.project, hooks(before_run="test -e $HOME/ready || { touch $HOME/ready; echo not ready; exit 7; }"))
        task = here.submit()
        here.reach(task, TaskStatus.FAILED)
        here.settle(2)
        assert not Turn.objects.exists()
        assert "hook before_run failed: exit code 7: not ready" in task.reason
        assert len(here.escalations(task)) == 1

        tasks.retry(task=task, actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_e3_a_hook_that_takes_too_long_is_stopped_and_holds_no_job(elsewhere: bool) -> None:
    with lab(**script(FIX), reassign_after=None) as here:
        if elsewhere:
            here.elsewhere()
        apply(here.project, hooks(before_run="sleep 600", timeout_ms="1500"))
        task = here.submit()
        began = time.monotonic()
        here.reach(task, TaskStatus.FAILED)

        assert time.monotonic() - began < 30
        assert "it ran longer than hooks.timeout_ms allows" in task.reason


def test_e3_hooks_run_as_the_sessions_account_and_never_as_us() -> None:
    with lab(**script(FIX)) as here:
        apply(
            here.project,
            hooks(before_run="id -un; cat /proc/self/environ | tr '\\\\0' '\\\\n' | grep -c AO_SECRET || true"),
        )
        task = here.submit()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        who, secrets = log_of(HookRun.objects.get()).split()

        host = LocalHost(here.home)
        room = host.open_workspace(Workspace.objects.get().name)
        host.close()
        assert (who, secrets) == (room.account, "0")


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "..", "", "a\x00b"])
def test_e4_no_name_leads_out_of_the_root(name: str) -> None:
    with hostkit_home() as home:
        host = LocalHost(home)
        with pytest.raises(Refused):
            host.open_workspace(name)
        host.close()


def test_e4_a_run_begins_in_its_own_workspace_and_a_link_in_its_place_is_not_followed() -> None:
    with hostkit_home() as home:
        host = LocalHost(home)
        host.facts()
        outside = home / "outside"
        outside.mkdir()
        (home / "rooms" / "w-link").symlink_to(outside)
        with pytest.raises(Unavailable, match="was no folder"):
            host.open_workspace("w-link")
        room = host.open_workspace("w-link")
        assert (Path(room.work).resolve(), list(outside.iterdir())) == (home / "rooms" / "w-link" / "work", [])
        with pytest.raises(Refused):
            host.start(Run(id="r", fence="f", epoch=1, workspace="w-other", argv=("true",)))
        host.close()


def test_e4_the_folder_of_an_issue_is_a_safe_name() -> None:
    assert workspace_key("../../etc").startswith(".._.._etc-")
    assert "/" not in workspace_key("../../etc")


def test_e5_a_workspace_that_cannot_be_set_up_again_keeps_the_work_that_is_in_it() -> None:
    with lab(**script(f"cat notes; {FIX}")) as here:
        apply(here.project, hooks(after_create="echo mine >> notes; test $(wc -l < notes) -ge 2"))
        task = here.submit()
        here.reach(task, TaskStatus.FAILED)
        assert "hook after_create failed" in task.reason

        tasks.retry(task=task, actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert "mine\nmine" in here.heard(task, 1)
        assert Workspace.objects.count() == 1


def test_e6_what_is_no_folder_is_set_aside_and_never_deleted() -> None:
    """Exceeds: the reference puts a folder in its place; here it is kept, and said."""
    with hostkit_home() as home:
        host = LocalHost(home)
        host.facts()
        (home / "rooms" / "w-file").write_text("somebody's")
        with pytest.raises(Unavailable, match="set aside"):
            host.open_workspace("w-file")
        room = host.open_workspace("w-file")
        kept = list((home / "rooms").glob(".w-file.in-the-way.*"))
        assert [file.read_text() for file in kept] == ["somebody's"]
        assert Path(room.work).is_dir()
        host.close()


def test_e7_a_first_set_up_that_failed_is_run_again() -> None:
    with lab(**script(FIX)) as here:
        apply(here.project, hooks(after_create="echo try; test -e $HOME/again || { touch $HOME/again; exit 1; }"))
        task = here.submit()
        here.reach(task, TaskStatus.FAILED)
        tasks.retry(task=task, actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)

        session = Session.objects.select_related("task").get()
        assert transcripts.read(run=observations.setup_run(session))[0].decode().strip() == "try"
        assert Job.objects.filter(verb="Prepare").count() == 2
