"""What a red build means, on the built-in forge with real checks: whose it is, what the agent is told of it, and when it is told nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from django.utils import timezone

from orchestrator.domain.status import TaskStatus
from orchestrator.models import (
    BaseCheck,
    Check,
    Event,
    Flake,
    Incident,
    Message,
    Notification,
    NotificationChannel,
    Task,
)
from orchestrator.services import incidents, tasks
from tests.lab import Lab, lab, turns

pytestmark = pytest.mark.django_db(transaction=True)

# Each file that is named broken-* breaks the check of that name.
FILES = {
    "README": "hello\n",
    "check.sh": 'if test -f "broken-$AO_CHECK"; then echo "FAILED tests/$AO_CHECK.py::test_it - $(cat broken-$AO_CHECK)"; exit 1; fi\n',
}
CHECKS = {"plugin": "local", "checks": {"lint": "sh check.sh", "unit": "sh check.sh"}}
ADD = 'echo "$AO_TURN" >> feature.txt; git add -A; git commit -qm "Add a feature"'
BREAK_UNIT = f"echo boom $AO_TURN > broken-unit; {ADD}"
MEND_UNIT = f"git rm -q broken-unit; {ADD}"


def red_lab(files: dict[str, str] | None = None, **settings: object) -> AbstractContextManager[Lab]:
    return lab({**FILES, **(files or {})}, **{"scm": CHECKS, **settings})


def at_main(here: Lab, files: dict[str, str] | None = None, *, gone: str = "") -> None:
    """Somebody's commit on the base branch."""
    if gone:
        here.repository.git("rm", "-q", gone)
    here.repository.commit(files or {})
    here.observe()


def submit(here: Lab, title: str, *scripts: str) -> Task:
    return here.submit(title=title, script=turns(*scripts))


# --- inherited ----------------------------------------------------------------------------------------------------------------------------


def test_a_failure_that_main_has_too_is_not_told_to_the_agent_and_uses_no_try() -> None:
    with red_lab({"broken-lint": "dust\n"}) as here:
        task = submit(here, "Add a feature", ADD)
        here.until(
            lambda: "waits for main: lint fails there too" in here.reach(task, TaskStatus.CI_FAILED).reason,
            "it waits for main",
        )
        here.settle()
        assert here.sent(task, "ci-failed") == []
        assert here.escalations(task) == []
        (incident,) = Incident.objects.all()
        assert (incident.on_base, incident.check_name, incident.state) == (True, "lint", "open")
        task.refresh_from_db()
        assert f"(incident #{incident.pk})" in task.reason
        assert "lint: failure, inherited" in task.evidence
        # Main is asked once, and only about what failed.
        assert BaseCheck.objects.get().name == "lint"


def test_when_main_is_green_again_the_agent_is_told_to_rebase_first() -> None:
    with red_lab({"broken-lint": "dust\n"}) as here:
        task = submit(here, "Add a feature", ADD, f"git rebase -q origin/main; {ADD}")
        here.until(lambda: Incident.objects.filter(on_base=True).exists(), "it waits for main")
        at_main(here, gone="broken-lint")
        here.later(timedelta(minutes=1))
        here.until(lambda: len(here.sent(task, "ci-failed")) == 1, "the agent is told")
        assert "Rebase or merge first" in here.sent(task, "ci-failed")[0].text
        here.reach(task, TaskStatus.REVIEW_PENDING)
        incident = Incident.objects.get()
        assert (incident.state, incident.resolution) == (
            "resolved",
            f"lint is green on main at {here.repository.head[:10]}",
        )


def test_of_two_failures_the_inherited_one_is_named_and_the_other_is_told() -> None:
    with red_lab({"broken-lint": "dust\n"}) as here:
        task = submit(here, "Add a feature", BREAK_UNIT, MEND_UNIT)
        here.until(lambda: len(here.sent(task, "ci-failed")) == 1, "the agent is told")
        text = here.sent(task, "ci-failed")[0].text
        assert "Inherited, not yours to fix, since main fails there too: lint." in text
        assert "FAILED tests/unit.py::test_it - boom 1" in text
        assert "dust" not in text
        here.until(lambda: "waits for main" in here.reach(task, TaskStatus.CI_FAILED).reason, "what is left is main's")
        assert len(here.sent(task, "ci-failed")) == 1


