"""Durations as people write them, and waits between tries."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.backoff import backoff
from orchestrator.domain.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("10m", timedelta(minutes=10)),
        ("1h30m", timedelta(minutes=90)),
        ("1d", timedelta(days=1)),
        ("2w", timedelta(weeks=2)),
        (" 5m ", timedelta(minutes=5)),
    ],
)
def test_a_duration_is_read_as_written(text: str, span: timedelta) -> None:
    assert parse_duration(text) == span


@pytest.mark.parametrize(
    "text", ["10 minutes", "-5m", "", "0s", "5", "m", "1.5h", "30m1h", "1h1h", "5M", "٣m ", "9" * 30 + "s"]
)
def test_anything_else_is_refused_with_the_accepted_form(text: str) -> None:
    with pytest.raises(ValueError, match="write a whole number with a unit") as refused:
        parse_duration(text)
    assert repr(text) in str(refused.value)


@given(st.integers(1, 10**8))
def test_what_is_written_is_read_back(seconds: int) -> None:
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@given(st.integers(1, 10_000), st.text(max_size=40))
def test_waits_grow_to_five_minutes_and_no_further(attempt: int, seed: str) -> None:
    wait = backoff(attempt, seed=seed)
    base = min(2.0 ** min(attempt - 1, 20), 300.0)
    assert base * 0.8 <= wait.total_seconds() <= base * 1.2
    assert wait == backoff(attempt, seed=seed)


def test_two_jobs_do_not_return_together() -> None:
    assert len({backoff(5, seed=f"job-{n}") for n in range(50)}) > 20
