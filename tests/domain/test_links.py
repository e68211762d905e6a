"""Links: carried by people, and never shown by accident."""

from __future__ import annotations

import base64

import pytest

from orchestrator.domain.links import MARK, Link, NoLink, parse

LINK = Link(address="192.0.2.7", port=3001, fingerprint="ab" * 32, host="spare", secret="s3cret-" + "x" * 36)


def test_a_link_says_what_it_was_made_of_and_one_word_is_all_of_it() -> None:
    assert parse(f" {LINK.text()}\n") == LINK
    assert LINK.text().split() == [LINK.text()]


def test_what_is_logged_of_a_link_holds_no_secret() -> None:
    assert LINK.secret not in f"{LINK} {LINK!r} {[LINK]}"


@pytest.mark.parametrize("text", ["", "https://example.com/", "ao_token", "ao-join", LINK.secret, "x" * 10_000])
def test_what_is_no_link_is_said_to_be_none(text: str) -> None:
    with pytest.raises(NoLink, match="ao host link NAME"):
        parse(text)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        "[1]",
        "null",
        '{"address":1}',
        LINK.text()[-40:],
        '{"address":"a","port":0,"fingerprint":"' + "a" * 64 + '","host":"h","secret":"s"}',
        '{"address":"a","port":"1","fingerprint":"' + "a" * 64 + '","host":"h","secret":"s"}',
        '{"address":"a","port":1,"fingerprint":"no","host":"h","secret":"s"}',
        '{"address":"a","port":1,"fingerprint":"' + "a" * 64 + '","host":"h","secret":"s","more":1}',
    ],
)
def test_a_damaged_link_is_said_to_be_damaged(body: str) -> None:
    for text in (body, base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")):
        with pytest.raises(NoLink):
            parse(MARK + text)


@pytest.mark.parametrize("length", range(len(MARK), len(LINK.text()), 7))
def test_a_link_that_was_copied_by_half_is_refused(length: int) -> None:
    with pytest.raises(NoLink):
        parse(LINK.text()[:length])
