"""The kill matrix: a stream of tasks, and kill -9 of each part of the system at each step of their way. A checker that trusts nobody decides."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.agents import AGENT, CHECK, Heard, heard, living
from tests.faults.parts import Part, parts_here, parts_of_the_service
from tests.installation import Installation, installation, plain_repository, wait_for
from tests.repositories import Repository

STEPS = ("Prepare", "StartTurn", "turn", "Publish", "OpenPullRequest", "RunCheck", "Merge", "EndSession")
OWN_CHECK = {"plugin": "local", "checks": {"work": CHECK}, "requiredApprovals": 0}
KINDS = ("straight", "straight", "red once")


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill as it happened; `hit` says whether the step was under way when it fell."""

    target: str
    step: str
    hit: bool


@dataclass(slots=True, kw_only=True)
class Matrix:
    """One run of the matrix over one installation. `parts`: how each is killed, and seen back. `kinds`: what the tasks ask for, by turns.
    `heard`: what the agents did, by somebody who saw them."""

    here: Installation
    repository: Repository
    parts: Mapping[str, Part]
    heard: Callable[[], Heard]
    kinds: Sequence[str] = KINDS
    alive_at_once: int = 5
    patience: float = 4  # seconds in which a task may come to the step
    keys: list[str] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    _connection: psycopg.Connection[tuple[Any, ...]] | None = None

    # --- what the driver sees, from the database itself ---

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the embedded database, waiting while it is away."""
        deadline = time.monotonic() + 60
        while True:
            try:
                connection = self._connection
                if connection is None or connection.closed:
                    connection = self._connection = self.here.ends.enter_context(closing(self.here.database()))
                return connection.execute(sql).fetchall()  # type: ignore[arg-type]  # literal statements of these tests
            except psycopg.OperationalError:
                self._connection = None
                assert time.monotonic() < deadline, "the database does not come back"
                time.sleep(0.05)

    # --- the stream of tasks ---

    def feed(self) -> None:
        """Keep a few tasks alive. A submission is repeated with its key until it is answered: what was accepted counts once."""
        open_now = self.ask("SELECT count(*) FROM orchestrator_task WHERE outcome = ''")[0][0]
        for _ in range(self.alive_at_once - open_now):
            number = len(self.keys) + 1
            key = f"task-{number}"
            project = self.ask("SELECT key FROM orchestrator_project")[0][0]
            body = self.kinds[(number - 1) % len(self.kinds)]
            task = {"project": project, "title": f"Work {number}", "body": body}
            answer = self.here.patient("POST", "/tasks/", json=task, headers={"Idempotency-Key": key})
            assert answer.status_code in {200, 201}, answer.text
            self.keys.append(key)

    def under_way(self, step: str) -> bool:
        """Whether a task is at this step right now."""
        if step == "turn":
            return bool(
                self.ask("SELECT 1 FROM orchestrator_turn WHERE started_at IS NOT NULL AND ended_at IS NULL LIMIT 1")
            )
        return bool(
            self.ask(
                f"SELECT 1 FROM orchestrator_job WHERE verb = '{step}' AND state IN ('promised', 'claimed') LIMIT 1"
            )
        )

    # --- killing ---

    def strike(self, target: str, step: str) -> Kill:
        """Wait until the step is under way (or patience ends), kill, and see the part back."""
        deadline = time.monotonic() + self.patience
        hit = False
        while not hit and time.monotonic() < deadline:
            self.feed()
            hit = self.under_way(step)
        self.parts[target](step)
        self.kills.append(Kill(target, step, hit))
        return self.kills[-1]

    # --- the end, and the verdict ---

    def finish(self, *, seconds: float = 240) -> None:
        """Wait until every accepted task has ended."""
        open_tasks = "SELECT id, status, reason FROM orchestrator_task WHERE outcome = ''"
        left = "SELECT name, state, session_id FROM orchestrator_workspace WHERE state <> 'removed' AND session_id IS NOT NULL"
        try:
            wait_for(lambda: not self.ask(open_tasks), "every task ends", seconds=seconds, every=0.5)
            wait_for(lambda: not self.ask(left), "every workspace is removed", seconds=60)
        except AssertionError as error:
            rows = [*self.ask(open_tasks), *self.ask(left), *self.standing()]
            raise AssertionError("\n".join([str(error), *map(str, rows)])) from error

    def standing(self) -> list[tuple[Any, ...]]:
        """What is known of the tasks that are not over, for whoever has to find out why."""
        mine = "IN (SELECT id FROM orchestrator_task WHERE outcome = '')"
        return [
            *self.ask(
                "SELECT key, state, attempts, failures, claims, code, error FROM orchestrator_job WHERE state <> 'done'"
            ),
            *self.ask(
                'SELECT session.task_id, turn.n, turn.started_at, turn.done_at, turn.ended_at, turn."end", turn.detail, turn.published_at,'
                " turn.head_before, turn.head_after FROM orchestrator_turn turn"
                f" JOIN orchestrator_session session ON session.id = turn.session_id WHERE session.task_id {mine} ORDER BY turn.id"
            ),
            *self.ask(
                f"SELECT task_id, id, key, turn_id, delivered_at, confirmed_at FROM orchestrator_message WHERE task_id {mine}"
            ),
            *self.ask(
                f"SELECT task_id, at, kind, text FROM orchestrator_event WHERE task_id {mine} ORDER BY id DESC LIMIT 40"
            ),
        ]

    def verdict(self) -> dict[str, object]:
        """What really happened, by the remote's history, those who saw the agents, and the database."""
        merges = Counter(self.repository.ask("log", "main", "--merges", "--format=%s").splitlines())
        files = self.repository.ask("ls-tree", "--name-only", "main").splitlines()
        agents = self.heard()
        return {
            "kills": len(self.kills),
            "at the step": sum(kill.hit for kill in self.kills),
            "accepted": len(self.keys),
            "lost": len(self.keys) - len(self.ask("SELECT 1 FROM orchestrator_task WHERE outcome = 'merged'")),
            "files on main": sum(name.startswith("work-") for name in files),
            "doubled tasks": len(self.ask("SELECT id FROM orchestrator_task")) - len(self.keys),
            "doubled merges": sum(count - 1 for count in merges.values()),
            "doubled pull requests": len(
                self.ask("SELECT task_id FROM orchestrator_pullrequest GROUP BY task_id HAVING count(*) > 1")
            ),
            "doubled messages": sum(count - 1 for count in agents.told.values()),
            "turns started twice": sum(count - 1 for count in agents.starts.values()),
            "second agents on a branch": agents.overlaps,
            "escalations": len(self.ask("SELECT id FROM orchestrator_interruption WHERE escalation")),
            "processes left": len(self.here.marked()),
        }


