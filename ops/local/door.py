"""The door to Django: prepares the environment that its settings are read from, then loads it."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import django

from ops.local import home as homes
from ops.local import servers as pairs
from ops.local.errors import CannotRun
from ops.local.home import Home
from ops.local.servers import Addresses


def own_servers() -> bool:
    """Tell whether the environment names servers of one's own; both or none, for half a pair is a mistake."""
    named = [name for name in ("DATABASE_URL", "REDIS_URL") if os.environ.get(name)]
    if len(named) == 1:
        missing = ({"DATABASE_URL", "REDIS_URL"} - set(named)).pop()
        raise CannotRun(
            f"{named[0]} is set and {missing} is not. Set both for servers of your own, or none for the embedded ones."
        )
    return bool(named)


def set_environment(home: Home, pair: Addresses | None) -> None:
    """Put into the environment what the settings read."""
    os.environ["AO_HOME"] = str(home.path)
    if pair is not None:
        os.environ.update(DATABASE_URL=pair.database_url, REDIS_URL=pair.redis_url)
    if not os.environ.get("AO_SECRET_KEY"):
        os.environ["AO_SECRET_KEY"] = homes.secret_key(home)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aoweb.settings")


def load(name: str) -> ModuleType:
    """Set Django up and import a module of ours that needs it: neither can be imported before the environment is there."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aoweb.settings")
    django.setup(set_prefix=False)
    return importlib.import_module(name)


@contextmanager
def reachable(home: Home) -> Iterator[None]:
    """Make the servers of a home reachable for one command: one's own, the running ones, or started for its duration."""
    if own_servers():
        set_environment(home, None)
        yield
    elif homes.holder(home):
        set_environment(home, pairs.addresses(home))
        yield
    else:
        with homes.locked(home):
            pair = pairs.start(home)
            try:
                set_environment(home, pair.addresses)
                yield
            finally:
                pair.stop()
