"""The real programs of coding agents for the agents' stage of the tests: pinned, installed on demand, kept beside the environment."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

from ops.local.errors import CannotRun

ROOT = Path(__file__).resolve().parents[2]
CLAUDE_CODE = "2.1.197"  # the newest that runs on Node 20
_PLATFORMS = {
    ("linux", "x86_64"): "linux-x64",
    ("linux", "aarch64"): "linux-arm64",
    ("darwin", "arm64"): "darwin-arm64",
}
_FOLDER = ROOT / ".venv" / "agents" / f"claude-code-{CLAUDE_CODE}"


def claude_code() -> Path | None:
    """The installed program, or None. It is the program itself and not its launcher, which a kill would leave it behind."""
    kind = _PLATFORMS.get((sys.platform, platform.machine()))
    program = _FOLDER / "node_modules" / "@anthropic-ai" / f"claude-code-{kind}" / "claude"
    return program if program.is_file() else None


def install_claude_code() -> Path:
    """Install the program unless it is there. Raises `CannotRun` with what is missing."""
    if (found := claude_code()) is not None:
        return found
    if shutil.which("npm") is None:
        raise CannotRun("Claude Code cannot be installed: there is no npm. Install Node.js 20 or newer.")
    _FOLDER.mkdir(parents=True, exist_ok=True)
    print(f"== installing Claude Code {CLAUDE_CODE}", flush=True)
    words = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(_FOLDER)]
    done = subprocess.run([*words, f"@anthropic-ai/claude-code@{CLAUDE_CODE}"], check=False, timeout=300)
    found = claude_code()
    if done.returncode != 0 or found is None:
        raise CannotRun(f"Claude Code {CLAUDE_CODE} cannot be installed for {sys.platform} {platform.machine()}.")
    return found
