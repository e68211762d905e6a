"""The very commands of docker-compose.yml, started one by one on servers of one's own, and their health checks."""

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from ops.local import home as homes
from ops.local import servers
from tests.ops.installed import ROOT, left_behind, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
LASTING = ("web", "control", "host", "beat", "flower")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="ao-c-", ignore_cleanup_errors=True) as folder, ExitStack() as stack:
        Path(folder).chmod(0o711)
        home = homes.prepare(Path(folder) / "servers")
        stack.enter_context(homes.locked(home))
        pair = servers.start(home, durable=False)
        stack.callback(pair.stop)
        yield os.environ | {
            "DATABASE_URL": pair.addresses.database_url,
            "REDIS_URL": pair.addresses.redis_url,
            "AO_SECRET_KEY": "s" * 60,
            "AO_HOME": str(Path(folder) / "home"),
            "AO_PORT": str(free_port()),
            "AO_FLOWER_SOCKET": str(Path(folder) / "flower.sock"),
            "AO_FLOWER_AUTH": "ao:only-for-this-test",
        }
        for process in left_behind(Path(folder)):
            process.kill()


def words(asked: list[str], environment: Mapping[str, str]) -> list[str]:
    """A container's command, with this test's Python and socket in the places of the container's."""
    return [
        sys.executable,
        *(environment["AO_FLOWER_SOCKET"] if word.endswith("flower.sock") else word for word in asked[1:]),
    ]


@pytest.fixture(scope="module")
def started(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    migrated = subprocess.run(
        words(COMPOSE["migrate"]["command"], environment),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert migrated.returncode == 0, migrated.stderr
    logs = tmp_path_factory.mktemp("logs")
    with ExitStack() as stack:
        for name in LASTING:
            log = stack.enter_context((logs / name).open("wb"))
            process = subprocess.Popen(
                words(COMPOSE[name]["command"], environment), cwd=ROOT, env=environment, stdout=log, stderr=log
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
        yield migrated.stdout


def test_the_migration_prints_a_login_link(started: str) -> None:
    assert re.search(r"log in once: http://localhost:\d+/login/\S+", started)


@pytest.mark.parametrize("name", LASTING)
def test_each_container_becomes_healthy_by_its_own_check(started: str, environment: dict[str, str], name: str) -> None:
    del started
    check = words(COMPOSE[name]["healthcheck"]["test"][1:], environment)
    until(
        lambda: subprocess.run(check, cwd=ROOT, env=environment, capture_output=True, check=False).returncode == 0,
        seconds=90,
    )
