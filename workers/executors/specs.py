"""What a workspace of a session is made from, in the port's terms."""

from __future__ import annotations

from datetime import timedelta

from orchestrator.models import Host, Project, Session, Workspace
from orchestrator.ports import Host as HostPort
from orchestrator.ports import Unavailable, WorkspaceSpec
from orchestrator.services.references import resolved
from orchestrator.services.sessions import Overtaken
from workers.courier import Courier
from workers.git.outgoing import Source
from workers.git.replica import Replica
from workers.toolbox import Toolbox, sandbox_for


def spec_for(session: Session, workspace: Workspace, tools: Toolbox, *, base_sha: str) -> WorkspaceSpec:
    """The workspace of a session: on the task's branch, from `base_sha`."""
    project = session.task.project
    return WorkspaceSpec(
        workspace=workspace.name,
        mirror=mirror_on(session.host, project, tools),
        base_branch=project.default_branch,
        base_sha=base_sha,
        branch=session.task.branch,
        sandbox=sandbox_for(project, session.host),
        symlinks=project.symlinks,
    )


def mirror_on(host: Host, project: Project, tools: Toolbox) -> str:
    """Where the project's mirror is for sessions of that host: ours here, a copy of it below hostkit's home elsewhere."""
    ours = tools.mirror(project).path
    if host.kind == Host.Kind.LOCAL:
        return str(ours)
    home = host.facts.get("home")
    if not home:
        raise Unavailable(f"{host.name} was not looked at yet")
    return f"{home}/mirrors/{ours.name}"


def bring(sha: str, host: Host, project: Project, tools: Toolbox, *, timeout: float) -> None:
    """Make sure that sessions of that host can begin at this commit."""
    if host.kind != Host.Kind.LOCAL:
        path = mirror_on(host, project, tools)
        source = _source(host, project, tools)
        Replica(mirror=source, host=tools.host(host), name=host.name, path=path).bring(sha, timeout=timeout)


def _source(host: Host, project: Project, tools: Toolbox) -> Source:
    """Our mirror where it is; on a machine that joined, whoever brings bundles of it through the database."""
    mirror = tools.mirror(project)
    return Courier(host=host, project=project, path=mirror.path) if tools.joined else mirror


def environment_of(project: Project) -> dict[str, str]:
    """The project's own environment for what runs in its workspaces: ${NAME} is read where it is used. Refused code: `secret-missing`."""
    return {str(key): str(value) for key, value in resolved(project.env, of=f"env of {project.key}").items()}


def renewed_deadline(session: Session) -> float | None:
    """When the guard stops the run unless it is renewed: on the host's own clock. An agent of this machine needs none, since nobody
    succeeds it elsewhere while the machine is away."""
    span: timedelta | None = session.task.project.reassign_after
    if session.host.kind == Host.Kind.LOCAL or span is None:
        return None
    return float(session.host.facts.get("boottime", 0)) + span.total_seconds()


def must_stand(workspace: Workspace, host: HostPort) -> None:
    """Whoever was held up for long may have made a room anew that had been taken down meanwhile: it is not left standing. Raises `Overtaken`."""
    if Workspace.objects.filter(pk=workspace.pk, state=Workspace.State.REMOVED).exists():
        host.remove_workspace(workspace.name)
        raise Overtaken(f"the workspace {workspace.name} was removed meanwhile")


def detached_spec(project: Project, host: Host, workspace: str, tools: Toolbox, *, sha: str) -> WorkspaceSpec:
    """A workspace on no branch: a warm one, or a clean checkout for a check."""
    return WorkspaceSpec(
        workspace=workspace,
        mirror=mirror_on(host, project, tools),
        base_branch=project.default_branch,
        base_sha=sha,
        branch=None,
        sandbox=sandbox_for(project, host),
    )
