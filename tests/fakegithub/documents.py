"""GitHub's published documents, fetched from the npm registry when a test first needs them, and kept."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLSchema, build_schema

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agent-orchestrator-tests"
# Package, version, and the part of it that we read: some are hundreds of megabytes.
OPENAPI = ("@octokit/openapi", "23.0.2", "generated/api.github.com.json")
SCHEMA = ("@octokit/graphql-schema", "15.26.1", "schema.graphql")
WEBHOOKS = ("@octokit/webhooks-examples", "7.6.1", "api.github.com/index.json")


def path_of(document: tuple[str, str, str]) -> Path:
    """The file of a document. Without npm the test is skipped, loudly."""
    package, version, member = document
    kept = CACHE / f"{package.replace('/', '-').lstrip('@')}-{version}-{Path(member).name}"
    if kept.exists():
        return kept
    if shutil.which("npm") is None:
        pytest.skip(
            "NO NPM: nothing is tested against GitHub's published documents here. Install one: apt-get install npm"
        )
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test process may be at it
        if not kept.exists():
            _fetch(f"{package}@{version}", f"package/{member}", kept)
    return kept


def _fetch(spec: str, member: str, kept: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        packed = subprocess.run(
            ["npm", "pack", "--silent", spec], cwd=folder, check=True, stdout=subprocess.PIPE, text=True, timeout=120
        )
        with tarfile.open(Path(folder) / packed.stdout.split()[-1]) as archive:
            found = archive.extractfile(member)
            assert found is not None
            fresh = Path(folder) / "member"
            with fresh.open("wb") as file:
                shutil.copyfileobj(found, file)
        fresh.rename(kept)


@functools.cache
def openapi() -> dict[str, Any]:
    """The OpenAPI document of GitHub's REST API."""
    return dict(json.loads(path_of(OPENAPI).read_text()))


@functools.cache
def schema() -> GraphQLSchema:
    """The schema of GitHub's GraphQL API."""
    return build_schema(path_of(SCHEMA).read_text(), assume_valid=True)
