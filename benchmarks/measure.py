"""Rounds of measurements, what came of them, and the table that shows them."""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROUNDS = 7
LOAD_LIMIT = 3.0  # one-minute load above which a round says more of the neighbours than of us


def load() -> float:
    """The machine's load average of the last minute."""
    return os.getloadavg()[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One measurement, with the load under which it began."""

    value: float
    load: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What we promise of a quantity: a bound on the median of our rounds, and one on its ratio to the raw primitive."""

    text: str
    at_most: float = math.inf
    at_least: float = -math.inf
    ratio_at_most: float = math.inf
    ratio_at_least: float = -math.inf


@dataclass(slots=True, kw_only=True)
class Series:
    """Our path and the raw primitive, measured in turns."""

    quantity: str  # P1
    what: str
    unit: str
    goal: Goal
    raw_what: str = ""
    note: str = ""
    ours: list[Round] = field(default_factory=list)
    raw: list[Round] = field(default_factory=list)

    def add(self, value: float) -> None:
        self.ours.append(Round(value=value, load=load()))

    def add_raw(self, value: float) -> None:
        self.raw.append(Round(value=value, load=load()))

    @property
    def quiet(self) -> bool:
        """Whether enough rounds were run below the limit to leave the others out."""
        return len(_quiet(self.ours)) >= min(ROUNDS, len(self.ours)) and bool(self.ours)

    def values(self, rounds: Sequence[Round]) -> list[float]:
        kept = _quiet(rounds) if self.quiet else list(rounds)
        return [one.value for one in kept or rounds]

    @property
    def median(self) -> float:
        return statistics.median(self.values(self.ours))

    @property
    def ratio(self) -> float | None:
        bare = statistics.median(self.values(self.raw)) if self.raw else 0
        return self.median / bare if bare else None

    @property
    def met(self) -> bool:
        bounded = self.goal.at_least <= self.median <= self.goal.at_most
        return bounded and (self.ratio is None or self.goal.ratio_at_least <= self.ratio <= self.goal.ratio_at_most)


def _quiet(rounds: Sequence[Round]) -> list[Round]:
    return [one for one in rounds if one.load <= LOAD_LIMIT]


def interleaved(
    series: Series, *, rounds: int, ours: Callable[[], float], raw: Callable[[], float] | None = None
) -> Series:
    """Measure in turns, ours and the raw one, so that both meet the same weather."""
    for _ in range(rounds):
        series.add(ours())
        if raw is not None:
            series.add_raw(raw())
    return series


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def row(series: Series) -> str:
    """One line of the table."""
    ours, raw = series.values(series.ours), series.values(series.raw)
    discarded = len(series.ours) - len(ours)
    loads = [one.load for one in series.ours]
    rounds = f"{len(ours)}" + (f" (+{discarded} discarded)" if discarded else "")
    cells = [
        series.quantity,
        series.what,
        _spread(ours, series.unit),
        f"{series.raw_what}: {_spread(raw, series.unit)}" if raw else "",
        f"{series.ratio:.1f}x" if series.ratio is not None else "",
        series.goal.text,
        "yes" if series.met else "**no**",
        rounds,
        f"{min(loads):.1f} to {max(loads):.1f}" + ("" if series.quiet else " (loaded)"),
        series.note,
    ]
    return f"| {' | '.join(cells)} |"


HEADER = (
    "| | quantity | ours: median (min to max) | raw | ratio | goal | met | rounds | load | note |\n"
    "|--|--|--|--|--|--|--|--|--|--|"
)


def _spread(values: Sequence[float], unit: str) -> str:
    return f"{_number(statistics.median(values))} {unit} ({_number(min(values))} to {_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asked of a program."""

    tiny: bool
    out: Path | None

    def rounds(self, usual: int = ROUNDS) -> int:
        return 1 if self.tiny else usual

    def size(self, usual: int, tiny: int) -> int:
        return tiny if self.tiny else usual


def run(program: Callable[[Asked], list[Series]]) -> None:
    """The main of a program: measures, prints its table, and writes its rounds where it is told."""
    parser = argparse.ArgumentParser(description=program.__doc__)
    parser.add_argument("--tiny", action="store_true", help="one round of small sizes: whether it runs, not how fast")
    parser.add_argument("--out", type=Path, help="write the rounds here, as JSON")
    words = parser.parse_args()
    before = load()
    found = program(Asked(tiny=words.tiny, out=words.out))
    print(f"load {before:.1f} before, {load():.1f} after")
    print(HEADER)
    for series in found:
        print(row(series))
    if words.out is not None:
        words.out.write_text(json.dumps([asdict(series) for series in found]))


def restored(text: str) -> list[Series]:
    """The series that a program wrote."""
    return [
        Series(
            **{
                **one,
                "goal": Goal(**one["goal"]),
                "ours": [Round(**each) for each in one["ours"]],
                "raw": [Round(**each) for each in one["raw"]],
            }
        )
        for one in json.loads(text)
    ]
