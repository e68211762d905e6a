"""Symphony, group D: what is begun, in which order, when again, and what becomes of it when its issue changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from orchestrator.domain.actions import SendToAgent
from orchestrator.domain.issues import (
    Blocker,
    Wanted,
    in_order,
    retry_wait,
    room_for_state,
    slots,
    to_dispatch,
    why_not,
)
from orchestrator.domain.lifecycle import decide
from orchestrator.domain.placement import HostRoom, ProjectRoom, Waiting, place
from orchestrator.domain.rules import Reply, Trigger
from orchestrator.domain.status import Outcome, TaskStatus
from orchestrator.models import (
    Event,
    Message,
    ProjectWorkflow,
    PullRequest,
    Session,
    Task,
    TrackedIssue,
    Turn,
    Workspace,
)
from orchestrator.services import deliveries, rules
from orchestrator.services.workflows import tracking
from tests.domain.facts import NOW
from tests.lab import FIX, together
from tests.symphony.lab import AT, apply, begun, close, github_project, issue, poll, seen, task_of, tracked_lab
from tests.symphony.test_c import DIED, facts
from workers import issue_polls

WANTED = Wanted(required_labels=("agent",), active_states=("Open", "Todo"), terminal_states=("Closed",))
BUSY = f"sleep 60; {FIX}"


@pytest.mark.django_db
def test_d1_the_first_tick_is_at_once_and_what_is_under_way_goes_before_what_is_new() -> None:
    project = github_project()
    (first,) = tracking.due(now=timezone.now())
    assert first.project == project
    assert tracking.due(now=timezone.now()) == []
    assert len(tracking.due(now=timezone.now() + timedelta(seconds=30))) == 1
    seen(project, issue(1))

    moved = seen(project, issue(1, state="closed"), issue(2))

    kinds = list(
        Event.objects.filter(kind__in=["issue.seen", "task.accepted"]).order_by("pk").values_list("kind", flat=True)
    )
    assert kinds == ["task.accepted", "issue.seen", "task.accepted"]
    assert moved == [task_of(1).pk, task_of(2).pk]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"state": " oPEN "}, ""),
        ({"title": ""}, "it has no title"),
        ({"identifier": " "}, "it has no identifier"),
        ({"state": "Closed"}, "it is Closed"),
        ({"state": "Backlog"}, "its state Backlog is not one of those that are worked on: Open, Todo"),
        ({"labels": ("bug",)}, "it has no label agent"),
        ({"labels": ()}, "it has no label agent"),
        ({"dispatchable": False, "why_not": "a stranger's"}, "a stranger's"),
        ({"blocked_by": (Blocker(id="3", identifier="#3", state="Open"),)}, "it is blocked by #3"),
        ({"blocked_by": (Blocker(id="3", identifier="#3", state="closed"),)}, ""),
    ],
)
def test_d2_an_issue_is_begun_when_nothing_speaks_against_it(changes: dict[str, Any], why: str) -> None:
    one = issue(**{"labels": (" Agent ",), "state": "Todo", **changes})

    assert why_not(one, WANTED) == why
    assert bool(to_dispatch([one], WANTED, claimed=())) is (why == "")
    assert to_dispatch([one], WANTED, claimed={one.id}) == []


def test_d2_a_blank_label_that_is_required_is_had_by_none_and_no_state_is_active_by_itself() -> None:
    blank = replace(WANTED, required_labels=("agent", ""))

    assert why_not(issue(state="open", labels=("agent", "")), blank)
    assert why_not(issue(state="open"), Wanted())


def test_d3_issues_go_by_priority_then_age_then_identifier() -> None:
    late = AT + timedelta(days=1)
    issues = [
        issue(1, priority=None),
        issue(2, priority=9),
        issue(3, priority=4),
        issue(4, priority=1, created_at=late),
        issue(5, priority=1, identifier="#b"),
        issue(6, priority=1, identifier="#a"),
        issue(7, priority=0, created_at=None),
    ]

    assert [one.id for one in in_order(issues)] == ["6", "5", "4", "3", "1", "2", "7"]


@pytest.mark.django_db
def test_d3_tasks_are_made_and_placed_in_that_order() -> None:
    seen(github_project(), issue(1), issue(2, priority=3), issue(3, priority=1))

    assert [row.issue for row in TrackedIssue.objects.order_by("pk")] == ["3", "2", "1"]
    assert list(Task.objects.order_by("-priority", "id").values_list("issue", flat=True)) == ["#3", "#2", "#1"]


def test_d4_there_are_as_many_slots_as_are_left_and_those_of_a_state() -> None:
    assert (slots(most=3, running=1), slots(most=3, running=9)) == (2, 0)
    running = ["open", "In Progress", "in progress"]
    limits = {"in progress": 3}
    assert room_for_state("In Progress", most=10, by_state=limits, running=running) == 1
    assert room_for_state("open", most=10, by_state=limits, running=running) == 7
    assert room_for_state("In Progress", most=3, by_state=limits, running=running) == 0


def test_d4_placement_keeps_the_limit_of_a_state_and_says_so() -> None:
    waiting = [
        Waiting(task=n, project=1, priority=0, agent="a", state=state) for n, state in enumerate(("x", "x", "y"))
    ]
    room = ProjectRoom(limit=10, live=1, by_state={"x": 2}, live_states=("x",))
    placed = place(waiting, [HostRoom(id=1, name="h", capacity=9, live=1)], {1: room})

    assert [one.task for one in placed.placements] == [0, 2]
    assert "no available orchestrator slots: the limit of 2 for issues that are x" in placed.reasons[1]


@pytest.mark.django_db(transaction=True)
def test_d4_no_more_sessions_run_than_the_workflow_allows() -> None:
    with tracked_lab(BUSY, "agent: {max_concurrent_agents: 3, max_concurrent_agents_by_state: {open: 1}}") as lab:
        tasks = [begun(lab), begun(lab)]
        lab.here.reach(tasks[0], TaskStatus.WORKING)
        lab.here.settle(2)

        assert Session.objects.live().count() == 1
        tasks[1].refresh_from_db()
        assert "no available orchestrator slots" in tasks[1].reason


def test_d5_the_wait_after_a_failure_doubles_up_to_the_longest() -> None:
    longest = timedelta(minutes=5)

    assert [retry_wait(n, longest=longest).total_seconds() for n in range(1, 8)] == [10, 20, 40, 80, 160, 300, 300]
    assert retry_wait(3, longest=timedelta(seconds=15)) == timedelta(seconds=15)
    assert retry_wait(10**9, longest=longest) == longest


@pytest.mark.parametrize(("resumes", "seconds"), [(0, 10), (1, 20), (4, 160)])
def test_d5_a_dead_agent_is_resumed_then_and_not_before(resumes: int, seconds: int) -> None:
    """Exceeds: the time follows from the turn's row, so that a restart neither forgets nor hastens it."""
    dead = replace(DIED, resumes=resumes)
    early = decide(facts(turn=dead, now=NOW + timedelta(seconds=seconds - 1)))
    due = decide(facts(turn=dead, now=NOW + timedelta(seconds=seconds)))

    assert (early.actions, early.wake_at) == ((), NOW + timedelta(seconds=seconds))
    assert [type(action) for action in due.actions] == [SendToAgent]


