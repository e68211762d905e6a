"""Configuration files as teams have them: one project, several projects, merging by itself."""

from __future__ import annotations

from pathlib import Path

NAMES = ("single-project", "multi-project", "auto-merge")
ENV = {
    "SLACK_WEBHOOK_URL": "https://hooks.example.com/secret-part",
    "NPM_TOKEN": "npm-secret",
    "HOME": "/home/secret-home",
}


def text_of(name: str) -> str:
    """The file, to the byte."""
    return (Path(__file__).parent / f"{name}.yaml").read_text()
