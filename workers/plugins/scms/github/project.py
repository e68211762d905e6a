"""How a project says where its repository is on GitHub, and how we log in there."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import redis
from django.conf import settings
from github import Auth, GithubIntegration
from github.GithubException import GithubException

from orchestrator.domain.naming import github_api, repository_name
from orchestrator.models import Project
from orchestrator.ports import Refused, Unavailable
from orchestrator.services.references import resolved
from workers.git.mirror import Mirror
from workers.plugins.scms.github.budget import Budget
from workers.plugins.scms.github.client import API, Client
from workers.plugins.scms.github.forge import GitHubForge
from workers.plugins.scms.github.people import REVIEW_BOTS
from workers.plugins.scms.github.tracker import GitHubTracker

_FRESH = 300.0  # seconds that an app's token must still be good for
_BUDGET = redis.Redis.from_url(settings.REDIS_URL, decode_responses=True, socket_timeout=2, socket_connect_timeout=2)
_APP_TOKENS: dict[tuple[str, int, int], tuple[str, float]] = {}
_APP_LOCK = threading.Lock()


def forge(project: Project, *, mirror: Mirror, token: Callable[[], str | None]) -> GitHubForge:
    """The forge of a project. Refused code: `bad-remote` where its remote names no repository of GitHub."""
    return GitHubForge(project=project, mirror=mirror, client=_client(project, token), bots=_bots(project))


def tracker(project: Project, *, token: Callable[[], str | None]) -> GitHubTracker:
    """The issues of the project's repository."""
    return GitHubTracker(client=_client(project, token), bots=_bots(project))


def _client(project: Project, token: Callable[[], str | None]) -> Client:
    api_url = api_url_of(project)
    return Client(
        repository=repository_of(project.remote),
        token=token,
        api_url=api_url,
        named=named(project),
        budget=Budget.of(token() or "", api_url=api_url, store=_BUDGET),
    )


def _bots(project: Project) -> frozenset[str]:
    named_ones = project.scm.get("bots")
    return frozenset(map(str, named_ones)) if named_ones is not None else REVIEW_BOTS


def api_url_of(project: Project) -> str:
    """Where the API of the project's GitHub is."""
    own = github_api(project.remote, enterprise=os.environ.get("GH_HOST", ""))
    return str(project.scm.get("apiUrl") or own or API).rstrip("/")


def named(project: Project) -> str:
    """Where people set what we log in with."""
    return (
        f"scm.token of {project.key}" if project.scm.get("token") else f"GITHUB_TOKEN (or scm.token of {project.key})"
    )


def repository_of(remote: str) -> str:
    """OWNER/NAME, as the API asks for it."""
    name = repository_name(remote)
    if name is None:
        raise Refused(f"{remote!r} names no repository of GitHub: give https://HOST/OWNER/NAME.git", code="bad-remote")
    return name


def app_token(project: Project) -> str | None:
    """A token of the app that the project names in `scm.app` (`id`, `installation`, `privateKey`), made anew before it ends; None: no app."""
    app = project.scm.get("app")
    if not isinstance(app, Mapping):
        return None
    read: dict[str, Any] = resolved(app, of=f"scm.app of {project.key}")
    try:
        app_id, installation, key = int(read["id"]), int(read["installation"]), str(read["privateKey"])
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(
            f"scm.app of {project.key} needs id, installation (both numbers) and privateKey", code="no-access"
        ) from error
    known = (api_url_of(project), app_id, installation)
    with _APP_LOCK:
        token, until = _APP_TOKENS.get(known, ("", 0.0))
        if until - _FRESH < time.time():
            token, until = _APP_TOKENS[known] = _new_token(known, key)
    return token


def _new_token(known: tuple[str, int, int], key: str) -> tuple[str, float]:
    api_url, app_id, installation = known
    try:
        integration = GithubIntegration(auth=Auth.AppAuth(app_id, key), base_url=api_url, retry=None)
        made = integration.get_access_token(installation)
    except (GithubException, ValueError) as error:
        if isinstance(error, GithubException) and error.status >= 500:
            raise Unavailable(f"GitHub does not give the app {app_id} a token now: {error.status}") from error
        raise Refused(
            f"GitHub gives the app {app_id} no token for the installation {installation}: {str(error)[:200]}",
            code="no-access",
        ) from error
    except OSError as error:
        raise Unavailable(f"GitHub cannot be reached at {api_url}") from error
    return made.token, made.expires_at.timestamp()
