"""P8, P11: what the forge knows reaches the agent, and what a look at a hundred pull requests costs.

P8: from a red check, told by a webhook, to the agent having its log, by the agent's own clock; alone, and beside a thousand other tasks whose pull
requests are open and looked at as ever. P11: one look at a hundred pull requests while each answer
of the forge takes 200 ms. Raw: the same queries, sent one after the other by a bare client.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import httpx

from benchmarks.measure import Asked, Goal, Series, interleaved, percentile, run
from benchmarks.stage import Stage, stage, until
from ops.local import door
from tests.fakegithub.hooks import Hooks
from tests.fakegithub.server import FakeGitHub, fake_github
from tests.fakegithub.world import FULL, NAME, OWNER, ROBOT, ROBOT_TOKEN
from tests.repositories import Repository

SECRET = "a secret between us"
LATENCY = 0.2  # seconds
BESIDE_ROUNDS = 3  # of ten each
LOG = "##[group]Run make test\nAssertionError: 0 != 4\n##[error]Process completed with exit code 2.\n"
# Leaves a commit, and tells when it had its whole prompt.
AGENT = [
    "/bin/bash",
    "-c",
    "IFS= read -r -d '' prompt; echo prompted $EPOCHREALTIME ${#prompt}; echo $AO_TURN > work; git add work; git commit -qm work",
]


@dataclass(frozen=True, slots=True)
class Scene:
    """A service whose project is on a GitHub that rings."""

    made: Stage
    github: FakeGitHub
    hooks: Hooks


@contextmanager
def on_github() -> Iterator[Scene]:
    """The service, its GitHub, and the webhooks from there to here."""
    environment = {"ACME_TOKEN": ROBOT_TOKEN, "AO_GITHUB_WEBHOOK_SECRET": SECRET, "AO_GITHUB_WRITES_A_MINUTE": "100000"}
    with stage(files_count=100, **environment) as made:
        bare = made.folder / f"{FULL}.git"
        bare.parent.mkdir(parents=True)
        made.repository.git("clone", "-q", "--bare", str(made.repository.path), str(bare))
        with fake_github(made.folder) as github:
            rows = door.load("benchmarks.rows")
            rows.move_to_github(github.clone_url, github.base)
            rows.command(AGENT)
            yield Scene(made, github, Hooks(github, f"{made.service.url}/webhooks/github/", SECRET))


def told(scene: Scene, number: int, *, beside: bool = False) -> float:
    """Milliseconds from the webhook of a red check to the agent that has its log; `beside` others whose tasks stay open."""
    rows, world = door.load("benchmarks.rows"), scene.github.world
    task, _ = scene.made.post(f"Red {number}")
    until(lambda: rows.at_rest_with_pull(task), f"the pull request of {task} is there")
    head = next(pull.head_sha for pull in world.pulls.values() if f"Red {number}" in pull.title)
    scene.hooks.pending()  # what came before is of no interest
    world.check(head, "ci", "failure", log=LOG)
    began = time.time()
    scene.hooks.deliver(scene.hooks.pending())
    until(lambda: rows.prompted_at(task, turn=2), f"the agent has the log: {rows.reasons()}")
    ended = float(rows.prompted_at(task, turn=2))
    scene.made.client.post(f"/tasks/{task}/cancel/").raise_for_status()
    until(lambda: rows.over(task) if beside else rows.open_tasks() == 0, "the task is over")
    return (ended - began) * 1000


def looked(scene: Scene, numbers: list[int], asked: list[int]) -> float:
    """Milliseconds of one look at these pull requests; `asked` learns how many requests that were."""
    forge = door.load("benchmarks.rows").forge(scene.made.folder / "looks.git", ROBOT_TOKEN)
    forge.observe(numbers[:1])  # who we are and what the branch demands is known from here on
    with slow(scene.github):
        before, began = len(scene.github.asked), time.monotonic()
        assert len(forge.observe(numbers)) == len(numbers)
        asked.append(len(scene.github.asked) - before)
        return (time.monotonic() - began) * 1000


def raw_look(scene: Scene, numbers: list[int]) -> float:
    """The same queries, and nothing else."""
    queries = door.load("benchmarks.rows").queries_of(numbers)
    variables = {"owner": OWNER, "name": NAME, "base": "refs/heads/main"}
    with slow(scene.github), httpx.Client(headers={"Authorization": f"token {ROBOT_TOKEN}"}, timeout=30) as client:
        began = time.monotonic()
        for query in queries:
            client.post(
                f"{scene.github.base}/graphql", json={"query": query, "variables": variables}
            ).raise_for_status()
        return (time.monotonic() - began) * 1000


@contextmanager
def slow(github: FakeGitHub) -> Iterator[None]:
    """Each answer takes its time."""
    github.latency = LATENCY
    try:
        yield
    finally:
        github.latency = 0.0


def main_of(scene: Scene) -> str:
    """The head of the default branch."""
    return Repository(scene.made.folder / f"{FULL}.git").ask("rev-parse", "main")


def open_pulls(scene: Scene, count: int, *, prefix: str = "look") -> list[int]:
    """So many open pull requests."""
    world, bare = scene.github.world, Repository(scene.made.folder / f"{FULL}.git")
    main, numbers = main_of(scene), []
    for n in range(count):
        bare.git("update-ref", f"refs/heads/{prefix}/{n}", main)
        numbers.append(world.open_pull(ROBOT, title=f"Look {n}", body="", head=f"{prefix}/{n}", base="main").number)
    return numbers


def watch(scene: Scene, count: int) -> None:
    """So many tasks whose pull requests are open. Returns when all is known of each, and looks go on as ever."""
    rows = door.load("benchmarks.rows")
    rows.watched(open_pulls(scene, count, prefix="beside"), head=main_of(scene))
    for _ in range(2):  # the forge knows only at the second look whether they can be merged
        began = datetime.now(UTC)
        rows.look_now()
        until(lambda began=began: rows.all_looked_at(began), "all were looked at", every=0.5)  # type: ignore[misc]


def told_beside(scene: Scene, samples: int, numbers: Iterator[int]) -> float:
    """The 95th percentile of so many, while the other pull requests are looked at as ever."""
    return percentile([told(scene, next(numbers), beside=True) for _ in range(samples)], 0.95)


def program(asked: Asked) -> list[Series]:
    """From the forge to the agent, and what looking costs."""
    p8 = Series(quantity="P8", what="webhook of a red check -> agent has the log", unit="ms",
                goal=Goal(text="<= 1 s plus the forge", at_most=1000))  # fmt: skip
    count, open_ones, samples = asked.size(100, 4), asked.size(1000, 5), asked.size(10, 2)
    beside = Series(quantity="P8", what=f"the same beside {open_ones:,} open pull requests, p95 of {samples}", unit="ms",
                    goal=Goal(text="p95 < 1 s", at_most=1000))  # fmt: skip
    p11 = Series(quantity="P11", what=f"one look at {count} pull requests, 200 ms an answer", unit="ms", raw_what="the same queries by httpx",
                 goal=Goal(text="<= 1 s, <= 3 requests", at_most=1000))  # fmt: skip
    requests: list[int] = []
    with on_github() as scene:
        told(scene, 0)
        rounds = iter(range(1, 1000))
        interleaved(p8, rounds=asked.rounds(), ours=lambda: told(scene, next(rounds)))
        watch(scene, open_ones)
        interleaved(beside, rounds=asked.rounds(BESIDE_ROUNDS), ours=lambda: told_beside(scene, samples, rounds))
        door.load("benchmarks.rows").forget_tasks()
        numbers = open_pulls(scene, count)
        interleaved(
            p11,
            rounds=asked.rounds(),
            ours=lambda: looked(scene, numbers, requests),
            raw=lambda: raw_look(scene, numbers),
        )
    p11.note = f"{max(requests)} requests"
    if max(requests) > 3:
        p11.goal = replace(p11.goal, at_most=0)
    return [p8, beside, p11]


if __name__ == "__main__":
    run(program)
