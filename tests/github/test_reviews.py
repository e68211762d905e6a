"""Reviews on GitHub: words that are changed, approvals that are taken back, threads answered one by one, and whose words count."""

from __future__ import annotations

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Event
from tests.fakegithub.world import ROBOT
from tests.github.lab import REVIEWER, github_lab
from tests.github.test_loop import reached
from tests.github.test_merging import AUTO_MERGE, look, settle
from tests.lab import FIX, turns

pytestmark = pytest.mark.django_db(transaction=True)
MORE = "echo more $AO_TURN >> README; git commit -qam 'Answer the review'"


def answering(first: str, second: str) -> str:
    """An agent that commits and answers the first thread that it is told of in one way and the second in another."""
    line = f'{{\\"type\\": \\"message\\", \\"text\\": \\"Done.\\\\n- thread $1: {first}\\\\n- thread $2: {second}\\"}}'
    then = (
        f'set -- $(echo "$P" | grep -o "thread PRRT_[0-9]*" | cut -d" " -f2 | sort -u); {MORE}; printf "%s\\n" "{line}"'
    )
    return f'P=$(cat); echo "$P"\ncase $AO_TURN in\n1) {FIX} ;;\n*) {then} ;;\nesac'


def test_each_thread_is_answered_with_the_agents_words_for_it_and_settled_as_it_says() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        task = here.submit(script=answering("renamed it", "open: that is for you to decide"))
        reached(lab, task, TaskStatus.REVIEW_PENDING)
        comments = [("README", 1, "rename this"), ("README", 2, "which of them?")]
        world.review(REVIEWER, lab.pull(task).number, "COMMENTED", "", comments)
        one, two = world.threads.values()
        here.until(lambda: look(task) and len(one.remarks) == len(two.remarks) == 2, "both are answered")
        assert [thread.resolved for thread in (one, two)] == [True, False]
        assert f"Done in {lab.pull(task).head_sha[:10]}.\n\nrenamed it" in one.remarks[1].body
        assert "decide" not in one.remarks[1].body
        assert two.remarks[1].body.startswith("that is for you to decide")
        settle(lab, task)
        assert [remark.author for thread in (one, two) for remark in thread.remarks] == [REVIEWER, ROBOT] * 2
        assert len(here.sent(task, "changes-requested")) == 1  # our own words came back to nobody


def test_a_comment_that_is_changed_after_it_was_told_is_told_again_as_changed() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        task = here.submit(script=turns(FIX, "true", MORE))
        reached(lab, task, TaskStatus.REVIEW_PENDING)
        number = lab.pull(task).number
        world.review(REVIEWER, number, "COMMENTED", "", [("README", 1, "rename this")])
        thread = next(iter(world.threads.values()))
        here.until(lambda: look(task) and len(thread.remarks) == 2, "it is answered")
        world.edit(thread.remarks[0], "rename that", number)
        here.until(lambda: look(task) and "rename that" in here.heard(task), "it is told again")
        first, second = (message.text for message in here.sent(task, "changes-requested"))
        assert ("rename this" in first, "rename that" in second, "changed this since" in second) == (True, True, True)
        assert Event.objects.filter(task=task, kind="review.edited").count() == 1
        settle(lab, task)
        assert (len(here.sent(task, "changes-requested")), here.doubles()) == (2, 0)


@pytest.mark.parametrize("how", ["dismissed", "edited"])
def test_t1_an_approval_that_was_dismissed_or_whose_words_were_changed_merges_nothing(how: str) -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        task = here.submit(script=turns(FIX))
        reached(lab, task, TaskStatus.REVIEW_PENDING)
        given = world.review(REVIEWER, lab.pull(task).number, "APPROVED", "Go.")
        reached(lab, task, TaskStatus.MERGEABLE)
        if how == "dismissed":
            given.state = "DISMISSED"
        world.edit(given, "Go, but not before Monday." if how == "edited" else given.body, lab.pull(task).number)
        reached(lab, task, TaskStatus.REVIEW_PENDING)
        here.rule("approved-and-green", **AUTO_MERGE)
        settle(lab, task)
        assert lab.pull(task).state == "open"
        world.review(REVIEWER, lab.pull(task).number, "APPROVED")
        reached(lab, task, TaskStatus.MERGED)


def test_bots_are_known_by_their_kind_their_mark_and_the_projects_list() -> None:
    with github_lab() as lab:
        here, world = lab.here, lab.github.world
        here.set(scm={**here.project.scm, "bots": ["Review-App", "robo-user"]})
        world.people["robo-user"] = "write"
        world.bots |= {"review-app", "other-app"}
        task = here.submit(script=turns(FIX, "true"))
        reached(lab, task, TaskStatus.REVIEW_PENDING)
        number = lab.pull(task).number
        for author in ("review-app", "robo-user", "other-app", "marked[bot]"):
            world.review(author, number, "COMMENTED", "", [("README", 1, f"words of {author}")])
        here.until(lambda: look(task) and bool(here.sent(task, "bugbot-comments")), "the agent is told")
        settle(lab, task)
        told = "".join(message.text for message in here.sent(task, "bugbot-comments"))
        heard = [who for who in ("review-app", "robo-user", "other-app", "marked[bot]") if f"words of {who}" in told]
        assert heard == ["review-app", "robo-user"]
        assert here.sent(task, "changes-requested") == []
