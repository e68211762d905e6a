"""Claude Code at work in the loop: its turns, its conversation, its end."""

from __future__ import annotations

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Turn
from orchestrator.services import reviews
from tests.agents.conftest import Installation
from tests.lab import CHECKED
from tests.scripted_model import Rule, Say, edit, read, sh

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

WRONG = [
    read("README"),
    edit("README", "hello", "hello again"),
    sh("git commit -qam 'A first try'"),
    Say(text="I tried."),
]
RIGHT = [sh("echo fixed >> README && git commit -qam 'Fix it'"), Say(text="Fixed, and committed.")]


def test_a_task_becomes_a_merged_change_with_one_red_build_on_the_way(installed: Installation) -> None:
    rules = Rule(match="Fix the failing test", steps=WRONG), Rule(match="Checks failed at", steps=RIGHT)
    with installed(*rules, scm=CHECKED) as (here, model):
        task = here.submit()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        first, second = Turn.objects.order_by("n")
        assert [turn.end for turn in (first, second)] == ["finished", "finished"]
        assert first.last_words == "I tried."
        assert "grep -q fixed README" not in first.prompt
        assert len(here.sent(task, "ci-failed")) == 1
        # The second turn went on in the first one's conversation, whose words the model was shown again.
        assert "Fix the failing test" in model.heard[-1].body
        assert "Checks failed at" in model.heard[-1].body
        reviews.submit_review(task=task, decision="approve", actor=here.other)
        here.rule("approved-and-green", action=["auto-merge"], auto=True)
        here.reach(task, TaskStatus.MERGED)
        assert "fixed" in here.repository.ask("show", "main:README")
        assert here.doubles() == 0
