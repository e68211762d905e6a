"""docker-compose.yml: what a team installation runs is what `ao` runs, and nothing but the web is published."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from ops.local.main import app

ROOT = Path(__file__).resolve().parents[2]
OURS = ("migrate", "web", "control", "host", "beat", "flower")


@pytest.fixture(scope="module")
def services() -> Mapping[str, Any]:
    parsed: Mapping[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return parsed


def commands(services: Mapping[str, Any]) -> list[list[str]]:
    asked = [services[name]["command"] for name in OURS]
    checked = [services[name]["healthcheck"]["test"][1:] for name in OURS if name != "migrate"]
    return [*asked, *checked]


def test_it_runs_every_process_of_the_service_and_its_two_servers(services: Mapping[str, Any]) -> None:
    assert set(services) == {*OURS, "postgres", "redis"}


def test_nothing_is_published_but_the_web_and_that_on_this_machine_only_by_default(services: Mapping[str, Any]) -> None:
    assert {name for name, service in services.items() if service.get("ports")} == {"web"}
    assert services["web"]["ports"] == ["${AO_PUBLISH:-127.0.0.1:3000}:3000"]


def test_every_lasting_container_has_a_health_check(services: Mapping[str, Any]) -> None:
    assert {name for name, service in services.items() if "healthcheck" not in service} == {"migrate"}


def test_every_command_is_one_that_ao_has(services: Mapping[str, Any]) -> None:
    for command in commands(services):
        assert command[:3] == ["python", "-m", "ops.local.main"]
        told = CliRunner().invoke(app, [*command[3:5], "--help"])
        assert told.exit_code == 0, command


def test_no_secret_has_a_default(services: Mapping[str, Any]) -> None:
    environment = services["web"]["environment"]
    assert environment["AO_SECRET_KEY"].startswith("${AO_SECRET_KEY:?")
    assert "${POSTGRES_PASSWORD:?" in environment["DATABASE_URL"]


def test_the_image_copies_what_the_commands_import() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY") for word in shlex.split(line)[1:-1]}
    assert {"aoweb", "orchestrator", "workers", "ops", "requirements.lock", "manage.py"} <= copied
    assert any(re.match(r"USER (?!root)", line) for line in lines)


def test_the_units_run_the_same_commands() -> None:
    unit = (ROOT / "ops" / "systemd" / "ao@.service").read_text()
    assert "-m ops.local.main run %i" in unit
    # A stop of a worker must not end the agents it started.
    assert "KillMode=process" in unit


def test_the_unit_of_a_spare_machine_goes_on_with_what_it_joined_and_ends_no_agent() -> None:
    unit = (ROOT / "ops" / "systemd" / "ao-spare.service").read_text()
    assert "-m ops.local.main worker\n" in unit
    assert "KillMode=process" in unit
