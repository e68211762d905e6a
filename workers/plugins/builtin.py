"""The built-in plugins, as a typed table; other packages add theirs as entry points (`ao.agents`)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

from orchestrator.models import Project
from orchestrator.ports import SCM, Agent, Host, Notifier, Refused, Workspaces
from workers.git.mirror import Mirror
from workers.plugins.agents.claude_code import ClaudeCodeAgent
from workers.plugins.agents.command import CommandAgent
from workers.plugins.hosts.local import LocalHost
from workers.plugins.notifiers.channel import AppriseNotifier
from workers.plugins.scms.local import LocalForge
from workers.plugins.workspaces.worktree import WorktreeWorkspaces


def _agents() -> Mapping[str, Agent]:
    found: dict[str, Agent] = {agent.name: agent for agent in (CommandAgent(), ClaudeCodeAgent())}
    for entry in entry_points(group="ao.agents"):
        found.setdefault(entry.name, entry.load()())
    return found


AGENTS: Mapping[str, Agent] = _agents()
WORKSPACES: Workspaces = WorktreeWorkspaces()


def host(kind: str, *, home: Path, address: str) -> Host:
    """The transport to a host. Refused code: `unknown-host-kind`."""
    if kind == "local":
        return LocalHost(home / "hostkit")
    raise Refused(f"hosts of kind {kind!r} ({address}) cannot be reached from here", code="unknown-host-kind")


def scm(project: Project, *, mirror: Mirror) -> SCM:
    """The forge of a project. Refused code: `unknown-forge`."""
    plugin = project.scm.get("plugin", "local")
    if plugin == "local":
        return LocalForge(project=project, mirror=mirror)
    raise Refused(f"the forge {plugin!r} of {project.key} is not installed here: there is local", code="unknown-forge")


def notifier(plugin: str, config: Mapping[str, object]) -> Notifier:
    """The channel to people. Refused code: `unknown-notifier`."""
    if plugin in {"apprise", "slack", "desktop", "webhook"}:
        return AppriseNotifier(plugin=plugin, config=config)
    raise Refused(
        f"the notifier {plugin!r} is not installed here: there is apprise, slack, desktop and webhook",
        code="unknown-notifier",
    )
