"""Failures of a whole project, in rows: when they become an incident, who waits on it, how it ends; and what is known of flakes and of main."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from orchestrator.domain.rules import Trigger
from orchestrator.domain.status import TaskStatus
from orchestrator.models import (
    BaseCheck,
    Check,
    Flake,
    Incident,
    Job,
    Message,
    Notification,
    NotificationChannel,
    PullRequest,
    Task,
)
from orchestrator.ports import CheckSeen
from orchestrator.services import base_checks, incidents, pull_requests
from orchestrator.services.reconcile import reconcile
from tests.lab import Lab, lab, turns
from tests.web import scenes

pytestmark = pytest.mark.django_db(transaction=True)

ELSEWHERE = {"plugin": "github", "requiredChecks": ["lint"]}
ADD = "echo $AO_TURN >> feature.txt; git add -A; git commit -qm 'Add a feature'"


def open_task(here: Lab, title: str, *, head: str) -> Task:
    """A task that waits for its review, on a forge that runs its own checks."""
    task = here.submit(title=title, script=turns(ADD, "echo nothing"))
    here.reach(task, TaskStatus.REVIEW_PENDING, TaskStatus.CI_PENDING)
    PullRequest.objects.filter(task=task).update(head_sha=head, poll_at=timezone.now() + timedelta(days=1))
    return task


def ran(
    number: str, conclusion: str | None, *, name: str = "lint", head: str = "", fingerprint: str = "f1"
) -> CheckSeen:
    red = conclusion not in {None, "success"}
    return CheckSeen(
        id=number,
        name=name,
        head_sha=head,
        status="completed" if conclusion else "in_progress",
        conclusion=conclusion,
        failing_log="boom" if red else "",
        fingerprint=fingerprint if red else "",
        headline="boom" if red else "",
        completed_at=timezone.now() if conclusion else None,
    )


def see(task: Task, *checks: CheckSeen) -> None:
    """What another forge shows of a pull request now."""
    pull = PullRequest.objects.get(task=task)
    seen = scenes.seen(pull, mergeable=True, checks=tuple(checks))
    pull_requests.record(task=task, seen=seen, now=timezone.now())
    reconcile(task_id=task.pk, now=timezone.now())
    task.refresh_from_db()


def three_red(here: Lab, *fingerprints: str) -> list[Task]:
    made = [open_task(here, f"Add {n}", head=f"{n}" * 40) for n in range(3)]
    here.set(scm=ELSEWHERE)
    for n, (task, fingerprint) in enumerate(zip(made, fingerprints, strict=True)):
        see(task, ran(f"10{n}", "failure", head=f"{n}" * 40, fingerprint=fingerprint))
    return made


def told(task: Task) -> int:
    return Message.objects.filter(task=task, trigger=Trigger.CI_FAILED).count()


def test_the_third_pull_request_that_fails_alike_opens_one_incident_and_waits() -> None:
    with lab() as here:
        NotificationChannel.objects.create(name="team", plugin="apprise", config={}, priorities=["action"])
        made = three_red(here, "f1", "f1", "f1")
        incident = Incident.objects.get()
        assert (incident.on_base, len(incident.pulls), incident.check_name) == (False, 3, "lint")
        assert [told(task) for task in made] == [1, 1, 0]
        assert made[2].reason == f"waits on incident #{incident.pk}: lint fails on 3 pull requests the same way"
        assert Notification.objects.filter(telling="alert").count() == 1
        reconcile(task_id=made[2].pk, now=timezone.now())
        assert Incident.objects.count() == 1


def test_other_failures_and_old_ones_are_none() -> None:
    with lab() as here:
        made = three_red(here, "f1", "f2", "f3")
        assert not Incident.objects.exists()
        Check.objects.update(completed_at=timezone.now() - timedelta(days=2))
        see(made[0], ran("200", "failure", head="0" * 40, fingerprint="f9"))
        assert incidents.failing_alike({(here.project.pk, "lint", "f2")}, now=timezone.now()) == {}


def test_it_ends_where_the_check_turns_green_and_the_one_that_waited_is_told() -> None:
    with lab() as here:
        made = three_red(here, "f1", "f1", "f1")
        PullRequest.objects.filter(task=made[0]).update(head_sha="c" * 40)  # its agent has pushed
        see(made[0], ran("300", "success", head="c" * 40))
        incident = Incident.objects.get()
        assert incident.resolution == "it is green on !1"
        made[2].refresh_from_db()
        assert made[2].wake_at is not None
        assert made[2].wake_at <= timezone.now()
        reconcile(task_id=made[2].pk, now=timezone.now())
        assert told(made[2]) == 1


def test_a_person_ends_it_and_what_was_red_before_does_not_open_it_again() -> None:
    with lab() as here:
        made = three_red(here, "f1", "f1", "f1")
        incidents.resolve(incident=Incident.objects.get(), actor=here.me)
        for task in made:
            reconcile(task_id=task.pk, now=timezone.now())
        assert [told(task) for task in made] == [1, 1, 1]
        assert Incident.objects.get().resolved_by == here.me.user


def test_a_person_lets_agents_try_and_it_stays_on_the_board_until_it_is_green() -> None:
    with lab() as here:
        made = three_red(here, "f1", "f1", "f1")
        incidents.release(incident=Incident.objects.get(), actor=here.me)
        incidents.release(incident=Incident.objects.get(), actor=here.other)
        reconcile(task_id=made[2].pk, now=timezone.now())
        assert told(made[2]) == 1
        incident = Incident.objects.get()
        assert (incident.state, incident.released_by) == ("released", here.me.user)
        see(made[2], ran("400", "success", head="2" * 40))
        assert Incident.objects.get().state == "resolved"


def test_what_main_fails_by_is_inherited_until_main_is_green() -> None:
    with lab() as here:
        task = open_task(here, "Add one", head="a" * 40)
        here.set(scm=ELSEWHERE)
        pull = PullRequest.objects.get(task=task)
        base_checks.record(
            project=here.project,
            sha=pull.base_sha,
            seen=[ran("1", "failure"), ran("2", "success", name="unit")],
            now=timezone.now(),
        )
        see(task, ran("10", "failure", head="a" * 40))
        assert BaseCheck.objects.get().name == "lint"
        assert task.reason == f"waits for main: lint fails there too (incident #{Incident.objects.get().pk})"
        assert told(task) == 0
        PullRequest.objects.update(base_sha="b" * 40)
        base_checks.record(project=here.project, sha="b" * 40, seen=[ran("3", None)], now=timezone.now())
        reconcile(task_id=task.pk, now=timezone.now())
        assert told(task) == 0
        base_checks.record(project=here.project, sha="b" * 40, seen=[ran("3", "success")], now=timezone.now())
        reconcile(task_id=task.pk, now=timezone.now())
        assert Incident.objects.get().resolution == f"lint is green on main at {'b' * 10}"
        assert "Rebase or merge first" in Message.objects.get(task=task, trigger=Trigger.CI_FAILED).text


def test_what_breaks_many_checks_of_main_at_once_is_told_to_people_once() -> None:
    with lab() as here:
        NotificationChannel.objects.create(name="team", plugin="apprise", config={}, priorities=["action"])
        task = open_task(here, "Add one", head="a" * 40)
        names = [f"suite {n}" for n in range(30)]
        here.set(scm={**ELSEWHERE, "requiredChecks": names})
        base = PullRequest.objects.get(task=task).base_sha
        red = [ran(f"{n}", "failure", name=name) for n, name in enumerate(names)]
        base_checks.record(project=here.project, sha=base, seen=red, now=timezone.now())
        see(task, *(ran(f"9{n}", "failure", name=name, head="a" * 40) for n, name in enumerate(names)))
        assert task.reason.startswith("waits for main: suite 0, suite 1, suite 2 and 27 more fail there too")
        assert (Incident.objects.count(), Notification.objects.filter(telling="alert").count()) == (30, 1)


def test_a_person_who_says_that_main_is_mended_has_the_agents_told() -> None:
    with lab() as here:
        task = open_task(here, "Add one", head="a" * 40)
        here.set(scm=ELSEWHERE)
        red = [ran("1", "failure")]
        base = PullRequest.objects.get(task=task).base_sha
        base_checks.record(project=here.project, sha=base, seen=red, now=timezone.now())
        see(task, ran("10", "failure", head="a" * 40))
        incidents.resolve(incident=Incident.objects.get(), actor=here.me)
        base_checks.record(project=here.project, sha=base, seen=red, now=timezone.now())
        reconcile(task_id=task.pk, now=timezone.now())
        assert (told(task), Incident.objects.count()) == (1, 1)


def test_a_check_that_was_red_and_then_green_at_one_commit_is_a_flake_and_counted_once() -> None:
    with lab() as here:
        task = open_task(here, "Add one", head="a" * 40)
        here.set(scm=ELSEWHERE)
        see(task, ran("10", "failure", head="a" * 40))
        for _ in range(2):
            see(task, ran("11", "success", head="a" * 40))
        flake = Flake.objects.get()
        assert (flake.name, flake.fingerprint, flake.times, flake.weight) == ("lint", "f1", 1, 1.0)


def test_a_known_flake_is_asked_for_again_before_the_agent_is_told() -> None:
    with lab() as here:
        task = open_task(here, "Add one", head="a" * 40)
        here.set(scm=ELSEWHERE)
        Flake.objects.create(
            project=here.project, name="lint", fingerprint="f1", times=1, weight=1.0, last_at=timezone.now()
        )
        see(task, ran("10", "failure", head="a" * 40))
        job = Job.objects.get(verb="RerunChecks")
        assert (told(task), job.queue, job.action["checks"]) == (0, "effects", [Check.objects.get(external_id="10").pk])
        see(task, ran("10", "failure", head="a" * 40), ran("11", "failure", head="a" * 40))
        assert (told(task), Job.objects.filter(verb="RerunChecks").count()) == (1, 1)


def test_an_incident_that_no_open_pull_request_has_any_more_is_over() -> None:
    with lab() as here:
        three_red(here, "f1", "f1", "f1")
        later = timezone.now() + timedelta(days=3)
        assert incidents.end_forgotten(now=later) == 0
        PullRequest.objects.update(state="closed")
        assert incidents.end_forgotten(now=later) == 1
        assert Incident.objects.get().resolution == "no open pull request fails like this any more"


def test_our_own_check_is_run_on_main_once_and_its_failure_is_named() -> None:
    files = {
        "README": "x\n",
        "check.sh": 'test ! -f broken || { echo "FAILED tests/a.py::test_it - boom"; exit 1; }\n',
        "broken": "x\n",
    }
    with lab(files, scm={"plugin": "local", "checks": {"lint": "sh check.sh"}}) as here:
        task = here.submit(title="Add one", script=turns(ADD))
        here.until(
            lambda: "waits for main: lint fails there too" in here.reach(task, TaskStatus.CI_FAILED).reason,
            "it waits for main",
        )
        base = BaseCheck.objects.get()
        assert (base.conclusion, base.n, base.headline) == ("failure", 1, "tests/a.py::test_it: boom")
        assert (told(task), Incident.objects.get().on_base) == (0, True)
        assert not base_checks.forsaken(host=here.host)