def prepared(here: Installation) -> Matrix:
    """A started installation with the repository, the agent and the rules of the matrix."""
    repository = plain_repository(here.folder / "repository", {"README": "hello\n"})
    here.start(str(repository.path))
    return command_matrix(here, repository)


def command_matrix(
    here: Installation, repository: Repository, *, scm: Mapping[str, object] = OWN_CHECK, remote: str = ""
) -> Matrix:
    """The matrix whose agents are commands that write down what they do, and whose changes merge by themselves when they are green."""
    log, command = agent(here.folder, 0.15)
    matrix = Matrix(
        here=here,
        repository=repository,
        parts={**parts_of_the_service(here), **parts_here(here, agents=lambda: living(log))},
        heard=lambda: heard(log),
    )
    wait_for(lambda: matrix.ask("SELECT 1 FROM orchestrator_project WHERE base_sha <> ''"), "the mirror is there")
    told = json.dumps({"command": command}).replace("'", "''")
    matrix.ask(
        f"UPDATE orchestrator_project SET agent = 'command', sandbox = 'none', agent_config = '{told}',"
        f" scm = '{json.dumps(scm).replace(chr(39), chr(39) * 2)}', remote = COALESCE(NULLIF('{remote}', ''), remote) RETURNING id"
    )
    matrix.ask(
        "INSERT INTO orchestrator_rulerow (trigger, auto, action, priority, message, escalate_after, threshold)"
        " VALUES ('approved-and-green', true, '[\"auto-merge\"]', '', '', '', '') RETURNING id"
    )
    return matrix


def agent(folder: Path, pace: float) -> tuple[Path, list[str]]:
    """The file that the agents write into, and the command that is the agent."""
    log = folder / "agents.log"
    log.touch()
    log.chmod(0o666)
    program = folder / "agent.py"
    program.write_text(AGENT)
    program.chmod(0o644)
    return log, ["/usr/bin/python3", str(program), str(log), str(pace)]


def cells(parts: Iterable[str], steps: Sequence[str] = STEPS) -> list[tuple[str, str]]:
    """Every part at every step, in an order that mixes them."""
    every = list(itertools.product(parts, steps))
    return sorted(every, key=lambda cell: (every.index(cell) * 37) % len(every))


def main() -> None:
    """Run the whole matrix and print its verdict: `python -m tests.faults.matrix [KILLS]`."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else None
    with installation() as here:
        matrix = prepared(here)
        for target, step in cells(matrix.parts)[:most]:
            kill = matrix.strike(target, step)
            sys.stderr.write(f"{target} at {step}: {'hit' if kill.hit else 'missed'}\n")
        matrix.finish()
        json.dump(matrix.verdict(), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
