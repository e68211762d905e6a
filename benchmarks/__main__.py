"""Run every program and rewrite RESULTS.md: `python -m benchmarks [--tiny] [NAME ...]`.

What stands below the mark in RESULTS.md is written by people and kept.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measure import HEADER, LOAD_LIMIT, ROUNDS, Series, load, restored, row

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
PROGRAMS = (
    "api",
    "spawn",
    "jobs",
    "ticks",
    "decisions",
    "reds",
    "boards",
    "forge",
    "kills",
    "starts",
    "idle",
    "trees",
    "ssh",
)
KEPT = "<!-- What stands below is written by people and kept. -->"
INTRODUCTION = f"""# What was measured

Written by `python -m benchmarks`; each quantity is a program of its own (`python -m benchmarks.NAME`). Ours and the raw primitive are measured in
turns, in one run, {ROUNDS} rounds and more. Rounds that began at a load average above {LOAD_LIMIT:.0f} are discarded where {ROUNDS} others are left; where
they are not, all rounds are shown and the row says *loaded*: such a row says more of the neighbours than of us. The programs themselves keep two
cores busy, which the load average shows.
"""


def measured(name: str, *, tiny: bool) -> tuple[list[Series], str]:
    """What a program found, or its last words."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        words = [sys.executable, "-m", f"benchmarks.{name}", "--out", str(out), *(["--tiny"] if tiny else [])]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not out.exists():
            return [], (done.stderr.strip().splitlines() or ["no words"])[-1]
        return restored(out.read_text()), ""


def machine() -> str:
    """What it was measured on."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    changed = subprocess.run(
        ["git", "status", "--porcelain", "-uno"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    facts = f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    return (
        f"Commit {commit}{' with local changes' if changed else ''}; {facts}; {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
    )


def kept() -> str:
    """What people wrote."""
    return RESULTS.read_text().partition(KEPT)[2] if RESULTS.exists() else "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="whether the programs run; RESULTS.md is left alone")
    parser.add_argument("names", nargs="*", default=PROGRAMS, help=f"of {', '.join(PROGRAMS)}; default: all")
    words = parser.parse_args()
    lines: list[tuple[str, str]] = []
    failures: list[str] = []
    before = load()
    for name in words.names:
        found, trouble = measured(name, tiny=words.tiny)
        lines += [(series.quantity, row(series)) for series in found]
        failures += [f"* `{name}` did not run: {trouble}"] if trouble else []
        print("\n".join(line for _, line in lines[-len(found) :]) if found else failures[-1], flush=True)
        if not words.tiny and set(words.names) == set(PROGRAMS):
            RESULTS.write_text(page(lines, failures, before) + kept())
    if failures:
        raise SystemExit("\n".join(failures))


def page(lines: Sequence[tuple[str, str]], failures: Sequence[str], before: float) -> str:
    """What was measured so far, by quantity."""
    table = "\n".join(line for _, line in sorted(lines, key=lambda one: int(one[0].removeprefix("P"))))
    facts = f"{machine()} Load average {before:.1f} before, {load():.1f} after."
    return "\n".join([INTRODUCTION, facts, "", HEADER, table, *(["", *failures] if failures else []), "", KEPT])


if __name__ == "__main__":
    main()
