"""The whole world: the service, GitHub with its people, machines over SSH, the real Claude Code on them; and how each part is killed."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from tests.fakegithub.server import NO_ANSWER, FakeGitHub
from tests.faults.agents import Heard
from tests.faults.matrix import Matrix
from tests.faults.parts import Part, end, parts_of_the_service, restarted
from tests.faults.people import OBJECTED, TALKED_TO, WORDS, People
from tests.faults.witness import Life, Witness, guard_of, told
from tests.github.service import ENVIRONMENT, SCRIPT, bare, github_of, ringing
from tests.hosts.machines import Machine, machine
from tests.hosts.service import serves, take_sessions
from tests.installation import installation
from tests.scripted_model import Rule, Say, ScriptedModel, scripted_model, sh

MACHINES, SLOTS = 2, 3
PROGRAM = "/usr/local/bin/claude"
STEPS = (
    "Prepare", "StartTurn", "turn", "Say", "HangUp", "Publish", "OpenPullRequest", "checks", "AnswerThread", "Merge", "DeleteBranch",
    "EndSession",
)  # fmt: skip
KINDS = ("straight", OBJECTED, TALKED_TO, "red once", OBJECTED, TALKED_TO)
Found = TypeVar("Found")
LATENCY = 0.05  # seconds that each of GitHub's answers takes: time in which somebody can be killed
# The request by which a step changes something at GitHub.
EFFECTS = {
    "Publish": "POST .*git-receive-pack",
    "OpenPullRequest": "POST .*/pulls$",
    "AnswerThread": "graphql (reply|resolve)",
    "Merge": "PUT .*/merge$",
    "DeleteBranch": "POST .*git-receive-pack",
}
ANY_EFFECT = "|".join(EFFECTS.values())

_FILE = "f=work-$AO_TASK.txt"
_COMMIT = 'git add $f && git commit -qm "Work of task $AO_TASK, turn $AO_TURN"'
_FIRST = sh(f"{_FILE}; sleep 0.3; echo right > $f; {_COMMIT}")
_BROKEN = sh(f"{_FILE}; sleep 0.3; echo broken > $f; {_COMMIT}")
# Whatever stands there already, afterwards it is right, and there is a commit.
_GO_ON = sh(f'{_FILE}; sleep 0.3; touch $f; sed -i s/broken/right/ $f; echo "turn $AO_TURN" >> $f; {_COMMIT}')
RULES = (
    Rule(match="Your program ended|Your turn ended|asks for changes|Checks failed", steps=[_GO_ON, Say(text="Gone on.")]),
    Rule(match="red once", steps=[_BROKEN, Say(text="That should be it.")]),
    Rule(match=f"^(?!.*Task: ).*{WORDS}", steps=[_GO_ON, Say(text="Minded.")]),
    Rule(match="", steps=[_FIRST, Say(text="Done.")]),
)  # fmt: skip
CONFIG = """
projects:
  app:
    repo: acme/demo
    defaultBranch: main
    agent: claude-code
    agentConfig: {{program: {program}}}
    env: {env}
    scm: {{plugin: github, apiUrl: {api}, cloneUrl: {remote}, token: "${{ACME_TOKEN}}", requiredChecks: [ci], requiredApprovals: 1}}
reactions:
  approved-and-green: {{auto: true, action: auto-merge}}
"""


@dataclass(slots=True, kw_only=True)
class World(Matrix):
    """The matrix over everything at once."""

    github: FakeGitHub
    machines: Sequence[Machine]
    model: ScriptedModel
    witness: Witness
    began: float = field(default_factory=time.monotonic)
    kinds: Sequence[str] = KINDS
    patience: float = 6

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def under_way(self, step: str) -> bool:
        if step == "checks":
            with self.github.world.lock:
                return any(run.status != "completed" for run in self.github.world.checks.values())
        return Matrix.under_way(self, step)

    def lost(self, step: str, *, after: bool) -> None:
        """The next request that changes something at GitHub is lost before its effect, or its answer after it; every other time nothing is
        answered at all."""
        status = (502, NO_ANSWER)[len(self.kills) % 2]
        self.github.fail(EFFECTS.get(step, ANY_EFFECT), status, after_the_effect=after)
        self.once(lambda: not self.github.faults, "a request is lost")

    def once(self, find: Callable[[], Found | None], what: str) -> Found:
        """What is found, once something is; the stream of tasks goes on meanwhile."""
        deadline = time.monotonic() + 60
        while not (found := find()):
            assert time.monotonic() < deadline, f"never: {what}"
            self.feed()
        return found


@contextmanager
def world(claude: str) -> Iterator[World]:
    """Everything runs: service, GitHub with its people, machines, model. `claude`: where the agent's program is here."""
    with ExitStack() as stack:
        machines = [stack.enter_context(machine(size="1g")) for _ in range(MACHINES)]
        model = stack.enter_context(scripted_model(RULES, address=machines[0].gateway))
        for one in machines:
            one.shown_the_way_to(machines[0].gateway)
            shutil.copy(claude, one.root / PROGRAM.lstrip("/"))
        here = stack.enter_context(installation(**ENVIRONMENT))
        github, _ = stack.enter_context(github_of(here, {"README": "hello\n", SCRIPT: "! grep -l broken work-*.txt\n"}))
        github.latency = LATENCY
        config = here.folder / "agent-orchestrator.yaml"
        config.write_text(
            CONFIG.format(remote=github.clone_url, program=PROGRAM, env=json.dumps(model.environment), api=github.base)
        )
        here.start("--config", str(config))
        take_sessions(here, machines, slots=SLOTS)
        stack.enter_context(ringing(github, here))
        witness = Witness(machines, PROGRAM)
        stack.enter_context(witness.watching())
        made = World(
            here=here,
            repository=bare(github),
            parts={},
            heard=lambda: Heard(starts=witness.starts(), told=told(model), overlaps=len(witness.overlaps())),
            github=github,
            machines=machines,
            model=model,
            witness=witness,
        )
        made.parts = parts(made)
        people = People(github.world, made)
        with people.about():
            yield made
        assert (people.wrong, witness.wrong) == ([], [])


def parts(world: World) -> dict[str, Part]:
    """Every part, and how it is killed; of the machines one after the other."""
    machines = itertools.cycle(world.machines)

    def program(find: Callable[[Machine], list[int]], _: str) -> None:
        one = next(machines)
        for pid in world.once(lambda: find(one), f"{one.name} has one"):
            one.kill(pid)

    def sshd(_: str) -> None:
        one = next(machines)
        one.kill_sshd()
        one.start_sshd()

    def of_an_agent(whom: Callable[[Life], int | None], _: str) -> None:
        life = world.once(world.witness.victim, "an agent lives")
        pid = whom(life)
        if pid is not None:
            world.witness.strike(life)
            end(pid)

    return {
        **parts_of_the_service(world.here),
        "everything": lambda _: restarted(world.here),
        "serve": partial(program, serves),
        "bridge": partial(program, lambda one: one.processes("workers.hostkit.bridge")),
        "guard": partial(of_an_agent, lambda life: guard_of(life.pid)),
        "agent": partial(of_an_agent, lambda life: life.pid),
        "sshd": sshd,
        "request": partial(world.lost, after=False),
        "answer": partial(world.lost, after=True),
    }
