"""One seed: some acts of chaos, after each of which it is calm until nothing happens any more; the promises are checked at each step."""

from __future__ import annotations

from orchestrator.domain.snapshot import JobState
from tests.simulation.chaos import Chaos, new_world
from tests.simulation.hands import take_off
from tests.simulation.invariants import Watch
from tests.simulation.outside import Broken
from tests.simulation.world import Parts, World

ACTS = 3
MOVES = 22
ROUNDS = 120


class Failed(AssertionError):
    """A promise was broken at a seed; says how to see it again."""

    def __init__(self, seed: int, why: str, history: list[str]) -> None:
        super().__init__(
            "\n".join([f"seed {seed}: {why}", f"replay: python -m tests.simulation --seed {seed}", *history[-80:]])
        )
        self.seed = seed
        self.why = why


def play(seed: int, parts: Parts | None = None) -> World:
    """Run one seed to its rest. Raises `Failed` where a promise is broken."""
    world = new_world(seed, parts or Parts())
    try:
        watch = Watch(world)
        chaos = Chaos(world)
        for _ in range(ACTS):
            begin_act(world)
            for _ in range(MOVES):
                chaos.move()
                watch.check()
            calm(world, chaos, watch)
            watch.check_rest()
    except Broken as broken:
        raise Failed(seed, str(broken), world.history) from broken
    return world


def begin_act(world: World) -> None:
    """How bad it is this time."""
    world.bells_lost = world.chance.choice((0.0, 0.3, 0.9))
    world.forge.flaky = world.chance.choice((0.0, 0.0, 0.3))


def calm(world: World, chaos: Chaos, watch: Watch) -> None:
    """First rough rounds, in which what goes wrong still does; then no new faults, until nothing happens any more."""
    for _ in range(world.chance.choice((0, 5, 12))):
        one_round(world, chaos, rough=True)
        watch.check()
    heal(world)
    for _ in range(ROUNDS):
        before = len(world.history)
        one_round(world, chaos, rough=False)
        watch.check()
        if len(world.history) == before:
            world.advance(7200.0)
            one_round(world, chaos, rough=False)
            if len(world.history) == before:
                return
    raise Broken(f"I1: still busy after {ROUNDS} calm rounds")


def heal(world: World) -> None:
    """What was cut off is back, what was paused goes on."""
    world.bells_lost = world.forge.flaky = 0.0
    for host in world.hosts:
        host.reachable = True
    for pull in world.forge.pulls:
        pull.mergeable_known = True
    for task in world.tasks:
        if task.paused:
            task.paused = False
            world.touch(task)


def one_round(world: World, chaos: Chaos, *, rough: bool) -> None:
    """Everybody does what there is to do: workers, agents, checks, the sweep."""
    if not rough:
        thawed, chaos.flights = chaos.flights, []
        for flight in thawed:
            chaos.fly_on(flight, rough=False)
    for host in world.hosts:
        for run in host.live():
            if not rough or world.chance.random() < 0.7:
                chaos.end_run(host, run)
    chaos.check()
    chaos.check()
    world.advance(35.0)
    for task in world.tasks:
        for job in list(task.jobs.values()):
            if job.state in {JobState.PROMISED, JobState.CLAIMED} and world.claim(task, job):
                chaos.fly_on(take_off(world, task, job), rough=rough)
    world.bells.clear()
    for task in list(world.due()):
        world.reconcile(task)