def test_the_same_check_that_fails_in_another_way_is_the_agents() -> None:
    with red_lab({"broken-unit": "dust\n"}) as here:
        task = submit(here, "Add a feature", f"sed -i 's/py::test_it/py::test_other/' check.sh; {ADD}", MEND_UNIT)
        here.until(lambda: len(here.sent(task, "ci-failed")) == 1, "the agent is told")
        assert "Inherited" not in here.sent(task, "ci-failed")[0].text


def test_a_task_that_is_about_the_failure_is_told_of_it() -> None:
    with red_lab({"broken-unit": "dust\n"}) as here:
        task = submit(here, "Fix the failing unit test", ADD, MEND_UNIT)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert len(here.sent(task, "ci-failed")) == 1
        assert not BaseCheck.objects.exists()


def test_a_person_lets_agents_try_what_main_fails_by() -> None:
    with red_lab({"broken-lint": "dust\n"}) as here:
        task = submit(here, "Add a feature", ADD, f"git rm -q broken-lint; {ADD}")
        here.until(Incident.objects.exists, "it waits for main")
        incidents.release(incident=Incident.objects.get(), actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert len(here.sent(task, "ci-failed")) == 1


def test_two_tasks_ask_main_once() -> None:
    with red_lab({"broken-lint": "dust\n"}) as here:
        both = [submit(here, f"Add {n}", ADD) for n in range(2)]
        for task in both:
            here.until(lambda task=task: "waits for main" in here.reach(task, TaskStatus.CI_FAILED).reason, "it waits")  # type: ignore[misc]  # bound to this round
        here.settle()
        assert (BaseCheck.objects.get().n, Event.objects.filter(kind="base_check.ended").count()) == (1, 1)
        assert Incident.objects.count() == 1


# --- flakes -------------------------------------------------------------------------------------------------------------------------------


def flaky(here: Lab, name: str = "unit") -> None:
    """From now on the check fails in its first run at each commit, and never on main."""
    here.set(scm={"plugin": "local", "checks": {name: f"test -e {here.folder}/seen-$AO_HEAD || {{ touch {here.folder}/seen-$AO_HEAD; chmod 666 {here.folder}/seen-$AO_HEAD; echo 'FAILED tests/x.py::test_net - timed out'; exit 1; }}"}})  # fmt: skip


def test_a_failure_that_went_away_is_known_and_run_once_more_before_an_agent_is_told() -> None:
    with red_lab(sandbox="none") as here:
        here.folder.chmod(0o777)
        flaky(here)
        here.rule("ci-failed", action=["rerun-ci"])
        here.reach(submit(here, "Add one", ADD), TaskStatus.REVIEW_PENDING)
        flake = Flake.objects.get()
        assert (flake.name, flake.times) == ("unit", 1)
        here.rule("ci-failed", action=["send-to-agent"])
        task = submit(here, "Add two", ADD)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert here.sent(task, "ci-failed") == []
        assert [check.conclusion for check in Check.objects.filter(pull_request__task=task).order_by("n")] == [
            "failure",
            "success",
        ]
        flake.refresh_from_db()
        assert flake.times == 2


def test_a_known_flake_that_is_red_again_is_told_after_one_rerun() -> None:
    with red_lab() as here:
        task = submit(here, "Add a feature", BREAK_UNIT, MEND_UNIT)
        here.until(lambda: Check.objects.filter(conclusion="failure").exists(), "it is red")
        red = Check.objects.get(conclusion="failure")
        Flake.objects.create(
            project=here.project, name="unit", fingerprint=red.fingerprint, times=1, weight=1.0, last_at=timezone.now()
        )
        Message.objects.filter(task=task, trigger="ci-failed").delete()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert len(here.sent(task, "ci-failed")) == 1
        assert Check.objects.filter(pull_request__task=task, name="unit", head_sha=red.head_sha).count() == 2


# --- the breaker --------------------------------------------------------------------------------------------------------------------------


def test_the_same_failure_three_times_calls_a_human_although_tries_are_left() -> None:
    same = f'echo \'always the same\' > broken-unit; {ADD}; echo \'{{"type":"message","text":"I have fixed turn \'$AO_TURN\'"}}\''
    with red_lab() as here:
        here.rule("ci-failed", retries=9, escalate_after="9")
        task = submit(here, "Add a feature", same)
        here.until(lambda: len(here.escalations(task)) == 1, "a human is called")
        here.settle()
        assert len(here.sent(task, "ci-failed")) == 2
        (asked,) = here.escalations(task)
        assert "unit failed in the same way 3 times in a row" in asked.question
        attempts = [line for line in asked.evidence if line.startswith("attempt ")]
        assert len(attempts) == 3
        assert all("unit (tests/unit.py::test_it: always the same)" in line for line in attempts)
        assert "I have fixed turn 3" in attempts[2]
        tasks.retry(task=task, actor=here.me)
        here.until(lambda: len(here.sent(task, "ci-failed")) == 4, "it is tried anew")
        here.until(lambda: len(here.escalations(task)) == 2, "and again a human is called")


def test_other_failures_each_time_use_up_the_tries_and_do_not_open_the_breaker() -> None:
    other = f'sed -i "s/::test_[a-z0-9]*/::test_$AO_TURN/" check.sh; echo boom > broken-unit; {ADD}'
    with red_lab() as here:
        here.rule("ci-failed", retries=4, escalate_after="4")
        task = submit(here, "Add a feature", other)
        here.until(lambda: len(here.escalations(task)) == 1, "a human is called")
        assert len(here.sent(task, "ci-failed")) == 4
        assert "4 tries used up" in here.escalations(task)[0].question


# --- incidents ----------------------------------------------------------------------------------------------------------------------------

DOWN = f"echo 'registry is down' > broken-unit; {ADD}"


def three_fail_alike(here: Lab) -> list[Task]:
    NotificationChannel.objects.create(name="team", plugin="apprise", config={}, priorities=["action"])
    made = [submit(here, f"Add {n}", DOWN, "sleep 600") for n in range(2)]
    here.until(lambda: Message.objects.filter(trigger="ci-failed").count() == 2, "the first two are told")
    made.append(submit(here, "Add 2", DOWN, MEND_UNIT))
    here.until(lambda: "waits on incident" in here.reach(made[2], TaskStatus.CI_FAILED).reason, "the third waits")
    return made


def test_the_same_failure_on_three_pull_requests_is_one_incident_on_which_the_others_wait() -> None:
    with red_lab() as here:
        made = three_fail_alike(here)
        made.append(submit(here, "Add 3", DOWN))
        here.until(
            lambda: "fails on 4 pull requests the same way" in here.reach(made[3], TaskStatus.CI_FAILED).reason,
            "the fourth waits, too",
        )
        here.settle()
        incident = Incident.objects.get()
        assert (incident.on_base, len(incident.pulls), incident.fingerprint != "") == (False, 4, True)
        assert [len(here.sent(task, "ci-failed")) for task in made] == [1, 1, 0, 0]
        assert sum(len(here.escalations(task)) for task in made) == 0
        assert Notification.objects.filter(telling="alert", cause__contains=f"incident-{incident.pk}").count() == 1
        assert Event.objects.filter(kind="incident.opened").count() == 1


def test_a_person_who_lets_agents_try_has_them_told() -> None:
    with red_lab() as here:
        third = three_fail_alike(here)[2]
        incidents.release(incident=Incident.objects.get(), actor=here.me)
        here.reach(third, TaskStatus.REVIEW_PENDING)
        assert len(here.sent(third, "ci-failed")) == 1
        # It turned green there, so the incident is over, too.
        assert Incident.objects.get().resolution == "it is green on !3"


def test_an_incident_ends_when_its_check_is_green_on_one_of_them_and_the_others_go_on() -> None:
    with red_lab() as here:
        first, _, third = three_fail_alike(here)
        Check.objects.filter(pull_request__task=first, name="unit").update(conclusion="success")
        here.until(lambda: Incident.objects.get().state == "resolved", "the incident is over")
        here.until(lambda: len(here.sent(third, "ci-failed")) == 1, "the third is told now")


def test_a_person_who_says_that_it_is_over_ends_it_and_the_same_reds_do_not_open_it_again() -> None:
    with red_lab() as here:
        third = three_fail_alike(here)[2]
        incidents.resolve(incident=Incident.objects.get(), actor=here.me)
        here.until(lambda: len(here.sent(third, "ci-failed")) == 1, "the third is told now")
        here.settle()
        assert Incident.objects.count() == 1
        assert Incident.objects.get().resolved_by == here.me.user


def test_an_incident_that_no_open_pull_request_has_any_more_is_over() -> None:
    with red_lab() as here:
        for task in three_fail_alike(here):
            tasks.cancel(task=task, actor=here.me)
            here.reach(task, TaskStatus.CANCELLED)
        assert incidents.end_forgotten(now=timezone.now() + timedelta(minutes=5)) == 1
        assert incidents.end_forgotten(now=timezone.now() + timedelta(minutes=5)) == 0
