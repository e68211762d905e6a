"""The whole service over machines: thirty tasks at once, limits that are never exceeded, and whatever dies in the middle."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.hosts.board import open_board
from tests.hosts.machines import Machine, machine, needs_machines
from tests.hosts.service import rooms, take_sessions
from tests.hosts.spares import PYTHON, gate_for, joined
from tests.installation import Installation, installation, plain_repository, wait_for
from tests.repositories import Repository

pytestmark = [pytest.mark.e2e, pytest.mark.faults, pytest.mark.slow, pytest.mark.root, needs_machines]
TASKS, MACHINES, SLOTS, SESSIONS = 30, 3, 4, 14
AGENT = (
    'cat > /tmp/prompt; n=$(sed -n "s/.*Work \\([0-9]*\\).*/\\1/p" /tmp/prompt | head -n 1); '
    'hostname > "work-$n"; sleep 1; git add .; git commit -qm "Work $n"'
)
CONFIG = f"""
projects:
  app:
    path: {{path}}
    agent: command
    agentConfig: {{{{command: [/bin/sh, -c, {json.dumps(AGENT)}]}}}}
    reassignAfter: 20s
    maxSessions: {SESSIONS}
    scm: {{{{plugin: local, requiredChecks: [], requiredApprovals: 0}}}}
reactions:
  approved-and-green: {{{{auto: true, action: auto-merge}}}}
