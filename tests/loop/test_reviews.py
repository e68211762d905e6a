"""Reviews reach the agent once, with their place; conflicts with siblings are resolved by the agent."""

from __future__ import annotations

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Comment, PullRequest, Task
from orchestrator.services import reviews, tasks
from orchestrator.services.reviews import NewComment
from orchestrator.services.tasks import InvalidTask, NotNow
from tests.lab import CHECKED, FIX, NOTHING, Lab, lab, turns

pytestmark = pytest.mark.django_db(transaction=True)


def _request(here: Lab, task: Task, *comments: NewComment, body: str = "") -> None:
    reviews.submit_review(task=task, decision="request_changes", body=body, comments=comments, actor=here.other)


def test_changes_requested_inline_are_told_once_with_path_and_line_and_answered() -> None:
    with lab(scm=CHECKED) as here:
        task = here.submit(script=turns(FIX, "echo better >> README; git commit -qam 'Better'"))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        _request(
            here, task, NewComment(path="README", line=2, body="say more"), NewComment(path="test.sh", body="why?")
        )
        here.until(
            lambda: here.turn(task).n == 2 and here.turn(task).published_at is not None, "the agent has answered"
        )
        here.settle()
        assert len(here.sent(task, "changes-requested")) == 1
        told = here.heard(task, 2)
        assert told.count("say more") == 1
        assert "README:2" in told
        assert "on test.sh" in told
        here.until(
            lambda: PullRequest.objects.get().checks.filter(conclusion="success").count() == 2, "its check is green"
        )
        reviews.submit_review(task=task, decision="approve", actor=here.other)
        here.reach(task, TaskStatus.MERGEABLE)
        assert here.doubles() == 0


def test_d10_a_reply_in_an_old_thread_is_told_once_and_the_old_words_are_not_told_again() -> None:
    with lab() as here:
        task = here.submit(script=turns(FIX, NOTHING))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        _request(here, task, NewComment(path="README", line=2, body="say more"))
        here.until(lambda: "say more" in here.heard(task, 2), "the agent is told")
        thread = Comment.objects.get().thread
        _request(here, task, NewComment(path="", body="I meant the second line", thread=thread))
        here.until(lambda: "I meant the second line" in here.heard(task, 3), "the reply is told")
        # This program starts anew each turn, so it is told what went before; its news are the reply alone.
        told = here.heard(task, 3).partition("This turn is about:")[2]
        assert "README:2" in told
        assert "say more" not in told
        here.settle()
        assert len(here.sent(task, "changes-requested")) == 2


def test_a_reply_in_a_thread_that_is_not_there_is_refused() -> None:
    with lab() as here:
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        with pytest.raises(InvalidTask, match="no thread 'nowhere'"):
            _request(here, task, NewComment(path="", body="hello", thread="nowhere"))


def test_a_resolved_thread_holds_nothing_up() -> None:
    with lab() as here:
        task = here.submit(script=turns(FIX, NOTHING))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        reviews.submit_review(
            task=task, decision="comment", comments=[NewComment(path="README", line=1, body="hm")], actor=here.other
        )
        here.reach(task, TaskStatus.CHANGES_REQUESTED)
        reviews.resolve_thread(task=task, thread=Comment.objects.get().thread, actor=here.other)
        reviews.submit_review(task=task, decision="approve", actor=here.me)
        here.reach(task, TaskStatus.MERGEABLE)


def test_a_review_of_a_head_that_moved_on_is_refused() -> None:
    with lab() as here:
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        with pytest.raises(NotNow, match="look again"):
            reviews.submit_review(task=task, decision="approve", head_sha="0" * 40, actor=here.other)


def test_an_approval_of_ones_own_work_counts_unless_the_project_says_otherwise() -> None:
    with lab(scm={"plugin": "local", "requiredChecks": [], "selfApproval": False}) as here:
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        reviews.submit_review(task=task, decision="approve", actor=here.me)
        here.settle()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        reviews.submit_review(task=task, decision="approve", actor=here.other)
        here.reach(task, TaskStatus.MERGEABLE)


REBASE = "git rebase origin/main || { echo both > README; git add README; GIT_EDITOR=true git rebase --continue; }"


def test_a_conflict_with_a_sibling_is_told_resolved_by_the_agent_and_merged() -> None:
    with lab() as here:
        here.rule("approved-and-green", auto=True, action=["auto-merge"])
        one = here.submit("One", script=turns("echo one > README; git commit -qam One"))
        two = here.submit("Two", script=turns("echo two > README; git commit -qam Two", REBASE))
        here.reach(one, TaskStatus.REVIEW_PENDING)
        here.reach(two, TaskStatus.REVIEW_PENDING)
        reviews.submit_review(task=one, decision="approve", actor=here.other)
        here.reach(one, TaskStatus.MERGED)
        here.until(
            lambda: "Conflicting files:\n- README" in here.heard(two), "the second agent is told of the conflict"
        )
        here.until(lambda: PullRequest.objects.get(task=two).mergeable is True, "its push resolves the conflict")
        here.reach(two, TaskStatus.REVIEW_PENDING)
        reviews.submit_review(task=two, decision="approve", actor=here.other)
        here.reach(two, TaskStatus.MERGED)
        assert here.repository.ask("show", "main:README") == "both"
        assert here.repository.ask("rev-list", "--merges", "--count", "main") == "2"
        assert len(here.sent(two, "merge-conflicts")) == 1


def test_a_merge_that_is_asked_for_before_it_is_ready_says_what_is_missing() -> None:
    with lab(scm=CHECKED) as here:
        task = here.submit(script=turns("echo unfinished > NEW"))
        here.reach(task, TaskStatus.CI_FAILED)
        with pytest.raises(NotNow, match=r"checks failed|next turn"):
            tasks.request_merge(task=task, actor=here.me)
