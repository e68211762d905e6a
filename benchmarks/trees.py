"""P2: the same spawn in a repository of 10,000 files, from the warm pool and cold."""

from __future__ import annotations

from benchmarks.measure import Asked, Goal, Series, run
from benchmarks.spawn import RAW, raw, spawned
from benchmarks.stage import stage


def program(asked: Asked) -> list[Series]:
    """From a task accepted to its agent running, in a large tree."""
    count = asked.size(10_000, 300)
    warm = Series(quantity="P2", what=f"task accepted -> agent has its prompt, {count:,} files, warm", unit="ms", raw_what=RAW,
                  goal=Goal(text="p50 <= 300 ms", at_most=300))  # fmt: skip
    cold = Series(quantity="P2", what=f"the same, {count:,} files, cold", unit="ms", raw_what=RAW,
                  goal=Goal(text="<= 1.2x git worktree add", ratio_at_most=1.2))  # fmt: skip
    with stage(files_count=count) as made:
        spawned(made, warm=1)
        for _ in range(asked.rounds()):
            warm.add(spawned(made, warm=1))
            cold.add(spawned(made, warm=0))
            plain = raw(made)
            warm.add_raw(plain)
            cold.add_raw(plain)
    return [warm, cold]


if __name__ == "__main__":
    run(program)
