"""Replay one seed with its history, or run many: `python -m tests.simulation --seed 7`, `python -m tests.simulation --seeds 10000`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.play import Failed, play


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one and print what happened")
    parser.add_argument("--seeds", type=int, default=1000, help="how many to run, from --first on")
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    try:
        if options.seed is not None:
            print("\n".join(play(options.seed).history))
            return 0
        began = time.perf_counter()
        for seed in range(options.first, options.first + options.seeds):
            play(seed)
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    took = time.perf_counter() - began
    print(f"{options.seeds} seeds kept every promise in {took:.1f} s ({options.seeds / took:.0f} a second)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
