"""The measurements themselves: that each program can be run, and that its table says what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from benchmarks.__main__ import PROGRAMS
from benchmarks.measure import Goal, Round, Series, percentile, restored, row
from tests.installation import ROOT


def _series(*ours: float, raw: tuple[float, ...] = (), goal: Goal | None = None, load: float = 0.5) -> Series:
    return Series(
        quantity="P0",
        what="something",
        unit="ms",
        goal=goal or Goal(text="<= 10 ms", at_most=10),
        raw_what="the bare thing",
        ours=[Round(value=value, load=load) for value in ours],
        raw=[Round(value=value, load=load) for value in raw],
    )


def test_a_goal_is_met_by_the_median_and_by_its_ratio_to_the_raw_primitive() -> None:
    assert _series(9, 10, 99).met
    assert not _series(9, 11, 12).met
    assert not _series(9, raw=(2,), goal=Goal(text="<= 4x", ratio_at_most=4)).met


def test_rounds_above_the_load_limit_are_left_out_only_where_enough_others_remain() -> None:
    noisy = [Round(value=50, load=9)]
    enough = _series(*([5] * 7))
    enough.ours += noisy
    assert enough.median == 5
    assert "(+1 discarded)" in row(enough)
    few = _series(5, 5)
    few.ours += [*noisy, *noisy, *noisy]
    assert few.median == 50
    assert "(loaded)" in row(few)


def test_a_missed_goal_is_said_in_the_table() -> None:
    assert "**no**" in row(_series(11))


def test_what_a_program_wrote_is_read_back_as_it_was() -> None:
    series = _series(1, 2, 3, raw=(1,))
    assert restored(json.dumps([asdict(series)])) == [series]


def test_the_95th_of_a_hundred_is_exceeded_by_five() -> None:
    assert percentile(list(range(1, 101)), 0.95) == 95


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_program_says_how_it_is_run(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "--tiny" in done.stdout


@pytest.mark.slow
def test_a_program_measures_on_servers_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.ticks", "--tiny"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "| P17 |" in done.stdout
