"""kill -9 of each part of the whole world at each step of a task's way: what was killed at which step, and the verdict.

`python -m tests.faults --kills 200 [--seed N] [--skip M]`
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
from collections.abc import Iterable

from ops.local.coding_agents import install_claude_code
from tests.faults.verdict import outcome
from tests.faults.world import STEPS, world

ROUNDS = 10


def main() -> int:
    """Strike, and give the verdict; 1 where something is not nothing."""
    words = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    words.add_argument("--kills", type=int, default=200)
    words.add_argument("--seed", type=int, default=1, help="of the order of kills")
    words.add_argument("--skip", type=int, default=0, help="so many kills of that order")
    asked = words.parse_args()
    with world(str(install_claude_code())) as made:
        for target, step in order(made.parts, seed=asked.seed)[asked.skip :][: asked.kills]:
            kill = made.strike(target, step)
            sys.stderr.write(f"{made.seconds:6.1f} s: {target} at {step}{'' if kill.hit else ' (missed)'}\n")
        verdict = outcome(made)
    json.dump(verdict.figures(), sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 0 if verdict.clean else 1


def order(parts: Iterable[str], *, seed: int) -> list[tuple[str, str]]:
    """Every part at every step, again and again, each time in another order."""
    dice = random.Random(seed)
    every = list(itertools.product(parts, STEPS))
    return [cell for _ in range(ROUNDS) for cell in dice.sample(every, len(every))]


if __name__ == "__main__":
    sys.exit(main())