@pytest.mark.django_db(transaction=True)
def test_d6_an_issue_that_was_closed_meanwhile_is_released_before_its_agent_begins() -> None:
    with tracked_lab(BUSY) as lab:
        task = begun(lab)
        lab.github.world.issues[1].state = "closed"  # and nobody has looked since
        lab.here.reach(task, TaskStatus.CANCELLED)

        assert not Turn.objects.exists()
        lab.here.until(lambda: not Workspace.objects.exclude(state="removed").exists(), "the workspace is gone")


@pytest.mark.django_db(transaction=True)
def test_d6_an_issue_that_is_not_there_any_more_is_released() -> None:
    with tracked_lab(BUSY) as lab:
        task = begun(lab)
        del lab.github.world.issues[1]
        lab.here.until(lambda: TrackedIssue.objects.get().standing == "gone", "it is gone")
        lab.here.settle(2)

        task.refresh_from_db()
        assert "its tracker does not show it any more" in task.reason
        assert not Turn.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_d7_a_closed_issue_stops_its_agent_and_cleans_up() -> None:
    with tracked_lab(BUSY) as lab:
        task = begun(lab)
        lab.here.reach(task, TaskStatus.WORKING)
        close(lab, task)
        lab.here.reach(task, TaskStatus.CANCELLED)
        lab.here.until(lambda: Workspace.objects.get().state == "removed", "the workspace is gone")

        assert Turn.objects.get().end == "stopped"
        assert task.reason == "the issue #1 is closed"


@pytest.mark.django_db(transaction=True)
def test_d7_an_issue_that_is_not_worked_on_now_stops_its_agent_keeps_its_work_and_goes_on_later() -> None:
    with tracked_lab(f"[ $AO_TURN = 2 ] && {{ {FIX}; exit; }}; echo half > half; sleep 60") as lab:
        apply(lab.here.project, "tracker: {kind: github, required_labels: [agent]}")
        task = begun(lab, labels=["Agent"])
        lab.here.reach(task, TaskStatus.WORKING)
        world_issue = lab.github.world.issues[1]
        world_issue.labels.clear()
        poll(lab)
        lab.here.until(lambda: Turn.objects.get().published_at is not None, "the agent is stopped")
        lab.here.settle(2)
        task.refresh_from_db()
        assert (Turn.objects.get().end, task.outcome) == ("stopped", "")
        assert "it has no label agent" in task.reason
        assert Workspace.objects.get().state == "ready"

        world_issue.labels.append("agent")
        poll(lab)
        lab.here.reach(task, TaskStatus.CI_PENDING, TaskStatus.REVIEW_PENDING)
        assert "The issue is to be worked on again" in lab.here.heard(task, 2)
        assert Session.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_d7_a_look_that_fails_keeps_every_agent_at_work_and_is_shown() -> None:
    with tracked_lab(BUSY) as lab:
        task = begun(lab)
        lab.here.reach(task, TaskStatus.WORKING)
        lab.github.fail("GET /repos/acme/demo/issues", 502, times=9)
        poll(lab)
        lab.here.settle(2)

        task.refresh_from_db()
        assert (task.status, task.outcome) == (TaskStatus.WORKING, "")
        assert "failed" in ProjectWorkflow.objects.get().poll_error


