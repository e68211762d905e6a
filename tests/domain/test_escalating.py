"""Who is told next while nobody answers: whatever the times are, everything once, nothing in the quiet, and a return of one message."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.escalating import Advance, Asked, Plan, QuietHours, Rung, Step, Telling, advance

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
ASKED = Asked(waits=True, pressing=True, urgent=True, counts_from=NOW, told_at=NOW)
BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = QuietHours(start=time(22), end=time(7), zone=UTC)
PLANS = st.builds(
    Plan,
    ladder=st.lists(st.integers(1, 500), min_size=0, max_size=2, unique=True).map(
        lambda spans: [
            Step(to=rung, after=span * MINUTE) for rung, span in zip(Rung, [0, *sorted(spans)], strict=False)
        ]
    ),
    remind=st.none() | st.integers(1, 300).map(lambda n: n * MINUTE),
    quiet=st.none() | st.just(NIGHT) | st.just(QuietHours(start=time(12), end=time(14), zone=BERLIN)),
)
LOOKS = st.lists(st.integers(0, 4000), max_size=30).map(lambda minutes: [NOW + n * MINUTE for n in sorted(minutes)])


def played(asked: Asked, plan: Plan, looks: list[datetime]) -> list[tuple[datetime, Advance]]:
    """What comes of looking at these times."""
    told = []
    for now in looks:
        found = advance(asked, plan, now)
        asked = found.asked
        told.append((now, found))
    return told


def woken(asked: Asked, plan: Plan, until: datetime) -> list[tuple[datetime, Advance]]:
    """What comes of looking whenever it was asked for."""
    told, now = [], NOW
    while now <= until:
        found = advance(asked, plan, now)
        asked = found.asked
        told.append((now, found))
        if found.wake_at is None:
            break
        now = found.wake_at
    return told


def test_the_ladder_and_the_reminders_of_a_night_without_an_answer() -> None:
    told = woken(ASKED, Plan(), NOW + 2 * HOUR)
    assert [(at - NOW, found.telling, found.asked.step) for at, found in told if found.telling] == [
        (15 * MINUTE, Telling.CLIMBED, 1),
        (45 * MINUTE, Telling.REMINDED, 1),
        (60 * MINUTE, Telling.CLIMBED, 2),
        (90 * MINUTE, Telling.REMINDED, 2),
        (120 * MINUTE, Telling.REMINDED, 2),
    ]


def test_after_a_time_in_which_nobody_looked_it_is_one_message_to_the_highest_rung() -> None:
    found = advance(ASKED, Plan(), NOW + 10 * HOUR)
    assert (found.telling, found.asked.step) == (Telling.CLIMBED, 2)
    assert advance(found.asked, Plan(), NOW + 10 * HOUR).telling is None


def test_a_snooze_ends_with_one_message_and_the_ladder_counts_anew() -> None:
    snoozed = replace(ASKED, step=1, snoozed_until=NOW + 5 * HOUR)
    assert advance(snoozed, Plan(), NOW + 4 * HOUR) == Advance(asked=snoozed, wake_at=NOW + 5 * HOUR)
    back = advance(snoozed, Plan(), NOW + 5 * HOUR)
    assert (back.telling, back.asked.snoozed_until, back.wake_at) == (Telling.BACK, None, NOW + 5.5 * HOUR)
    assert advance(back.asked, Plan(remind=None), NOW + 5 * HOUR).wake_at == NOW + 6 * HOUR


def test_a_question_that_presses_nobody_is_told_once() -> None:
    assert advance(replace(ASKED, pressing=False), Plan(), NOW + 9 * HOUR).wake_at is None


def test_what_is_not_urgent_climbs_when_the_quiet_hours_are_over() -> None:
    plan, calm = Plan(quiet=NIGHT), replace(ASKED, urgent=False, counts_from=NOW + 9.9 * HOUR, told_at=NOW + 9.9 * HOUR)
    night = advance(calm, plan, NOW + 11 * HOUR)
    assert (night.telling, night.wake_at) == (None, NOW + 19 * HOUR)
    assert advance(night.asked, plan, NOW + 19 * HOUR).telling is Telling.CLIMBED
    assert advance(replace(calm, urgent=True), plan, NOW + 11 * HOUR).telling is Telling.CLIMBED


@given(PLANS, LOOKS, st.booleans())
def test_looking_twice_tells_once_and_the_next_look_is_ahead(plan: Plan, looks: list[datetime], urgent: bool) -> None:
    for now, found in played(replace(ASKED, urgent=urgent), plan, looks):
        assert advance(found.asked, plan, now).telling is None
        assert found.wake_at is None or found.wake_at > now


@given(PLANS, LOOKS, st.booleans())
def test_however_often_it_is_looked_at_no_rung_is_called_twice_and_none_is_left_out(
    plan: Plan, looks: list[datetime], urgent: bool
) -> None:
    asked = replace(ASKED, urgent=urgent)
    climbs = [found.asked.step for _, found in played(asked, plan, looks) if found.telling is Telling.CLIMBED]
    assert climbs == sorted(set(climbs))
    end = NOW + 75 * HOUR  # outside all quiet hours
    seldom, always = advance(asked, plan, end), woken(asked, plan, end)[-1][1]
    assert seldom.asked.step == always.asked.step


@given(PLANS, LOOKS)
def test_nobody_is_told_in_the_quiet_hours_of_what_is_not_urgent(plan: Plan, looks: list[datetime]) -> None:
    for now, found in played(replace(ASKED, urgent=False), plan, looks):
        assert found.telling is None or plan.held_until(now, urgent=False) is None


@given(PLANS, LOOKS)
def test_reminders_keep_their_distance(plan: Plan, looks: list[datetime]) -> None:
    before = NOW
    for now, found in played(ASKED, plan, looks):
        if found.telling is Telling.REMINDED:
            assert plan.remind is not None
            assert now - before >= plan.remind
        before = now if found.telling else before


@given(PLANS, LOOKS)
def test_what_somebody_took_on_is_quiet(plan: Plan, looks: list[datetime]) -> None:
    assert {(f.telling, f.wake_at) for _, f in played(replace(ASKED, waits=False), plan, looks)} <= {(None, None)}


@pytest.mark.parametrize(
    ("at", "until"),
    [
        (datetime(2026, 1, 5, 21, 59, tzinfo=BERLIN), None),
        (datetime(2026, 1, 5, 22, 0, tzinfo=BERLIN), datetime(2026, 1, 6, 7, 0, tzinfo=BERLIN)),
        (datetime(2026, 1, 6, 6, 59, tzinfo=BERLIN), datetime(2026, 1, 6, 7, 0, tzinfo=BERLIN)),
        (datetime(2026, 1, 6, 7, 0, tzinfo=BERLIN), None),
        # The night in which the clocks go forward is an hour shorter, and ends by the clock all the same.
        (datetime(2026, 3, 28, 23, 0, tzinfo=BERLIN), datetime(2026, 3, 29, 7, 0, tzinfo=BERLIN)),
        (datetime(2026, 1, 5, 21, 30, tzinfo=UTC), datetime(2026, 1, 6, 7, 0, tzinfo=BERLIN)),
    ],
)
def test_quiet_hours_go_by_the_clocks_of_their_place(at: datetime, until: datetime | None) -> None:
    assert QuietHours(start=time(22), end=time(7), zone=BERLIN).until(at) == until


@given(
    st.datetimes(min_value=datetime(2026, 1, 1), max_value=datetime(2026, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 hypothesis adds the zone
    st.times(),
    st.times(),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]),
)
def test_quiet_hours_end_ahead_of_whoever_asks_and_within_a_day(
    at: datetime, start: time, end: time, zone: str
) -> None:
    until = QuietHours(start=start, end=end, zone=ZoneInfo(zone)).until(at)
    assert until is None or at < until <= at + timedelta(hours=26)
