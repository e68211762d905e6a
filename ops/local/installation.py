"""What an installation needs in its database before it serves: tables, an owner, this machine, the repository.

Runs in a process of its own (see `ops.local.start`), because it opens connections that no forked sibling may share.
"""

import json
import socket
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.urls import reverse
from django.utils import timezone

from ops.local import postgres
from ops.local.crossing import POSTGRES
from ops.local.errors import CannotRun
from ops.local.gate import certificate, servers
from ops.local.home import Home, write_private
from orchestrator.models import ApiToken
from orchestrator.services import accounts, projects, spares

OURS = ("orchestrator", "aoweb")
LINK_LIVES = timedelta(hours=1)
LOCAL_SESSIONS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What the person who started the service is told."""

    url: str
    login_url: str
    token: str

    def as_json(self) -> str:
        """The one line of `--json`."""
        return json.dumps(asdict(self))


def migrate() -> None:
    """Bring the tables up to date; tables of a newer version are refused, for we would misread them."""
    executor = MigrationExecutor(connection)
    known = executor.loader.disk_migrations
    unknown = sorted(
        name for app, name in executor.loader.applied_migrations if app in OURS and (app, name) not in known
    )
    if unknown:
        raise CannotRun(
            f"the database was written by a newer version (it has {unknown[-1]}, unknown here). "
            "Upgrade this program, or choose another home with --home DIR.",
        )
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
        call_command("migrate", verbosity=0, interactive=False)


def owner(name: str = "admin") -> User:
    """The account of whoever installed this; made under this name when there is none yet."""
    return accounts.first_user(name=name)


def login_link(user: User) -> str:
    """A link that logs its user in once."""
    token = accounts.issue_login_link(user=user, now=timezone.now(), valid_for=LINK_LIVES)
    return f"{settings.AO_BASE_URL}{reverse('login-link', args=[token])}"


def client_token(home: Home, user: User) -> str:
    """The token of this machine's command line: kept while it is valid, replaced when it is not."""
    now = timezone.now()
    kept = kept_token(home.client_file)
    if not kept or accounts.find_token(raw=kept, now=now) is None:
        kept = accounts.issue_token(user=user, name="command line on this machine", scope=ApiToken.Scope.WRITE, now=now)
    write_private(home.client_file, json.dumps({"url": settings.AO_BASE_URL, "token": kept}))
    return kept


def kept_token(file: Path) -> str:
    """Read the token that an earlier start left."""
    try:
        return str(json.loads(file.read_text())["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def settle(home: Home, owner_name: str) -> Ready:
    """Make the installation whole, and say how to reach it. Safe to repeat."""
    migrate()
    user = owner(owner_name)
    projects.local_host(name=settings.AO_LOCAL_HOST, capacity=LOCAL_SESSIONS)
    return Ready(url=settings.AO_BASE_URL, login_url=login_link(user), token=client_token(home, user))


def settle_gate(home: Home, listener: socket.socket | None) -> list[str]:
    """Write down where machines join, or that they cannot; says so."""
    if listener is None:
        spares.close_gate()
        return []
    address, port = listener.getsockname()[:2]
    # What it cannot reach is refused before anything is forked.
    if servers(home, settings.DATABASE_URL, settings.REDIS_URL)[POSTGRES].embedded:
        postgres.allow_workers(home)
    spares.open_gate(address=address, port=port, fingerprint=certificate(home).fingerprint, now=timezone.now())
    return [f"machines join at {address}:{port}: make a link for each with `ao host link NAME`"]