@pytest.mark.django_db
def test_d7_an_agent_without_progress_for_the_stall_timeout_is_stopped_and_set_to_work_again() -> None:
    project = github_project("codex: {stall_timeout_ms: 120000}")
    rule = rules.effective_rules(project)[Trigger.AGENT_STUCK]

    assert (rule.auto, rule.threshold, rule.action) == (True, timedelta(minutes=2), (Reply.RESTART_AGENT,))
    assert str(rules.explained(project)[Trigger.AGENT_STUCK]["threshold"].source) == "workflow"
    apply(project, "tracker: {kind: github}\ncodex: {stall_timeout_ms: 0}")
    assert rules.effective_rules(project)[Trigger.AGENT_STUCK].auto is False


@pytest.mark.django_db(transaction=True)
def test_d7_the_merge_that_closes_the_issue_is_a_merge_and_no_cancel() -> None:
    with tracked_lab(FIX) as lab:
        here = lab.here
        task = begun(lab)
        here.until(lambda: PullRequest.objects.filter(task=task).exists(), "a pull request")
        pull = lab.pull(task)
        assert "Fixes #1" in pull.body
        lab.github.world.merge(pull, method="merge", title="Merge", message="", by="grace")
        assert lab.github.world.issues[1].state == "closed"
        poll(lab)  # the tracker is looked at before the pull request is
        here.until(lambda: Task.objects.get(pk=task.pk).outcome != "", "it has ended")

        assert Task.objects.get(pk=task.pk).outcome == Outcome.MERGED


@pytest.mark.django_db(transaction=True)
def test_d8_after_a_restart_what_was_closed_meanwhile_is_cleaned_up() -> None:
    with tracked_lab(BUSY) as lab:
        task = begun(lab)
        lab.here.reach(task, TaskStatus.WORKING)
        lab.github.world.issues[1].state = "closed"
        lab.here.forget()
        lab.github.fail("GET /repos/acme/demo/issues", 502, times=1)
        poll(lab)  # the first look fails, and nothing else does
        poll(lab)
        lab.here.reach(task, TaskStatus.CANCELLED)
        lab.here.until(lambda: Workspace.objects.get().state == "removed", "the workspace is gone")


@pytest.mark.django_db(transaction=True)
def test_d9_looks_that_come_at_the_same_moment_make_one_task() -> None:
    with tracked_lab(BUSY) as lab:
        lab.github.world.open_issue("grace", "Fix it")
        ProjectWorkflow.objects.update(poll_at=timezone.now())
        together(*[lambda: issue_polls.poll_due(lab.here.tools)] * 4)
        poll(lab)
        poll(lab)

        assert Task.objects.count() == 1


@pytest.mark.django_db
def test_d9_a_webhook_about_an_issue_lets_the_tracker_be_asked_at_once() -> None:
    project = github_project()
    (look,) = tracking.due(now=timezone.now())
    assert look.project == project
    payload = {"action": "opened", "repository": {"full_name": "acme/app"}, "issue": {"number": 1}}
    deliveries.take_in(delivery="d-1", event="issues", payload=payload, speaks_for=None, now=timezone.now())

    assert len(tracking.due(now=timezone.now())) == 1


@pytest.mark.django_db
def test_d9_an_issue_with_nothing_to_be_seen_in_its_title_holds_up_no_other() -> None:
    seen(github_project(), issue(1, title="\u200b\u200b"), issue(2))

    assert list(Task.objects.order_by("id").values_list("title", flat=True)) == ["Issue #1", "Fix 2"]


@pytest.mark.django_db(transaction=True)
def test_d9_strangers_issues_are_not_worked_on_unless_a_label_was_asked_for() -> None:
    with tracked_lab(BUSY) as lab:
        lab.github.world.open_issue("stranger", "Mine", labels=["agent"])
        poll(lab)
        assert not Task.objects.exists()
        apply(lab.here.project, "tracker: {kind: github, required_labels: [agent]}")
        poll(lab)
        assert Task.objects.count() == 1


@pytest.mark.django_db
def test_d9_an_issue_that_comes_and_goes_is_told_once_each_time() -> None:
    project = github_project()
    seen(project, issue(1))
    for state in ("closed", "closed", "open"):
        seen(project, refreshed=(issue(1, state=state),))

    assert TrackedIssue.objects.get().changes == 2
    assert not Message.objects.exists()  # nobody had begun
