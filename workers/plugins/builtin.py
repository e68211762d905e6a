"""The built-in plugins, as a typed table; other packages add theirs as entry points (`ao.agents`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path

from orchestrator.domain.addresses import parse_address
from orchestrator.models import Host as HostRow
from orchestrator.models import Project
from orchestrator.ports import SCM, Agent, Host, Notifier, Refused, Tracker, Workspaces
from workers.git.mirror import Mirror
from workers.plugins.agents.claude_code import ClaudeCodeAgent
from workers.plugins.agents.command import CommandAgent
from workers.plugins.hosts.local import LocalHost
from workers.plugins.hosts.ssh.host import SshHost
from workers.plugins.hosts.ssh.machine import Machine
from workers.plugins.notifiers.channel import AppriseNotifier
from workers.plugins.notifiers.desktop import DesktopNotifier
from workers.plugins.notifiers.webhook import WebhookNotifier
from workers.plugins.scms.github.project import forge as github_forge
from workers.plugins.scms.github.project import tracker as github_tracker
from workers.plugins.scms.local import LocalForge
from workers.plugins.workspaces.worktree import WorktreeWorkspaces


def _agents() -> Mapping[str, Agent]:
    found: dict[str, Agent] = {agent.name: agent for agent in (CommandAgent(), ClaudeCodeAgent())}
    for entry in entry_points(group="ao.agents"):
        found.setdefault(entry.name, entry.load()())
    return found


AGENTS: Mapping[str, Agent] = _agents()
WORKSPACES: Workspaces = WorktreeWorkspaces()


def host(row: HostRow, *, home: Path, joined: str) -> Host:
    """The transport to a host, on the machine that joined as the host `joined` or, where that is empty, where the service is. Refused
    codes: `unknown-host-kind`, `reached-elsewhere`."""
    here = HostRow.Kind.WORKER if joined else HostRow.Kind.LOCAL
    if row.kind == here and joined in {"", row.name}:
        return LocalHost(home / "hostkit")
    if row.kind in {HostRow.Kind.LOCAL, HostRow.Kind.WORKER}:
        raise Refused(f"{row} is reached by its own workers and by nobody else", code="reached-elsewhere")
    if row.kind == HostRow.Kind.SSH:
        return SshHost(machine_of(row), ours=HostRow.objects.present().filter(pk=row.pk).exists)
    raise Refused(f"hosts of kind {row.kind!r} ({row}) cannot be reached from here", code="unknown-host-kind")


def machine_of(row: HostRow) -> Machine:
    """What SSH has to know of a host."""
    return Machine(
        name=row.name,
        address=parse_address(row.address),
        host_key=row.host_key,
        folder=row.folder,
        key_path=row.key_path,
    )


def scm(project: Project, *, mirror: Mirror, token: Callable[[], str | None]) -> SCM:
    """The forge of a project; `token` is asked for when it is used. Refused code: `unknown-forge`."""
    plugin = project.scm.get("plugin", "local")
    if plugin == "local":
        return LocalForge(project=project, mirror=mirror)
    if plugin == "github":
        return github_forge(project, mirror=mirror, token=token)
    raise Refused(
        f"the forge {plugin!r} of {project.key} is not installed here: there is local and github", code="unknown-forge"
    )


def tracker(project: Project, *, token: Callable[[], str | None]) -> Tracker:
    """Where the project's issues are. Refused code: `no-tracker`."""
    if project.scm.get("plugin", "local") == "github":
        return github_tracker(project, token=token)
    raise Refused(f"{project.key} has no issues that can be read: its forge is the built-in one", code="no-tracker")


def notifier(plugin: str, config: Mapping[str, object]) -> Notifier:
    """The channel to people. Refused code: `unknown-notifier`."""
    if plugin == "webhook":
        return WebhookNotifier(config=config)
    if plugin == "desktop":
        return DesktopNotifier()
    if plugin in {"apprise", "slack"}:
        return AppriseNotifier(plugin=plugin, config=config)
    raise Refused(
        f"the notifier {plugin!r} is not installed here: there is apprise, slack, desktop and webhook",
        code="unknown-notifier",
    )
