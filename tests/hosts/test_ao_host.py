"""`ao host` as a person at the terminal has it: from a bare machine to a first run, and every way in which that is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from typer.testing import CliRunner, Result

from ops.local.main import app
from orchestrator.domain.addresses import fingerprint
from orchestrator.models import Host
from orchestrator.services import accounts
from tests.hosts.machines import Machine, machine, needs_machines
from tests.installation import Installation, installation, plain_repository, wait_for
from tests.web.client import superuser

pytestmark = [pytest.mark.root, needs_machines]
CONFIG = """
projects:
  app:
    path: {path}
    agent: command
    agentConfig: {{command: [/bin/sh, -c, "cat > /dev/null; hostname > WHERE; git add WHERE; git commit -qm 'Say where'"]}}
    scm: {{plugin: local, requiredChecks: []}}
"""


class Shell:
    """Runs `ao` as a person would whose home knows the service. Nobody is at the terminal."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.runner = CliRunner()

    def __call__(self, *words: str) -> Result:
        clean = {"AO_HOME": str(self.home), "AO_URL": "", "AO_TOKEN": "", "COLUMNS": "200", "HOME": str(self.home)}
        return self.runner.invoke(app, list(words), env={**clean, "SSH_AUTH_SOCK": ""})


@pytest.fixture
def ao(live_server: Any, tmp_path: Path) -> Shell:
    token = accounts.issue_token(user=superuser(), name="cli", scope="write", now=timezone.now())
    (tmp_path / "client.json").write_text(json.dumps({"url": live_server.url, "token": token}))
    return Shell(tmp_path)


@pytest.fixture
def spare() -> Iterator[Machine]:
    with machine() as made:
        yield made


def refused(result: Result, *words: str) -> None:
    """Exit code 1, and the last line on standard error says why; no host was added."""
    assert result.exit_code == 1, result.output
    line = result.stderr.strip().splitlines()[-1]
    assert all(word in line for word in words), line
    assert not Host.objects.filter(kind="ssh").exists()


def nothing_left(made: Machine) -> bool:
    return made.inside("sh", "-c", "ls -A /home/agent; ls -A /var/lib | grep ao-host || :") == ""


@pytest.mark.django_db(transaction=True)
def test_a_machine_is_added_with_its_key_pinned_shown_and_removed(ao: Shell, spare: Machine) -> None:
    address = f"agent@{spare.address}"

    added = ao(
        "host",
        "add",
        address,
        "--key",
        str(spare.key),
        "--yes",
        "--labels",
        "fast, big",
        "--slots",
        "3",
        "--name",
        "spare",
    )

    assert added.exit_code == 0, added.output
    row = Host.objects.get(name="spare")
    assert (row.kind, row.address, row.capacity, row.labels) == ("ssh", address, 3, ["fast", "big"])
    assert row.host_key == spare.host_key
    assert fingerprint(spare.host_key) in added.stdout
    assert fingerprint(spare.host_key) in added.stderr
    assert "spare" in ao("host", "list").stdout
    assert ao("host", "drain", "spare").exit_code == 0
    assert Host.objects.get(name="spare").draining
    assert ao("host", "undrain", "spare").exit_code == 0
    assert not Host.objects.get(name="spare").draining
    assert not nothing_left(spare)

    assert ao("host", "remove", "spare").stdout == "removed spare\n"

    assert nothing_left(spare), spare.inside("sh", "-c", "ls -lAR /home/agent /var/lib | grep -A3 ao-host || :")
    assert "spare" not in ao("host", "list").stdout


@pytest.mark.django_db(transaction=True)
def test_f25_nobody_there_to_look_at_the_key_is_told_how_to_pin_it(ao: Shell, spare: Machine) -> None:
    address = f"agent@{spare.address}"
    shown = fingerprint(spare.host_key)

    refused(ao("host", "add", address, "--key", str(spare.key)), f"--fingerprint {shown}", "--yes")
    refused(ao("host", "add", address, "--key", str(spare.key), "--fingerprint", "SHA256:other"), shown, "SHA256:other")
    assert nothing_left(spare), spare.inside("sh", "-c", "ls -lAR /home/agent /var/lib | grep -A3 ao-host || :")

    assert ao("host", "add", address, "--key", str(spare.key), "--fingerprint", shown).exit_code == 0


