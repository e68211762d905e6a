"""What executors and observers hold in their hands: ports for rows. Tests hand in fakes here and nowhere else."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from orchestrator.domain.naming import github_api, mirror_name
from orchestrator.models import Host, NotificationChannel, Project
from orchestrator.ports import SCM, Agent, Notifier, Refused, Sandbox, Tracker, Workspaces
from orchestrator.ports import Host as HostPort
from orchestrator.services.references import resolved
from workers.git.mirror import Mirror
from workers.plugins import builtin
from workers.plugins.hosts.wire import WireHost
from workers.plugins.scms.github.project import app_token


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """Every door to the outside."""

    host: Callable[[Host], HostPort]
    mirror: Callable[[Project], Mirror]
    scm: Callable[[Project], SCM]
    tracker: Callable[[Project], Tracker]
    agents: Mapping[str, Agent]
    workspaces: Workspaces
    notifier: Callable[[NotificationChannel], Notifier]
    joined: str = (
        ""  # the host that we are the worker of, on a machine that has no mirrors of ours; empty where they are
    )

    def reaches(self, host: Host) -> bool:
        """Whether we are among those who can speak to this host: one with a worker of its own is reached by that alone."""
        return self.joined == host.name if self.joined or host.kind == Host.Kind.WORKER else True

    def agent(self, name: str) -> Agent:
        """The agent of that name. Refused code: `unknown-agent`."""
        found = self.agents.get(name)
        if found is None:
            raise Refused(
                f"{name!r} is not an agent that is installed here: there is {', '.join(sorted(self.agents))}",
                code="unknown-agent",
            )
        return found


@dataclass(slots=True)
class _Kept:
    """Connections that a process keeps: one client a host."""

    hosts: dict[tuple[str, ...], HostPort] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    pid: int = field(default_factory=os.getpid)


_KEPT = _Kept()


def _host(row: Host) -> HostPort:
    with _KEPT.lock:
        if _KEPT.pid != os.getpid():  # forked: a connection belongs to the process that made it
            _KEPT.hosts.clear()
            _KEPT.pid = os.getpid()
        # A host that is reached otherwise from now on, or whose key was pinned anew, is another one.
        way = (row.name, row.kind, row.address, row.host_key, row.key_path, row.folder)
        if way not in _KEPT.hosts:
            _hang_up(row.name)
            _KEPT.hosts[way] = builtin.host(row, home=Path(settings.AO_HOME), joined=settings.AO_JOINED)
        return _KEPT.hosts[way]


def hang_up(name: str) -> None:
    """Close what this process keeps open to a host that is not ours any more."""
    with _KEPT.lock:
        if _KEPT.pid == os.getpid():
            _hang_up(name)


def _hang_up(name: str) -> None:
    for way in [way for way in _KEPT.hosts if way[0] == name]:
        port = _KEPT.hosts.pop(way)
        if isinstance(port, WireHost):
            port.close()


def mirror_of(project: Project) -> Mirror:
    """The bare mirror of a project, below the home. Its token is read at each use and never stored."""
    path = Path(settings.AO_HOME) / "mirrors" / mirror_name(project.key, project.pk)
    return Mirror(path=path, remote_url=project.remote, token=lambda: token_of(project))


def token_of(project: Project) -> str | None:
    """The token for a project's remote: of its app, or the one that it names, else GITHUB_TOKEN, which nobody but
    GitHub is shown."""
    app = app_token(project)
    if app is not None:
        return app
    named = project.scm.get("token")
    if isinstance(named, str) and named:
        return str(resolved({"token": named}, of=f"scm.token of {project.key}")["token"])
    theirs = github_api(project.remote, enterprise=os.environ.get("GH_HOST", ""))
    # Whoever may say where the API is could else have the token sent there.
    return os.environ.get("GITHUB_TOKEN") if theirs and project.scm.get("apiUrl") in {None, theirs} else None


def _scm(project: Project) -> SCM:
    return builtin.scm(project, mirror=mirror_of(project), token=lambda: token_of(project))


def _tracker(project: Project) -> Tracker:
    return builtin.tracker(project, token=lambda: token_of(project))


def _notifier(channel: NotificationChannel) -> Notifier:
    return builtin.notifier(channel.plugin, resolved(channel.config, of=f"the channel {channel.name}"))


def sandbox_for(project: Project, host: Host) -> Sandbox:
    """The level that the project requires, else the best that was seen to work on the host."""
    if project.sandbox:
        return Sandbox(project.sandbox)
    works = host.facts.get("sandboxes", [])
    return Sandbox.BUBBLEWRAP if Sandbox.BUBBLEWRAP in works else Sandbox.NONE


def real() -> Toolbox:
    """The toolbox of a worker."""
    return Toolbox(
        host=_host,
        mirror=mirror_of,
        scm=_scm,
        tracker=_tracker,
        agents=builtin.AGENTS,
        workspaces=builtin.WORKSPACES,
        notifier=_notifier,
        joined=settings.AO_JOINED,
    )
