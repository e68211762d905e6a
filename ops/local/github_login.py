"""What we log in to GitHub with, where nobody set it: the login that `gh` keeps for its user."""

import os
import shutil
import subprocess


def adopt() -> bool:
    """Let the login of `gh` be GITHUB_TOKEN for this process and all that it starts, unless that is set. Says whether it was taken.

    The workers read the environment long after the repository was registered, so that one login must serve for both."""
    if os.environ.get("GITHUB_TOKEN") or shutil.which("gh") is None:
        return False
    host = os.environ.get("GH_HOST") or "github.com"
    try:
        told = subprocess.run(
            ["gh", "auth", "token", "--hostname", host], capture_output=True, text=True, check=False, timeout=10,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    token = told.stdout.strip()
    if told.returncode != 0 or not token or not token.isascii() or len(token.split()) != 1:
        return False
    os.environ["GITHUB_TOKEN"] = token
    return True