"""


class Watcher:
    """Looks many times a second at how many sessions live on each host and whether the board answers; keeps the worst that it saw."""

    def __init__(self, here: Installation) -> None:
        self._here = here
        self._over = threading.Event()
        self.most: Counter[str] = Counter()
        self.slowest = 0.0
        self.looks = 0
        self._thread = threading.Thread(target=self._watch)

    @contextmanager
    def watching(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()

    def _watch(self) -> None:
        with self._here.database() as connection:
            while not self._over.wait(0.05):
                for name, live in connection.execute(
                    "SELECT host.name, count(*) FROM orchestrator_session session JOIN orchestrator_host host ON host.id = session.host_id"
                    " WHERE session.ended_at IS NULL GROUP BY host.name"
                ).fetchall():
                    self.most[name] = max(self.most[name], live)
                began = time.monotonic()
                assert self._here.call("GET", "/hosts/").status_code == 200
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.looks += 1


@contextmanager
def service(machines: int, *words: str) -> Iterator[tuple[Installation, Repository, list[Machine]]]:
    """The running service with so many machines over SSH, started with these words; this one takes no sessions."""
    with ExitStack() as stack:
        made = [stack.enter_context(machine()) for _ in range(machines)]
        here = stack.enter_context(installation())
        repository = plain_repository(here.folder / "app", {"README": "hello\n"})
        config = here.folder / "agent-orchestrator.yaml"
        config.write_text(CONFIG.format(path=repository.path))
        here.start(str(repository.path), "--config", str(config), *words)
        take_sessions(here, made, slots=SLOTS)
        yield here, repository, made


def submit(here: Installation, tasks: int) -> None:
    for n in range(tasks):
        assert here.call("POST", "/tasks/", json={"project": "app", "title": f"Work {n}"}).status_code == 201


def merged(here: Installation) -> int:
    rows = here.call("GET", "/tasks/", params={"limit": 100}).json()["results"]
    return sum(row["status"] == "merged" for row in rows)


def live_on(here: Installation, name: str) -> int:
    return int(here.call("GET", f"/hosts/{name}/").json()["live_sessions"])


def each_was_done_once(here: Installation, repository: Repository, machines: list[Machine], tasks: int) -> None:
    """Nothing was lost, nothing happened twice, nothing is left on the machines."""
    subjects = Counter(repository.ask("log", "--format=%s", "--no-merges", "main").splitlines())
    done = {name: times for name, times in subjects.items() if name.startswith("Work ")}
    assert done == {f"Work {n}": 1 for n in range(tasks)}
    with here.database() as connection:
        counted = connection.execute(
            "SELECT (SELECT count(*) FROM orchestrator_message WHERE deliveries > 1), (SELECT count(*) FROM orchestrator_pullrequest)"
        ).fetchone()
    assert counted == (0, tasks)
    for one in machines:
        wait_for(lambda one=one: rooms(one) == "", f"nothing is left on {one.name}")  # type: ignore[misc]


def most_at_once(here: Installation) -> Counter[str]:
    """The most sessions that were ever live on each host, and on all of them, as the rows of all sessions tell."""
    with here.database() as connection:
        rows = connection.execute(
            "SELECT host.name, session.created_at, session.ended_at FROM orchestrator_session session"
            " JOIN orchestrator_host host ON host.id = session.host_id"
        ).fetchall()
    changes = [(begun, 1, name) for name, begun, _ in rows] + [(ended, -1, name) for name, _, ended in rows if ended]
    live: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for _, change, name in sorted(changes, key=lambda one: one[:2]):
        for whose in (str(name), "all"):
            live[whose] += change
            most[whose] = max(most[whose], live[whose])
    return most


@pytest.mark.timeout(400)
def test_f4_thirty_tasks_over_three_machines_and_a_spare_of_which_one_is_unplugged_are_each_merged_once() -> None:
    with machine(shown=[PYTHON]) as fourth, service(MACHINES, *gate_for(fourth)) as (here, repository, machines):
        watcher = Watcher(here)
        with joined(fourth, here, "--capacity", str(SLOTS)) as spare, watcher.watching(), open_board(here) as board:
            submit(here, TASKS)
            wait_for(lambda: merged(here) >= 6 and live_on(here, machines[0].name) > 0, "they are on their way")
            assert live_on(here, spare.name) > 0
            machines[0].unplug()
            wait_for(lambda: merged(here) == TASKS, "all are merged", seconds=200)
            wait_for(lambda: board.shown("done") == TASKS, "the open board shows it", seconds=10)
            machines[0].plug_in()
            wait_for(lambda: live_on(here, machines[0].name) == 0, "it has come back")
            wait_for(lambda: spare.rooms() == "", "nothing is left on the spare")
        assert board.backwards == 0
        assert set(watcher.most) == {"spare", *(one.name for one in machines)}
        most = most_at_once(here)
        assert max(most[name] for name in watcher.most) == max(watcher.most.values()) == SLOTS
        assert SLOTS < most["all"] <= SESSIONS
        assert watcher.looks > 50
        assert watcher.slowest < 2
        each_was_done_once(here, repository, machines, TASKS)
        assert fourth.name in {repository.ask("show", f"main:work-{n}") for n in range(TASKS)}


@pytest.mark.timeout(400)
def test_f1_the_worker_that_reaches_a_machine_is_killed_again_and_again_and_each_task_is_merged_once() -> None:
    with service(1) as (here, repository, machines):
        submit(here, 8)
        for kill in range(6):
            wait_for(lambda: here.child("host") is not None, "the worker is back")
            # At another point of its work each time: what it does next takes some tenths of a second.
            time.sleep(0.25 * (kill + 1))
            worker = here.child("host")
            if worker is not None:
                os.kill(worker, signal.SIGKILL)
        wait_for(lambda: merged(here) == 8, "all are merged", seconds=120)
        each_was_done_once(here, repository, machines, 8)


@pytest.mark.timeout(400)
def test_f1_an_sshd_that_dies_again_and_again_costs_time_and_nothing_else() -> None:
    with service(1) as (here, repository, machines):
        submit(here, 8)
        for _ in range(6):
            before = merged(here)
            machines[0].kill_sshd()
            machines[0].start_sshd()
            wait_for(lambda before=before: merged(here) > before or merged(here) == 8, "one more is merged")  # type: ignore[misc]
        wait_for(lambda: merged(here) == 8, "all are merged", seconds=120)
        each_was_done_once(here, repository, machines, 8)
