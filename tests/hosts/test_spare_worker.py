"""A machine with a worker of its own: from its link to merged changes, and whatever dies in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest

from ops.local.release import code
from orchestrator.domain.links import parse
from tests.hosts.machines import machine, needs_machines
from tests.hosts.spares import HOME, PYTHON, Spare, gate_for, joined, link
from tests.installation import ROOT, Installation, installation, plain_repository, wait_for
from tests.repositories import Repository

pytestmark = [pytest.mark.e2e, pytest.mark.faults, pytest.mark.slow, pytest.mark.root, needs_machines]
SLEEPER = "cat > /dev/null; echo begun > begun; sleep 300"
AGENT = (
    'cat > /tmp/prompt; n=$(sed -n "s/.*Work \\([0-9]*\\).*/\\1/p" /tmp/prompt | head -n 1); '
    'hostname > "work-$n"; sleep 1; git add .; git commit -qm "Work $n"'
)
CONFIG = """
projects:
  app:
    path: {path}
    agent: command
    agentConfig: {{command: [/bin/sh, -c, {agent}]}}
    reassignAfter: 20s
    scm: {{plugin: local, requiredChecks: [], requiredApprovals: 0}}
reactions:
  approved-and-green: {{auto: true, action: auto-merge}}
"""


@contextmanager
def service_with_a_spare(*words: str, agent: str = AGENT) -> Iterator[tuple[Installation, Repository, Spare]]:
    """The running service and one spare machine; its own takes no sessions."""
    with machine(shown=[PYTHON]) as made, installation() as here:
        repository = plain_repository(here.folder / "app", {"README": "hello\n"})
        config = here.folder / "agent-orchestrator.yaml"
        config.write_text(CONFIG.format(path=repository.path, agent=json.dumps(agent)))
        here.start(str(repository.path), "--config", str(config), *gate_for(made))
        assert here.call("PATCH", "/hosts/local/", json={"capacity": 0}).status_code == 200
        with joined(made, here, *words) as spare:
            yield here, repository, spare


def database(here: Installation) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(host=str(here.home / "run" / "postgres"), user="ao", dbname="ao", autocommit=True)


def cli(here: Installation, *words: str) -> subprocess.CompletedProcess[str]:
    """What an administrator types on the service's machine."""
    argv = [sys.executable, "-m", "ops.local.main", *words, "--home", str(here.home)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)


def merged(here: Installation) -> int:
    rows = here.call("GET", "/tasks/", params={"limit": 100}).json()["results"]
    return sum(row["status"] == "merged" for row in rows)


def submit(here: Installation, tasks: int, **more: object) -> None:
    for n in range(tasks):
        wanted = {"project": "app", "title": f"Work {n}", **more}
        assert here.call("POST", "/tasks/", json=wanted).status_code == 201


def each_was_done_once(here: Installation, repository: Repository, spare: Spare, tasks: int) -> None:
    """Nothing was lost, nothing happened twice, nothing is left on the machine or on the way."""
    subjects = Counter(repository.ask("log", "--format=%s", "--no-merges", "main").splitlines())
    done = {name: times for name, times in subjects.items() if name.startswith("Work ")}
    assert done == {f"Work {n}": 1 for n in range(tasks)}
    with database(here) as connection:
        doubles, pulls = connection.execute(
            "SELECT (SELECT count(*) FROM orchestrator_message WHERE deliveries > 1), (SELECT count(*) FROM orchestrator_pullrequest)"
        ).fetchone() or (None, None)
    assert (doubles, pulls) == (0, tasks)
    wait_for(lambda: spare.rooms() == "", "nothing is left there")
    with database(here) as connection:
        wait_for(lambda: _parcels(connection) == 0, "nothing is on the way")


def _parcels(connection: psycopg.Connection[tuple[object, ...]]) -> object:
    counted = connection.execute("SELECT count(*) FROM orchestrator_parcel").fetchone()
    return counted[0] if counted is not None else None


def host(here: Installation, name: str = "spare") -> dict[str, object]:
    found: dict[str, object] = here.call("GET", f"/hosts/{name}/").json()
    return found


def tasks_of(here: Installation) -> list[dict[str, object]]:
    found: list[dict[str, object]] = here.call("GET", "/tasks/", params={"limit": 100}).json()["results"]
    return found


@pytest.mark.timeout(300)
def test_a_task_runs_on_a_machine_that_joined_and_is_merged_here() -> None:
    with service_with_a_spare("--labels", "fast") as (here, repository, spare):
        submit(here, 1, labels=["host:fast"])
        wait_for(lambda: merged(here) == 1, "it is merged")
        assert repository.ask("show", "main:work-0") == spare.machine.name
        each_was_done_once(here, repository, spare, 1)
        shown = spare.machine.inside("ps", "-ww", "-eo", "args=")
        assert "ao-join-" not in shown
        assert spare.machine.inside("stat", "-c", "%a", f"{HOME}/join.json", f"{HOME}/machine.key").split() == [
            "600",
            "600",
        ]

        assert "joined" in spare.must("doctor", "--home", HOME)
        spare.stop()
        wait_for(lambda: host(here)["silent_since"] is not None, "it is shown as silent", seconds=45)
        assert "last heard of" in str(host(here)["trouble"])
        assert cli(here, "host", "drain", "spare").returncode == 0
        assert host(here)["draining"] is True
        assert cli(here, "host", "undrain", "spare").returncode == 0
        assert "worker" in cli(here, "host", "list").stdout
        spare.start()

        assert cli(here, "host", "remove", "spare").returncode == 0
        wait_for(lambda: not spare.machine.processes("ops.local.main worker"), "its worker has ended")
        assert "spare was removed from the service" in spare.log("ao")
        refused = spare.ao("worker", "--home", HOME)
        assert refused.returncode == 1
        assert "make a new link" in refused.stderr


