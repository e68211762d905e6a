"""P1, P4: from a task accepted by the API to its agent running with its prompt.

Ours: from the moment the request is sent to the moment at which the agent, by its own clock, has read its whole prompt. Raw: `git worktree add -b`
on the same repository and a Popen of the same agent with the same prompt.
"""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from benchmarks.measure import Asked, Goal, Series, interleaved, run
from benchmarks.stage import PROMPTED, Stage, stage, until
from ops.local import door

_NUMBERS: Iterator[int] = itertools.count(1)
RAW = "git worktree add + Popen"
PROMPT = b"Fix the failing test.\n" * 20


def spawned(made: Stage, *, warm: int) -> float:
    """Milliseconds of one spawn, with `warm` workspaces ready; afterwards the machine is at rest again."""
    rows = door.load("benchmarks.rows")
    rows.warm(warm)
    until(lambda: rows.ready(warm) and rows.open_tasks() == 0, "the machine is at rest")
    task, began = made.post(f"Task {next(_NUMBERS)}")
    until(lambda: rows.prompted_at(task), f"the agent has its prompt: {rows.reasons()}")
    prompted = rows.prompted_at(task)
    until(lambda: rows.open_tasks() == 0, "the task is over")
    return (prompted - began) * 1000


def raw(made: Stage) -> float:
    """Milliseconds of a worktree and a process."""
    began = time.time()
    started = started_raw(made, next(_NUMBERS))
    assert started is not None
    return (started - began) * 1000


def started_raw(made: Stage, n: int) -> float | None:
    """When the process had its prompt; None: git failed."""
    tree = made.folder / "raw" / str(n)
    done = subprocess.run(
        ["git", "-C", str(made.repository.path), "worktree", "add", "-q", "-b", f"raw-{n}", str(tree), "main"],
        capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        return None
    with subprocess.Popen(PROMPTED, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        said, _ = process.communicate(PROMPT)
    return float(said.split()[1])


def at_once(made: Stage, count: int, failures: list[int]) -> float:
    """Milliseconds until the last of so many agents that are asked for at the same moment has its prompt."""
    rows = door.load("benchmarks.rows")
    rows.warm(count)
    until(lambda: rows.warm_ready() == count and rows.open_tasks() == 0, "the machine is at rest")
    with ThreadPoolExecutor(count) as pool:
        began = time.time()
        tasks = [
            task for task, _ in pool.map(lambda n: made.post(f"Together {n}"), [next(_NUMBERS) for _ in range(count)])
        ]
        until(lambda: all(rows.prompted_at(task) for task in tasks) or rows.reasons(), "all agents run", every=0.1)
    last = max(rows.prompted_at(task) or 0 for task in tasks)
    failures.append(sum(rows.prompted_at(task) is None for task in tasks))
    until(lambda: rows.open_tasks() == 0, "the tasks are over")
    return (last - began) * 1000


def raw_at_once(made: Stage, count: int, failures: list[int]) -> float:
    """The same with plain git; what fails is left out."""
    numbers = [next(_NUMBERS) for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:
        began = time.time()
        started = list(pool.map(lambda n: started_raw(made, n), numbers))
    failures.append(started.count(None))
    return (max(one for one in started if one is not None) - began) * 1000


def program(asked: Asked) -> list[Series]:
    """From a task accepted to its agent running."""
    p1 = Series(quantity="P1", what="task accepted -> agent has its prompt, 100 files, warm", unit="ms", raw_what=RAW,
                goal=Goal(text="p50 <= 150 ms, <= 5x raw", at_most=150, ratio_at_most=5))  # fmt: skip
    count = asked.size(30, 3)
    p4 = Series(quantity="P4", what=f"{count} tasks at once on one repository: the last agent has its prompt", unit="ms", raw_what=RAW,
                goal=Goal(text="0 failures, <= 1.5 s", at_most=1500))  # fmt: skip
    ours_failed: list[int] = []
    raw_failed: list[int] = []
    with stage(files_count=100) as made:
        spawned(made, warm=1)
        interleaved(p1, rounds=asked.rounds(), ours=lambda: spawned(made, warm=1), raw=lambda: raw(made))
        interleaved(
            p4,
            rounds=asked.rounds(),
            ours=lambda: at_once(made, count, ours_failed),
            raw=lambda: raw_at_once(made, count, raw_failed),
        )
    p4.note = f"failures: ours {sum(ours_failed)} of {count * len(ours_failed)}, raw {sum(raw_failed)} of {count * len(raw_failed)}"
    if sum(ours_failed):
        p4.goal = Goal(text=p4.goal.text, at_most=0)
    return [p1, p4]


if __name__ == "__main__":
    run(program)
