"""One pair of embedded servers for each pytest process: every test that needs a database has a real one.

Loaded by `-p tests.servers`, before Django's settings are read. DATABASE_URL and REDIS_URL of the environment, when both are
set, are used instead.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ops.local import home as homes
from ops.local import servers

STARTED = pytest.StashKey[ExitStack]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Start the servers, set the addresses."""
    stack = ExitStack()
    early_config.stash[STARTED] = stack
    os.environ["AO_SECRET_KEY"] = secrets.token_urlsafe(64)
    folder = Path(tempfile.mkdtemp(prefix="ao-test-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    os.environ["AO_HOME"] = str(folder)
    if not (os.environ.get("AO_TEST_DATABASE_URL") and os.environ.get("AO_TEST_REDIS_URL")):
        if not asks_nothing(early_config):
            start_pair(folder, stack)
        else:
            os.environ.update(DATABASE_URL="postgresql:///unused", REDIS_URL="unix:///unused")
    else:
        os.environ.update(DATABASE_URL=os.environ["AO_TEST_DATABASE_URL"], REDIS_URL=os.environ["AO_TEST_REDIS_URL"])
    return (yield)


def asks_nothing(config: pytest.Config) -> bool:
    """Tell whether this process runs no test itself: it only hands them out to others, or lists them."""
    options = config.known_args_namespace
    hands_out = getattr(options, "numprocesses", None) not in {None, 0} or bool(getattr(options, "tx", None))
    return (hands_out and "PYTEST_XDIST_WORKER" not in os.environ) or getattr(options, "help", False)


def start_pair(folder: Path, stack: ExitStack) -> None:
    """Start Postgres and Valkey in a folder of their own, which they share with nobody."""
    home = homes.prepare(folder)
    stack.enter_context(homes.locked(home))
    pair = servers.start(home, durable=False)
    stack.callback(pair.stop)
    os.environ.update(DATABASE_URL=pair.addresses.database_url, REDIS_URL=pair.addresses.redis_url)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers, remove their folder."""
    stack = config.stash.get(STARTED, None)
    if stack is not None:
        stack.close()
