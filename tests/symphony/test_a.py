"""Symphony, group A: issues, their words, and what is kept of attempts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from orchestrator.domain.continuing import resumed_at
from orchestrator.domain.issues import Blocker, Standing, labels_of, standing_of, state_of, workspace_key
from orchestrator.domain.snapshot import TurnEnd
from orchestrator.models import Host, Session, Task, TrackedIssue, Turn
from orchestrator.services import snapshots
from orchestrator.services.workflows import prompt, tracking
from tests.symphony.lab import AT, github_project, issue, seen

FIELDS = {
    *("id", "native_ref", "identifier", "title", "description", "priority", "state", "branch_name", "url"),
    *("assignee_id", "labels", "blocked_by", "dispatchable", "created_at", "updated_at"),
}


@pytest.mark.django_db
def test_a1_every_field_of_an_issue_is_kept_and_shown_to_the_template() -> None:
    whole = issue(
        native_ref={"id": "7", "url": "u"},
        description="words",
        priority=2,
        branch_name="b",
        url="https://x/7",
        assignee_id="ann",
        labels=("bug",),
        blocked_by=(Blocker(id="3", identifier="#3", state="closed"),),
        updated_at=AT,
    )
    seen(github_project(), whole)

    row = TrackedIssue.objects.get()
    assert set(row.facts) >= FIELDS
    assert tracking.facts_of(row) == whole
    shown = prompt.variables(whole, nonce="n")
    assert set(shown) == FIELDS
    assert shown["blocked_by"] == [{"id": "3", "identifier": "#3", "state": "closed"}]


@pytest.mark.django_db
def test_a2_the_id_is_the_trackers_own_and_an_issue_is_one_task_in_its_project() -> None:
    project = github_project()
    seen(project, issue(id="MDU6SXNzdWU3"), issue(id="MDU6SXNzdWU3"))

    row = TrackedIssue.objects.get()
    assert (row.issue, str(row)) == ("MDU6SXNzdWU3", "#7")
    other = Task.objects.create(project=project, number=9, title="t", agent="command", branch="b")
    with pytest.raises(IntegrityError, match="one_task_per_issue"), transaction.atomic():
        TrackedIssue.objects.create(
            project=project, task=other, issue=row.issue, facts={}, state="", standing_at=AT, seen_at=AT
        )


def test_a3_labels_are_trimmed_in_lower_case_without_blanks_and_doubles() -> None:
    assert labels_of([" Bug ", "", "  ", "bug", "Help Wanted"]) == ("bug", "help wanted")


@pytest.mark.django_db
def test_a4_states_are_compared_without_their_spelling_and_keep_it() -> None:
    assert state_of("  In Progress ") == "in progress"
    seen(github_project("  "), issue(state=" OPEN "))

    row = TrackedIssue.objects.get()
    assert (row.state, row.facts["state"], row.standing) == ("open", " OPEN ", Standing.ACTIVE)


def test_a5_a_workspaces_key_is_safe_and_one_that_was_changed_is_still_unique() -> None:
    assert workspace_key("ABC-123_x.y") == "ABC-123_x.y"
    keys = [workspace_key(one) for one in ("#42", "%42", "a/b", "a:b", "../../etc", ".", "..", "", "ä")]

    assert len(set(keys)) == len(keys)
    assert all(key.isascii() and "/" not in key and key not in {".", ".."} for key in keys)
    assert all(len(key.rpartition("-")[2]) == 16 for key in keys)
    assert workspace_key("#42") == workspace_key("#42")


def _died(task: Task, *, resumes: int) -> Turn:
    host = Host.objects.create(name="h")
    session = Session.objects.create(
        task=task, epoch=1, host=host, agent="command", native_id="thread", prepared_at=AT, workflow=_version(task)
    )
    return Turn.objects.create(
        session=session,
        n=3,
        prompt="p",
        progress_at=AT,
        started_at=AT,
        ended_at=timezone.now(),
        end=TurnEnd.KILLED,
        published_at=AT,
        resumes=resumes,
        activity="Edit a.py",
        last_words="I edit.",
        input_tokens=5,
        output_tokens=2,
        detail="ended by signal 9",
    )


def _version(task: Task) -> object:
    return task.project.workflow_versions.get()


@pytest.mark.django_db
def test_a6_a_turn_is_named_by_its_conversation_and_its_number() -> None:
    seen(github_project(), issue())

    assert _died(Task.objects.get(), resumes=0).in_conversation == "thread-3"


@pytest.mark.django_db
def test_a7_what_a_session_does_and_when_it_is_tried_again_are_rows_that_outlive_a_restart() -> None:
    """Exceeds: a retry is no timer in memory. Its time, its number and its reason follow from the row of the turn that died."""
    seen(github_project(), issue())
    task = Task.objects.get()
    turn = _died(task, resumes=1)

    snapshot = snapshots.take(Task.objects.get(pk=task.pk), now=timezone.now())
    assert resumed_at(snapshot) == turn.ended_at + timedelta(seconds=20)
    assert snapshot.turn is not None
    assert (snapshot.turn.n, snapshot.turn.resumes + 1, snapshot.turn.detail) == (3, 2, "ended by signal 9")
    assert (turn.activity, turn.last_words, turn.input_tokens, turn.output_tokens) == ("Edit a.py", "I edit.", 5, 2)


def test_a1_an_issue_without_what_it_needs_is_not_worked_on() -> None:
    facts = issue(title=" ")
    wanted = tracking.Wanted(active_states=("open",), terminal_states=("closed",))

    assert standing_of(facts, wanted) is Standing.LAPSED