@pytest.mark.django_db(transaction=True)
def test_t18_a_key_that_opens_nothing_or_that_others_may_read_is_refused(
    ao: Shell, spare: Machine, tmp_path: Path
) -> None:
    address = f"agent@{spare.address}"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "words", "-f", str(tmp_path / "closed")], check=True)
    (tmp_path / "open").write_bytes(spare.key.read_bytes())
    (tmp_path / "open").chmod(0o644)

    refused(ao("host", "add", address, "--yes", "--key", str(tmp_path / "other")), "does not accept", "authorized_keys")
    refused(ao("host", "add", address, "--yes", "--key", str(tmp_path / "closed")), "passphrase")
    refused(ao("host", "add", address, "--yes", "--key", str(tmp_path / "open")), "chmod 600")
    refused(ao("host", "add", address, "--yes", "--key", str(tmp_path / "none")), "cannot be read")
    refused(ao("host", "add", address, "--yes"), "has no SSH key")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("missing", "words"), [("python3", "apt install python3"), ("git", "apt install git")])
def test_a_machine_without_what_it_needs_is_named_with_what_is_missing(ao: Shell, missing: str, words: str) -> None:
    with machine(missing=[missing]) as bare:
        refused(ao("host", "add", f"agent@{bare.address}", "--yes", "--key", str(bare.key)), bare.address, words)
        assert nothing_left(bare)


@pytest.mark.django_db(transaction=True)
def test_f17_a_machine_without_room_is_refused(ao: Shell, spare: Machine) -> None:
    spare.fill(leave=50_000_000)

    refused(ao("host", "add", f"agent@{spare.address}", "--yes", "--key", str(spare.key)), "MB free", "make room")
    assert nothing_left(spare), spare.inside("sh", "-c", "ls -lAR /home/agent /var/lib | grep -A3 ao-host || :")

    spare.make_room()
    spare.fill()
    refused(ao("host", "add", f"agent@{spare.address}", "--yes", "--key", str(spare.key)), "No space left")


@pytest.mark.django_db(transaction=True)
def test_a_machine_that_does_not_answer_is_said_to(ao: Shell, spare: Machine) -> None:
    spare.kill_sshd()

    refused(ao("host", "add", f"agent@{spare.address}", "--yes"), spare.address, "refused")
    assert ao("host", "add", "spare").exit_code != 0


def _ao(here: Installation, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ops.local.main", *words, "--home", str(here.home)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.e2e
def test_t20_from_a_bare_machine_to_a_first_run_and_back_to_a_bare_machine(spare: Machine) -> None:
    with installation() as here:
        repository = plain_repository(here.folder / "app", {"README": "hello\n"})
        config = here.folder / "agent-orchestrator.yaml"
        config.write_text(CONFIG.format(path=repository.path))
        here.start(str(repository.path), "--config", str(config))

        _ao(
            here,
            "host",
            "add",
            f"agent@{spare.address}",
            "--key",
            str(spare.key),
            "--yes",
            "--name",
            "spare",
            "--labels",
            "fast",
        )
        _ao(here, "spawn", "Say where you are", "--label", "host:fast")

        def task() -> dict[str, Any]:
            found: dict[str, Any] = here.call("GET", "/tasks/").json()["results"][0]
            return found

        wait_for(lambda: task()["status"] in {"review_pending", "mergeable", "failed", "stuck"}, "the change is there")
        assert (task()["status"], task()["host"]) == ("review_pending", "spare"), task()
        assert repository.ask("show", f"{task()['branch']}:WHERE") == spare.name

        assert here.call("POST", f"/tasks/{task()['id']}/cancel/", json={}).status_code == 202
        wait_for(lambda: here.call("GET", "/hosts/spare/").json()["live_sessions"] == 0, "its session is over")
        wait_for(lambda: not spare.inside("sh", "-c", "ls /home/agent/.ao-host/*/rooms"), "its room is gone")
        _ao(here, "host", "remove", "spare")
        wait_for(lambda: not spare.processes("sshd: agent"), "it is cut off", seconds=10)
        assert nothing_left(spare), spare.inside("sh", "-c", "ls -lAR /home/agent /var/lib | grep -A3 ao-host || :")
