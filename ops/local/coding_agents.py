"""The real programs of coding agents for the agents' stage of the tests: pinned, installed on demand, kept beside the environment."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The newest that runs on Node 20, the oldest Node that is still around.
CLAUDE_CODE = "2.1.197"
_PLATFORMS = {
    ("linux", "x86_64"): "linux-x64",
    ("linux", "aarch64"): "linux-arm64",
    ("darwin", "arm64"): "darwin-arm64",
}


def claude_code() -> Path | None:
    """The installed program, or None."""
    found = _program()
    return found if found is not None and found.is_file() else None


def install_claude_code() -> Path | None:
    """Install the program unless it is there; None, said loudly, where that cannot be done."""
    if claude_code() is None:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.which("npm") is None:
            return _cannot("npm is not installed")
        words = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder)]
        print(f"== installing @anthropic-ai/claude-code@{CLAUDE_CODE}", flush=True)
        done = subprocess.run([*words, f"@anthropic-ai/claude-code@{CLAUDE_CODE}"], check=False, timeout=300)
        if done.returncode != 0:
            return _cannot("npm could not install it")
    return claude_code() or _cannot(f"it has no program for {sys.platform} {platform.machine()}")


def _folder() -> Path:
    return ROOT / ".venv" / "agents" / f"claude-code-{CLAUDE_CODE}"


def _program() -> Path | None:
    """The program itself and not its launcher, which a kill would leave it behind."""
    kind = _PLATFORMS.get((sys.platform, platform.machine()))
    return _folder() / "node_modules" / "@anthropic-ai" / f"claude-code-{kind}" / "claude" if kind is not None else None


def _cannot(why: str) -> None:
    print(f"!! Claude Code is not there: {why}. The tests with the real program are SKIPPED", flush=True)
