"""`ao demo`: every fate of a task, played to its end by the real processes, and nothing of it left."""

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ops.installed import ROOT, Installation, installation, left_behind, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def place() -> Iterator[Installation]:
    with installation() as made:
        yield made


@pytest.fixture
def begin(place: Installation) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Begins a demo, and answers when its agents are at work."""
    begun: list[subprocess.Popen[bytes]] = []

    def begin() -> subprocess.Popen[bytes]:
        before = agents(place.home)
        words = ["demo", "--home", str(place.home), "--port", "0", "--wait", "--pace", "10"]
        command = [sys.executable, "-m", "ops.local.main", *words]
        begun.append(subprocess.Popen(command, cwd=ROOT, env=place.environment, stdout=subprocess.DEVNULL))
        until(lambda: agents(place.home) - before or begun[-1].poll() is not None, seconds=90)
        assert begun[-1].poll() is None
        return begun[-1]

    yield begin
    for demo in begun:
        demo.kill()
        demo.wait()


def agents(home: Path) -> frozenset[int]:
    return running(home, "agent.py")


def running(home: Path, name: str) -> frozenset[int]:
    """The processes of this home with such a word on their command line."""
    found = left_behind(home)
    return frozenset(process.pid for process in found if any(name in word for word in process.info["cmdline"]))


def test_every_task_comes_to_the_end_that_was_intended_and_nothing_is_left(place: Installation) -> None:
    done = place.ao("demo", "--home", str(place.home), "--port", "0", "--wait", "--json", seconds=280)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["tasks"]
    assert [row["status"] for row in rows] == [row["intended"] for row in rows]
    assert len({row["id"] for row in rows}) == len(rows) >= 12
    ends = Counter(row["status"] for row in rows)
    assert {"merged", "ci_failed", "cancelled", "done", "failed", "review_pending"} == set(ends)
    assert not place.home.exists()
    assert left_behind(place.home) == []


def test_a_killed_demo_is_cleared_away_by_the_next_and_one_that_is_stopped_leaves_nothing(
    place: Installation, begin: Callable[[], subprocess.Popen[bytes]]
) -> None:
    killed = begin()
    killed.kill()
    killed.wait()
    until(lambda: not running(place.home, "ops.local.main"), seconds=60)
    before = agents(place.home)
    stopped = begin()
    assert before
    # hostkit may still have begun an agent of the killed one after that, so what `begin` saw need not be the new one's.
    until(lambda: not before & agents(place.home), seconds=60)
    until(lambda: bool(agents(place.home)), seconds=60)
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(60) == 130
    assert not place.home.exists()
    assert left_behind(place.home) == []


def test_a_folder_that_is_not_a_demos_is_left_alone(place: Installation) -> None:
    place.home.mkdir()
    (place.home / "mine").write_text("not to be lost")
    refused = place.ao("demo", "--home", str(place.home), "--wait")
    assert refused.returncode == 1
    assert "is not empty and not a demo's" in refused.stderr
    assert [path.name for path in place.home.iterdir()] == ["mine"]
