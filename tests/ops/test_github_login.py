"""The login of `gh` serves the whole service, where GITHUB_TOKEN is not set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ops.local import github_login, register

REPOSITORY = "https://github.com/acme/demo.git"


@pytest.fixture
def gh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `gh` on the PATH that is logged in to github.com alone; the file that it gives the token from."""
    token = tmp_path / "token"
    token.write_text("gho_of_gh\n")
    program = tmp_path / "gh"
    program.write_text(f'#!/bin/sh\n[ "$*" = "auth token --hostname github.com" ] && exec cat {token}\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("GITHUB_TOKEN", "")
    monkeypatch.delenv("GH_HOST", raising=False)
    return token


def test_the_login_of_gh_is_what_the_workers_read_later(gh: Path) -> None:
    assert github_login.adopt()
    assert os.environ["GITHUB_TOKEN"] == gh.read_text().strip()
    assert register.token(REPOSITORY) == "gho_of_gh"


def test_a_token_that_was_set_stays(gh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_mine")
    assert not github_login.adopt()
    assert os.environ["GITHUB_TOKEN"] == "ghp_mine"


@pytest.mark.parametrize("said", ["", "two words", "a\nb"])
def test_what_is_no_token_is_not_taken(gh: Path, said: str) -> None:
    gh.write_text(said)
    assert not github_login.adopt()
    assert os.environ["GITHUB_TOKEN"] == ""


def test_an_enterprise_server_is_asked_for_by_its_name(gh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GH_HOST", "github.example.com")
    assert not github_login.adopt()


def test_no_other_host_is_shown_the_token(gh: Path) -> None:
    github_login.adopt()
    assert register.token("https://git.example.com/acme/demo.git") is None
    assert register.token("git@github.com:acme/demo.git") is None
