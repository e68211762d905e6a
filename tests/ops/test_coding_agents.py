"""The agents' stage where its programs cannot be had: left out, and said loudly."""

from pathlib import Path

import pytest

from ops.local import check, coding_agents
from ops.local.errors import CannotRun


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing installed."""
    monkeypatch.setattr(coding_agents, "_FOLDER", tmp_path / "agents")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_without_npm_the_stage_is_skipped_and_says_what_is_missing(
    nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert coding_agents.claude_code() is None
    assert check.agents_stage() == 0
    assert "!! Claude Code cannot be installed: there is no npm." in capsys.readouterr().out


def test_an_installation_that_fails_names_what_could_not_be_installed(nowhere: Path) -> None:
    (nowhere / "npm").write_text("#!/bin/sh\nexit 7\n")
    (nowhere / "npm").chmod(0o755)
    with pytest.raises(CannotRun, match=f"Claude Code {coding_agents.CLAUDE_CODE} cannot be installed"):
        coding_agents.install_claude_code()
