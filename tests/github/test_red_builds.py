"""Red builds on GitHub: annotations and logs, how the base does in the same look, and failed jobs that are run again exactly once."""

from __future__ import annotations

import pytest
from django.utils import timezone

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Check, Flake, Incident, PullRequest, Task
from orchestrator.ports import PullRequestSeen, Refused, Unavailable
from tests.fakegithub.world import CheckRun
from tests.github.conftest import Scene
from tests.github.lab import GitHubLab, github_lab
from tests.lab import turns

pytestmark = pytest.mark.django_db(transaction=True)

RED = "2026-11-25T10:00:03.0000000Z FAILED tests/test_calc.py::test_add - assert -1 == 3\n2026-11-25T10:00:03.0000000Z ##[error]Process completed with exit code 1.\n"
ADD = "echo $AO_TURN >> feature.txt; git add -A; git commit -qm 'Add a feature'"


def look(scene: Scene, number: int) -> PullRequestSeen:
    return scene.forge.observe([number])[0]


def failed(scene: Scene, name: str = "unit", **more: object) -> tuple[int, CheckRun]:
    """A pull request with a failed check."""
    head = scene.push()
    number = scene.open()
    return number, scene.github.world.check(head, name, "failure", log=RED, **more)  # type: ignore[arg-type]  # a test names the fields


# --- what is known of a failure ---


def test_annotations_come_before_the_log_and_the_fingerprint_is_that_of_the_test(scene: Scene) -> None:
    number, run = failed(scene)
    run.annotations += [("calc.py", 2, "returns the wrong sum"), (".github", 1, "Process completed with exit code 1.")]
    (check,) = look(scene, number).checks
    assert (
        check.failing_log == "calc.py:2: returns the wrong sum\n\nFAILED tests/test_calc.py::test_add - assert -1 == 3"
    )
    assert (check.headline, check.fingerprint != "") == ("tests/test_calc.py::test_add: assert -1 == 3", True)


def test_what_another_app_says_of_itself_is_told_where_there_is_no_log(scene: Scene) -> None:
    number, run = failed(scene, "scan", app="scanner")
    run.annotations.append(("calc.py", 1, "no type"))
    (check,) = look(scene, number).checks
    assert check.failing_log == "calc.py:1: no type"


def test_d9_thirty_failed_checks_have_their_logs_after_one_look(scene: Scene) -> None:
    head = scene.push()
    number = scene.open()
    for n in range(30):
        scene.github.world.check(head, f"suite {n:02}", "failure", log=RED.replace("test_add", f"test_{n}"))
    checks = look(scene, number).checks
    assert len({check.fingerprint for check in checks}) == 30
    assert all(f"test_{n}" in check.failing_log for n, check in enumerate(sorted(checks, key=lambda one: one.name)))


def test_a_log_that_does_not_come_hides_none_of_the_others(scene: Scene) -> None:
    head = scene.push()
    number = scene.open()
    for n in range(3):
        scene.github.world.check(head, f"suite {n}", "failure", log=RED)
    scene.github.fail(r"GET .*/logs$", 502)
    assert sorted(bool(check.failing_log) for check in look(scene, number).checks) == [False, True, True]


# --- the base ---


def test_the_base_is_seen_with_the_same_question_and_its_failures_are_explained(scene: Scene) -> None:
    number, _ = failed(scene)
    base = scene.github.world.sha("refs/heads/main")
    assert base is not None
    scene.github.world.check(base, "unit", "failure", log=RED)
    scene.github.world.check(base, "slow", "failure", log=RED)
    scene.github.queries.clear()
    seen = look(scene, number)
    assert sum("statusCheckRollup" in query for query in scene.github.queries) == 1
    of_base = {check.name: check for check in seen.base_checks}
    assert of_base["unit"].fingerprint == seen.checks[0].fingerprint != ""
    # What fails nowhere else is not worth a log.
    assert (of_base["slow"].conclusion, of_base["slow"].failing_log) == ("failure", "")


def test_a_failure_that_main_has_too_is_waited_for_on_github() -> None:
    with github_lab({"README": "x\n", "test.sh": "echo 'FAILED tests/a.py::test_it - boom'; exit 1\n"}) as lab:
        base = lab.github.world.sha("refs/heads/main") or ""
        lab.github.world.check(base, "ci", "failure", log="FAILED tests/a.py::test_it - boom\n##[error]no\n")
        task = lab.here.submit(title="Add a feature", script=turns(ADD))
        lab.here.until(
            lambda: "waits for main: ci fails there too" in seen_again(lab, task).reason, "it waits for main"
        )
        assert lab.here.sent(task, "ci-failed") == []
        assert Incident.objects.get().on_base


def seen_again(lab: GitHubLab, task: Task) -> Task:
    PullRequest.objects.filter(task=task).update(poll_at=timezone.now())
    task.refresh_from_db()
    return task


# --- running again ---


