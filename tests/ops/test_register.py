"""What `ao start PATH` finds in a repository, and each way in which one cannot be used."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ops.local import register
from ops.local.errors import CannotRun


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "shop"
    path.mkdir()
    git(path, "init", "-q")
    (path / "README").write_text("a shop\n")
    git(path, "add", "README")
    git(path, "commit", "-qm", "first")
    return path


def test_a_plain_repository_is_its_own_remote_and_its_branch_the_default_one(repository: Path) -> None:
    git(repository, "checkout", "-qb", "trunk")
    found = register.look(str(repository))
    assert (found.key, found.remote, found.checkout) == ("shop", str(repository), str(repository))
    assert found.default_branch == "trunk"


def test_a_folder_inside_a_repository_means_the_repository(repository: Path) -> None:
    (repository / "src").mkdir()
    assert register.look(str(repository / "src")).remote == str(repository)


def test_with_an_origin_that_is_the_remote_and_its_default_branch_counts(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(repository), "central.git")
    git(repository, "remote", "add", "origin", str(tmp_path / "central.git"))
    git(repository, "checkout", "-qb", "mine")
    found = register.look(str(repository))
    assert (found.key, found.remote) == ("central", str(tmp_path / "central.git"))
    assert (found.default_branch, found.checkout) == ("main", str(repository))


def test_a_file_url_is_a_path(repository: Path) -> None:
    assert register.look(f"file://{repository}").remote == str(repository)


def test_uncommitted_changes_are_allowed_and_noted(repository: Path) -> None:
    (repository / "README").write_text("changed\n")
    assert "1 uncommitted change(s)" in register.look(str(repository)).notes[0]


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="does not exist"):
        register.look(str(tmp_path / "nothing"))


def test_a_folder_without_a_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="is not a git repository"):
        register.look(str(tmp_path))


def test_a_repository_without_a_commit_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    with pytest.raises(CannotRun, match="has no commits yet"):
        register.look(str(tmp_path))


def test_a_detached_head_is_refused_with_the_way_out(repository: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    with pytest.raises(CannotRun, match=r"has a detached HEAD.*checkout BRANCH"):
        register.look(str(repository))


def test_a_head_that_names_no_branch_is_refused(repository: Path) -> None:
    git(repository, "symbolic-ref", "HEAD", "refs/heads/elsewhere")
    with pytest.raises(CannotRun, match="has no default branch: its HEAD names elsewhere"):
        register.look(str(repository))


def test_an_origin_that_cannot_be_reached_is_refused(repository: Path, tmp_path: Path) -> None:
    git(repository, "remote", "add", "origin", str(tmp_path / "gone.git"))
    with pytest.raises(CannotRun, match=r"gone\.git cannot be used"):
        register.look(str(repository))


def test_a_login_in_an_address_is_never_shown() -> None:
    assert register.without_login("https://me:secret@example.com/a.git") == "https://example.com/a.git"


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"pytest.ini": "[pytest]\n"}, "python3 -m pytest -q"),
        ({"pyproject.toml": "[tool.pytest.ini_options]\n"}, "python3 -m pytest -q"),
        ({"package.json": '{"scripts": {"test": "vitest run"}}'}, "npm test"),
        ({"package.json": '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'}, None),
        ({"Cargo.toml": ""}, "cargo test"),
        ({"go.mod": "module a\n"}, "go test ./..."),
        ({"Makefile": "all:\n\ttrue\ntest: all\n\ttrue\n"}, "make test"),
        ({"Makefile": "latest:\n\ttrue\n"}, None),
        ({"test_a.py": "import unittest\n"}, "python3 -m unittest discover -q"),
        ({"test_a.py": "def test_a(): pass\n"}, "python3 -m pytest -q"),
        ({"package.json": "not json", "pyproject.toml": "not = [toml"}, None),
        ({}, None),
    ],
)
def test_the_test_command_is_found_or_openly_not_required(
    repository: Path, files: dict[str, str], command: str | None
) -> None:
    for name, text in files.items():
        (repository / name).write_text(text)
    found = register.look(str(repository))
    assert found.test_command == command
    wanted = {"checks": {"tests": command}} if command else {"requiredChecks": []}
    assert found.scm == {"plugin": "local"} | wanted
    assert any(command in line if command else "requiredChecks: []" in line for line in found.told("shop"))


def test_the_first_installed_agent_is_chosen_and_none_says_how_to_get_one(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    git_program = shutil.which("git")
    assert git_program is not None
    (programs / "git").symlink_to(git_program)
    monkeypatch.setenv("PATH", str(programs))
    none = register.look(str(repository))
    assert none.agent({"command"}) == ("command", {})
    assert any("none is installed" in line and "npm install" in line for line in none.told("shop"))
    (programs / "codex").write_text("#!/bin/sh\n")
    (programs / "codex").chmod(0o755)
    some = register.look(str(repository))
    assert some.agent({"command", "codex"}) == ("codex", {})
    assert some.agent({"command"})[0] == "command"
    assert "codex" in str(some.agent({"command"})[1]["command"])
    (programs / "claude").write_text("#!/bin/sh\n")
    (programs / "claude").chmod(0o755)
    both = register.look(str(repository))
    # Its sandbox shows the system's programs, and others where they are named by their path.
    assert both.agent({"command", "claude-code"}) == ("claude-code", {"program": str(programs / "claude")})
    assert both.agent({"command"})[1]["command"].startswith("claude -p")


def on_github() -> register.Found:
    return register.Found(
        key="demo",
        name="demo",
        remote="https://github.com/acme/demo.git",
        checkout="",
        default_branch="main",
        test_command="make test",
        programs=("claude-code",),
    )


def test_a_repository_on_github_uses_github_once_there_is_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_x")
    assert on_github().scm == {"plugin": "github"}
    assert any("GitHub, with its own pull requests" in line for line in on_github().told("demo"))
    monkeypatch.delenv("GITHUB_TOKEN")
    assert on_github().scm["plugin"] == "local"
    assert any("own with GITHUB_TOKEN" in line for line in on_github().told("demo"))
