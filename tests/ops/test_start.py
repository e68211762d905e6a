"""`ao start` and `ao stop`: one command brings everything up, and whatever is killed comes back."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.ops.installed import Installation, installation, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def running() -> Iterator[Installation]:
    with installation() as made:
        made.start()
        yield made


@pytest.fixture
def fresh() -> Iterator[Installation]:
    with installation() as made:
        yield made


def repository(folder: Path) -> Path:
    path = folder / "shop"
    path.mkdir()
    (path / "Makefile").write_text("test:\n\ttrue\n")
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", *words], cwd=path, check=True)
    return path


def test_it_answers_on_its_port_and_its_token_opens_the_api(running: Installation) -> None:
    assert running.get("/healthz")[0] == 200
    status, body = running.get("/api/v1/projects/")
    assert status == 200
    assert json.loads(body)["results"] == []


def test_a_second_start_on_the_same_home_names_the_process_and_the_home(running: Installation) -> None:
    refused = running.ao("start", "--home", str(running.home), "--port", "0")
    assert refused.returncode == 1
    assert f"already running: process {running.supervisor().pid} holds {running.home}" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("name", ["web", "control", "host", "beat"])
def test_a_killed_process_comes_back(running: Installation, name: str) -> None:
    supervisor = running.supervisor()
    log = running.home / "logs" / "ao.log"
    before = {child.pid for child in supervisor.children()}
    victim = next(
        child
        for child in supervisor.children()
        if child.environ().get("AO_PROCESS", "") in {"", f"ao-{name}"} and log_of(child) == f"{name}.log"
    )
    victim.kill()
    until(lambda: len({child.pid for child in supervisor.children() if child.is_running()} - before) == 1)
    until(lambda: running.get("/healthz")[0] == 200)
    assert f"program={name}" in log.read_text()


def log_of(process: psutil.Process) -> str:
    return Path(f"/proc/{process.pid}/fd/1").resolve().name


def test_killed_servers_come_back_with_what_was_accepted(running: Installation) -> None:
    before = running.get("/api/v1/projects/")
    for child in running.supervisor().children():
        if Path(child.exe()).name in {"postgres", "valkey-server"}:
            child.kill()
    until(lambda: running.get("/api/v1/projects/") == before)


def test_a_repository_is_registered_and_what_was_chosen_is_said_and_a_second_start_goes_on(
    fresh: Installation, tmp_path: Path
) -> None:
    path = repository(tmp_path)
    first = fresh.start(str(path))
    assert set(first) == {"url", "login_url", "token"}
    projects = json.loads(fresh.get("/api/v1/projects/")[1])["results"]
    assert [project["key"] for project in projects] == ["shop"]
    assert fresh.stop() == "stopped\n"
    assert fresh.ao("stop", "--home", str(fresh.home)).stdout.startswith("nothing is running")
    again = fresh.start(str(path))
    assert again["token"] == first["token"]
    assert again["login_url"] != first["login_url"]
    assert len(json.loads(fresh.get("/api/v1/projects/")[1])["results"]) == 1


def test_everything_killed_at_once_leaves_nothing_running_and_the_next_start_goes_on(fresh: Installation) -> None:
    fresh.start()
    processes = fresh.processes()
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    for process in processes:
        process.kill()
    until(lambda: not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes))
    fresh.start()
    assert fresh.get("/healthz")[0] == 200


def test_a_killed_supervisor_takes_its_processes_with_it(fresh: Installation) -> None:
    fresh.start()
    processes = fresh.processes()
    processes[0].kill()
    until(lambda: not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes))


def test_a_taken_port_is_named_with_the_way_out(fresh: Installation) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = fresh.ao("start", "--home", str(fresh.home), "--port", str(port))
    assert refused.returncode == 1
    assert (
        f"port {port} on 127.0.0.1 cannot be used: Address already in use. Choose another with --port N"
        in refused.stderr
    )


def test_what_is_no_repository_is_said_before_anything_is_started(fresh: Installation, tmp_path: Path) -> None:
    for words in ([], ["--detach"]):
        refused = fresh.ao("start", str(tmp_path), *words, "--home", str(fresh.home), "--port", "0")
        assert refused.returncode == 1
        assert (
            refused.stderr
            == f"ao: {tmp_path} is not a git repository. Make it one (git init, a first commit), or give another.\n"
        )
    assert not (fresh.home / "data" / "postgres").exists()


def test_half_a_pair_of_servers_of_ones_own_is_a_mistake(fresh: Installation) -> None:
    fresh.environment["DATABASE_URL"] = "postgresql://ao@localhost/ao"
    refused = fresh.ao("start", "--home", str(fresh.home), "--port", "0")
    assert refused.returncode == 1
    assert "DATABASE_URL is set and REDIS_URL is not" in refused.stderr


def test_doctor_finds_a_machine_that_works(fresh: Installation) -> None:
    examined = fresh.ao("doctor", "--home", str(fresh.home), "--port", "0")
    assert examined.returncode == 0, examined.stdout
    assert "PostgreSQL" in examined.stdout
    assert "valkey-server" in examined.stdout


def test_doctor_calls_a_taken_port_wrong(fresh: Installation) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        examined = fresh.ao("doctor", "--home", str(fresh.home), "--port", str(taken.getsockname()[1]))
    assert examined.returncode == 1
    assert "WRONG port" in examined.stdout


def test_the_client_s_commands_stand_beside_the_machine_s_and_find_the_running_service(running: Installation) -> None:
    told = running.ao("status", "--home", str(running.home))
    assert (told.returncode, told.stdout) == (0, "no tasks\n"), told.stderr