def rerun(scene: Scene, number: int, *runs: CheckRun) -> None:
    scene.forge.rerun(number, head_sha=runs[0].sha, checks=[str(run.id) for run in runs])


def test_failed_jobs_of_one_workflow_run_are_run_again_once_and_together(scene: Scene) -> None:
    number, one = failed(scene)
    world = scene.github.world
    two = world.check(one.sha, "lint", "failure", log=RED, run=one.run)
    world.check(one.sha, "docs", "success", run=one.run)
    for _ in range(3):
        rerun(scene, number, one, two)
    assert world.reruns == [one.run]
    assert {check.name: check.status for check in look(scene, number).checks} == {
        "unit": "queued",
        "lint": "queued",
        "docs": "completed",
    }


@pytest.mark.parametrize("after", [True, False])
def test_a_rerun_whose_answer_was_lost_is_found_and_not_asked_for_twice(scene: Scene, after: bool) -> None:
    number, run = failed(scene)
    scene.github.fail(r"POST .*/rerun-failed-jobs$", 502, after_the_effect=after)
    if after:
        rerun(scene, number, run)
    else:
        with pytest.raises(Unavailable):
            rerun(scene, number, run)
        assert scene.github.world.reruns == []
        rerun(scene, number, run)
    assert scene.github.world.reruns == [run.run]


def test_jobs_of_a_run_that_is_still_under_way_are_asked_for_later(scene: Scene) -> None:
    number, run = failed(scene)
    slow = scene.github.world.check(run.sha, "slow", run=run.run)
    with pytest.raises(Unavailable, match="still under way"):
        rerun(scene, number, run)
    scene.github.world.complete(slow, "success")
    rerun(scene, number, run)
    assert scene.github.world.reruns == [run.run]


def test_another_apps_check_is_requested_again_once(scene: Scene) -> None:
    number, run = failed(scene, app="scanner")
    scene.github.fail(r"POST .*/rerequest$", 502, after_the_effect=True)
    for _ in range(2):
        rerun(scene, number, run)
    assert scene.github.world.reruns == [run.id]


def test_without_the_right_to_it_the_refusal_is_githubs(scene: Scene) -> None:
    number, run = failed(scene)
    scene.github.world.may_rerun = False
    with pytest.raises(Refused, match="Resource not accessible") as refused:
        rerun(scene, number, run)
    assert refused.value.code == "not-allowed"


def test_a_commit_status_cannot_be_asked_for_again(scene: Scene) -> None:
    number, run = failed(scene)
    with pytest.raises(Refused) as refused:
        scene.forge.rerun(number, head_sha=run.sha, checks=["SC_kwDO"])
    assert refused.value.code == "cannot-rerun"


# --- flakes, in the loop ---

ONCE = "seen=/tmp/ao-test-flake-$(git rev-parse HEAD); if test -e $seen; then rm $seen; else touch $seen; echo 'FAILED tests/a.py::test_net - timed out'; exit 1; fi\n"


def test_a_known_flake_is_run_again_by_github_and_the_agent_hears_nothing_of_it() -> None:
    with github_lab({"README": "x\n", "test.sh": ONCE}) as lab:
        here, world = lab.here, lab.github.world
        here.rule("ci-failed", action=["rerun-ci"])
        first = here.submit(title="Add one", script=turns(ADD))
        here.until(lambda: seen_again(lab, first).status == TaskStatus.REVIEW_PENDING, "the rule has it run again")
        assert len(world.reruns) == 1
        assert Flake.objects.get().name == "ci"
        here.rule("ci-failed", action=["send-to-agent"])
        task = here.submit(title="Add two", script=turns(ADD))
        here.until(lambda: seen_again(lab, task).status == TaskStatus.REVIEW_PENDING, "it was green the second time")
        assert here.sent(task, "ci-failed") == []
        assert len(world.reruns) == 2
        runs = Check.objects.filter(pull_request__task=task).order_by("n").values_list("conclusion", flat=True)
        assert list(runs) == ["failure", "success"]


def test_where_github_does_not_let_us_the_agent_is_told_of_the_flake() -> None:
    with github_lab({"README": "x\n", "test.sh": "echo 'FAILED tests/a.py::test_net - timed out'; exit 1\n"}) as lab:
        here = lab.here
        lab.github.world.may_rerun = False
        task = here.submit(title="Add one", script=turns(ADD, "echo nothing"))
        here.until(lambda: seen_again(lab, task) and len(here.sent(task, "ci-failed")) == 1, "it is red and told")
        red = Check.objects.filter(conclusion="failure").latest("pk")
        Flake.objects.create(
            project=here.project, name="ci", fingerprint=red.fingerprint, times=1, weight=1.0, last_at=timezone.now()
        )
        other = here.submit(title="Add two", script=turns(ADD, "echo nothing"))
        here.until(lambda: seen_again(lab, other) and len(here.sent(other, "ci-failed")) == 1, "it is told")
        assert not here.escalations(other)
