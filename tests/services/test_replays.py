"""A task's real life, with real git and a real host, is played again from what was recorded of it."""

from __future__ import annotations

import pytest
from django.utils import timezone

from orchestrator.domain.effects import Kind
from orchestrator.domain.status import TaskStatus
from orchestrator.models import Interruption, Message
from orchestrator.services import replays, reviews
from orchestrator.services.configuration import applying
from orchestrator.services.replays import Otherwise, Replayed
from tests.lab import CHECKED, FIX, TRY, Lab, lab, turns

pytestmark = pytest.mark.django_db(transaction=True)


def replayed(text: str) -> Replayed:
    """What these reactions would have done."""
    otherwise = Otherwise.of(applying.load(text=text, path="other.yaml", env={}))
    return replays.replay(otherwise=otherwise, days=1, project=None, now=timezone.now())


def red_twice_then_approved(here: Lab) -> None:
    """Told twice, fixed in the third turn, approved."""
    task = here.submit(script=turns(TRY, TRY, FIX))
    here.reach(task, TaskStatus.REVIEW_PENDING)
    reviews.submit_review(task=task, decision="approve", actor=here.other)
    here.reach(task, TaskStatus.MERGEABLE)


def test_with_the_rules_that_held_a_replay_tells_what_happened_and_with_one_try_less_what_would_have() -> None:
    with lab(scm=CHECKED) as here:
        red_twice_then_approved(here)
        sent = Message.objects.filter(trigger="ci-failed").count()
        asked = Interruption.objects.filter(trigger="approved-and-green").count()

        same = replayed("reactions: {ci-failed: {retries: 2}}")
        less = replayed("reactions: {ci-failed: {retries: 1}}")

        assert same.differing == []
        assert (same.now[Kind.MESSAGE], same.now[Kind.QUESTION]) == (sent, asked) == (2, 1)
        ((_, compared),) = less.differing
        assert [f"{one.trigger}: {one}" for one in compared.differences] == [
            "ci-failed: an escalation instead of message 2"
        ]
        assert compared.parts_at is not None
        assert (less.was[Kind.MESSAGE], less.now[Kind.MESSAGE], less.now[Kind.ESCALATION]) == (2, 1, 1)


def test_a_rule_that_merges_would_have_merged_at_the_moment_of_the_approval() -> None:
    with lab(scm=CHECKED) as here:
        red_twice_then_approved(here)
        found = replayed("reactions: {approved-and-green: {auto: true, action: auto-merge}}")
        ((_, compared),) = found.differing
        assert [str(one) for one in compared.differences] == ["a merge by itself instead of a question"]
