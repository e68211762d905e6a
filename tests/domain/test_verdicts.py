"""What checks and reviews amount to: at the head, by people who may, and never by guessing."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.snapshot import Policy
from orchestrator.domain.verdicts import CI, ci_verdict, review_verdict
from tests.domain.facts import HEAD, NOW, PULL, check, comment, review

OLD = "c" * 40


@pytest.mark.parametrize(
    ("conclusion", "word"),
    [
        ("success", CI.GREEN),
        ("neutral", CI.GREEN),
        ("skipped", CI.GREEN),
        ("failure", CI.RED),
        ("cancelled", CI.RED),
        (None, CI.PENDING),
    ],
)
def test_a_required_check_speaks_by_its_conclusion(conclusion: str | None, word: CI) -> None:
    assert ci_verdict(replace(PULL, checks=(check(conclusion),)), Policy(), now=NOW).word is word


def test_a_required_check_that_was_renamed_never_turns_green() -> None:
    verdict = ci_verdict(replace(PULL, checks=(check(name="test-v2"),)), Policy(), now=NOW + timedelta(days=9))
    assert (verdict.word, verdict.missing) == (CI.PENDING, ("test",))


def test_an_optional_check_that_fails_does_not_count() -> None:
    assert (
        ci_verdict(replace(PULL, checks=(check(), check("failure", name="extra"))), Policy(), now=NOW).word is CI.GREEN
    )


def test_the_projects_own_list_goes_before_the_forges() -> None:
    pull = replace(PULL, required_checks=("other",), checks=(check(),))
    assert ci_verdict(pull, Policy(required_checks=("test",)), now=NOW).word is CI.GREEN


def test_where_no_check_is_known_nothing_is_green() -> None:
    assert ci_verdict(replace(PULL, required_checks=None), Policy(), now=NOW).word is CI.UNKNOWN


def test_a_forge_that_requires_nothing_has_not_said_that_nothing_is_needed() -> None:
    assert ci_verdict(replace(PULL, required_checks=()), Policy(), now=NOW).word is CI.UNKNOWN


def test_a_project_that_writes_that_nothing_is_required_is_green() -> None:
    assert ci_verdict(replace(PULL, required_checks=None), Policy(required_checks=()), now=NOW).word is CI.GREEN


def test_all_that_was_reported_is_believed_a_minute_after_the_push() -> None:
    pull = replace(PULL, required_checks=None, checks=(check(),), head_since=NOW)
    early = ci_verdict(pull, Policy(), now=NOW + timedelta(seconds=59))
    assert (early.word, early.settles_at) == (CI.PENDING, NOW + timedelta(seconds=60))
    assert ci_verdict(pull, Policy(), now=NOW + timedelta(seconds=60)).word is CI.GREEN


def test_red_is_not_called_before_the_last_required_check_has_settled() -> None:
    pull = replace(PULL, required_checks=("test", "lint"), checks=(check("failure"), check(None, name="lint")))
    assert ci_verdict(pull, Policy(), now=NOW).word is CI.PENDING


def test_an_approval_counts_at_the_head_it_was_given_for() -> None:
    assert review_verdict(replace(PULL, reviews=(review(),)), Policy()).approved
    assert not review_verdict(replace(PULL, reviews=(review(head=OLD),)), Policy()).approved


def test_an_approval_by_somebody_who_may_not_counts_for_nothing() -> None:
    verdict = review_verdict(replace(PULL, reviews=(review(trusted=False),)), Policy())
    assert (verdict.approved, verdict.untrusted) == (False, 1)


def test_an_approval_by_a_bot_counts_for_nothing() -> None:
    assert not review_verdict(replace(PULL, reviews=(replace(review(), bot=True),)), Policy()).approved


@pytest.mark.parametrize(
    ("words", "approved"),
    [
        (("approve", "request_changes"), False),
        (("request_changes", "approve"), True),
        (("approve", "comment"), True),
        (("approve", "dismissed"), False),
        (("request_changes", "dismissed"), False),
    ],
)
def test_the_last_decisive_word_of_a_person_counts(words: tuple[str, str], approved: bool) -> None:
    reviews = tuple(review(word, number=n) for n, word in enumerate(words))
    assert review_verdict(replace(PULL, reviews=reviews), Policy()).approved is approved


def test_one_objection_outweighs_the_approvals_of_others() -> None:
    reviews = (review(author="ann"), review(author="bob", number=2), review("request_changes", author="cy", number=3))
    verdict = review_verdict(replace(PULL, reviews=reviews), Policy())
    assert (verdict.approved, [r.author for r in verdict.objections]) == (False, ["cy"])


def test_as_many_people_approve_as_the_project_asks_for() -> None:
    two = (review(author="ann"), review(author="bob", number=2))
    assert review_verdict(replace(PULL, reviews=two), Policy(approvals=2)).approved
    assert not review_verdict(replace(PULL, reviews=(two[0], review(number=3))), Policy(approvals=2)).approved


def test_an_unresolved_thread_of_a_trusted_person_stands_in_the_way() -> None:
    pull = replace(PULL, reviews=(review(),), comments=(comment(),))
    assert not review_verdict(pull, Policy()).approved
    assert review_verdict(replace(pull, comments=(comment(resolved=True),)), Policy()).approved
    assert review_verdict(replace(pull, comments=(comment(trusted=False),)), Policy()).approved


def test_what_was_told_is_not_told_again() -> None:
    pull = replace(
        PULL, reviews=(review("request_changes", told=True),), comments=(comment(told=True), comment(number=2))
    )
    verdict = review_verdict(pull, Policy())
    assert (verdict.untold_reviews, [c.id for c in verdict.untold_comments]) == ((), [2])
    assert verdict.wants_changes
    assert verdict.objections[0].head_sha == HEAD