@pytest.mark.timeout(400)
def test_f1_its_worker_is_killed_again_and_again_and_each_task_is_merged_once() -> None:
    with service_with_a_spare() as (here, repository, spare):
        submit(here, 8)
        for kill in range(5):
            time.sleep(0.5 * (kill + 1))  # at another point of its work each time
            spare.kill()
            spare.start()
        wait_for(lambda: merged(here) == 8, "all are merged", seconds=120)
        each_was_done_once(here, repository, spare, 8)


@pytest.mark.timeout(300)
def test_a_stopped_worker_leaves_its_agent_at_work_and_finds_it_again() -> None:
    with service_with_a_spare(
        agent="cat > /dev/null; echo begun > begun; sleep 8; git add .; git commit -qm 'Work 0'"
    ) as (
        here,
        repository,
        spare,
    ):
        submit(here, 1)
        wait_for(lambda: spare.machine.processes("sleep 8"), "the agent works")
        agent = spare.machine.processes("sleep 8")
        spare.stop()
        assert spare.machine.processes("sleep 8") == agent
        spare.start()
        wait_for(lambda: merged(here) == 1, "it is merged")
        each_was_done_once(here, repository, spare, 1)


@pytest.mark.timeout(400)
def test_f4_a_spare_that_is_unplugged_is_succeeded_after_its_agents_are_dead_and_fenced_when_it_is_back() -> None:
    with service_with_a_spare(agent=SLEEPER) as (here, _, spare):
        submit(here, 1)
        wait_for(lambda: spare.machine.processes("sleep 300"), "the agent works")
        spare.machine.unplug()
        wait_for(lambda: host(here)["silent_since"] is not None, "it is shown as silent", seconds=60)
        assert here.call("PATCH", "/hosts/local/", json={"capacity": 1}).status_code == 200

        def succeeded() -> bool:
            there, successor = spare.machine.processes("sleep 300"), here.marked()
            assert not (there and successor), "two agents at once"
            return bool(successor)

        wait_for(succeeded, "it goes on elsewhere", seconds=90)
        assert tasks_of(here)[0]["host"] == "local"

        spare.machine.plug_in()
        wait_for(lambda: host(here)["silent_since"] is None, "it is back")
        wait_for(lambda: spare.rooms() == "", "what was left there is gone")
        assert not spare.machine.processes("sleep 300")
        with database(here) as connection:
            epochs = connection.execute(
                "SELECT host.name, session.epoch, session.ended_at IS NULL FROM orchestrator_session session"
                " JOIN orchestrator_host host ON host.id = session.host_id ORDER BY session.epoch"
            ).fetchall()
        assert epochs == [("spare", 1, False), ("local", 2, True)]


@pytest.mark.timeout(300)
def test_links_that_do_not_open_the_gate_are_refused_in_one_line_and_leave_nothing() -> None:
    with machine(shown=[PYTHON]) as made, installation() as here:
        here.start(*gate_for(made))
        spare = Spare(machine=made, service=here, name="spare")

        def refused(*words: str, code: int = 1, stdin: str = "") -> str:
            done = spare.ao("worker", *words, stdin=stdin)
            assert (done.returncode, done.stdout) == (code, ""), done.stderr
            (line,) = done.stderr.splitlines()
            assert line.startswith("ao: ")
            assert not made.processes("ops.local.main worker")
            return line

        good = parse(link(here, "spare"))
        there = ("--home", HOME)
        assert "this is not a link" in refused("--join", "nonsense", *there, code=2)
        assert "damaged" in refused("--join", good.text()[:-9], *there, code=2)
        assert "not one of this service's" in refused("--join", replace(good, secret="x").text(), *there)
        assert "not one of this service's" in refused("--join", replace(good, host="local").text(), *there)
        assert "somebody is in between" in refused("--join", replace(good, fingerprint="0" * 64).text(), *there)
        assert "cannot be reached" in refused("--join", replace(good, port=1).text(), *there)
        assert "has not joined" in refused(*there)
        assert "is for the machine of the service" in refused("--join", good.text(), "-q", "control", *there, code=2)
        taken = cli(here, "host", "link", "local")
        assert (taken.returncode, taken.stdout) == (1, "")
        assert "local is taken by another host (this machine)" in taken.stderr

        short = parse(link(here, "late", "--minutes", "1"))
        with database(here) as connection:
            connection.execute("UPDATE orchestrator_host SET link_until = now() - interval '1 s' WHERE name = 'late'")
        assert "ran out" in refused("--join", short.text(), *there)

        errors = made.root / str(ROOT / "ops/local/errors.py").lstrip("/")
        errors.write_text(f"{errors.read_text()}# another version\n")
        other = refused("--join", good.text(), *there)
        assert code() in other
        assert other.count("0.1.0 (code ") == 2
        assert "same version" in other
        errors.write_text(errors.read_text().replace("# another version\n", ""))

        done = spare.ao("worker", "--join", "-", "--detach", *there, stdin=f"{good.text()}\n")
        assert done.returncode == 0, done.stderr
        spare.seen()
        assert "already running" in spare.ao("worker", "--join", good.text(), *there).stderr
        assert "by another machine" in spare.ao("worker", "--join", good.text(), "--home", "/var/lib/ao-2").stderr
        again = cli(here, "host", "link", "spare")
        assert "is taken by the machine that joined" in again.stderr
        spare.stop()
