"""Make the workspace of a session: a warm one is claimed, a cold one is made; then the project's postCreate commands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from django.utils import timezone

from orchestrator.domain.actions import Prepare
from orchestrator.domain.workflow import WorkflowRefused
from orchestrator.models import Session, Workspace
from orchestrator.ports import Host, Refused, Run, WorkspaceSpec
from orchestrator.services import observations, sessions
from orchestrator.services.fleet import history_of
from orchestrator.services.workflows import briefs
from workers.executors.hooks import WITHIN, deadline_of, hooks_of, named, seconds
from workers.executors.specs import bring, environment_of, must_stand, spec_for
from workers.failpoints import failpoint
from workers.git.program import Deadline
from workers.toolbox import Toolbox, sandbox_for

TOGETHER = 50.0  # seconds for all of it: a job has a minute


def prepare(action: Prepare, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """Safe to run twice: the workspace is the session's from the first claim on, and a tree that is there is adopted."""
    del task_id
    session = Session.objects.select_related("task__project", "host", "workflow").get(pk=action.session)
    workspace = sessions.claim_workspace(session_id=session.pk, now=timezone.now())
    failpoint("after_claim_workspace")
    host = tools.host(session.host)
    # A successor goes on from what was published last; so does a restarted session.
    base_sha = session.published_sha or session.task.project.base_sha
    spec = spec_for(session, workspace, tools, base_sha=base_sha)
    deadline = Deadline.after(TOGETHER)
    bring(base_sha, session.host, session.task.project, tools, timeout=deadline.left() / 2)
    failpoint("after_bring")
    path = _tree(workspace, spec, host, tools, deadline)
    failpoint("after_tree")
    must_stand(workspace, host)
    _brief(session)
    if session.task.project.post_create or hooks_of(session).after_create.strip():
        host.start(_setup(session, workspace.name, spec.mirror, host))
        return {"workspace": workspace.name, "setup": observations.setup_run(session)}
    sessions.prepared(session_id=session.pk, base_sha=base_sha, path=path, now=timezone.now())
    return {"workspace": workspace.name, "base_sha": base_sha}


def _brief(session: Session) -> None:
    """The first words of a session whose workflow has a template. Refused code: `template_render_error`."""
    try:
        briefs.write(session_id=session.pk, history=history_of(session.task) if session.epoch > 1 else "")
    except WorkflowRefused as refused:
        raise Refused(f"{refused.fault}: {refused}", code=str(refused.fault)) from refused


def _tree(workspace: Workspace, spec: WorkspaceSpec, host: Host, tools: Toolbox, deadline: Deadline) -> str:
    """The path of the tree. A workspace that was prepared ahead has its room; one whose room was lost is opened anew, like a cold one."""
    if workspace.state == Workspace.State.READY:
        try:
            return tools.workspaces.prepare(spec, host, timeout=deadline.left())
        except Refused as refused:
            if refused.code != "no-workspace":
                raise
    host.open_workspace(workspace.name)
    failpoint("after_open_workspace")
    return tools.workspaces.prepare(spec, host, timeout=deadline.left())


def _setup(session: Session, workspace: str, mirror: str, host: Host) -> Run:
    """postCreate and the workflow's after_create as one supervised run: it stops at the first command that fails, and its log is kept."""
    project, hooks = session.task.project, hooks_of(session)
    lines = ["set -e", *(f"echo {shlex.quote('$ ' + command)}\n{command}" for command in project.post_create)]
    if hooks.after_create.strip():
        words = (WITHIN, "hook", seconds(hooks.timeout), hooks.after_create)
        lines.append(f"exec /bin/sh -c {shlex.join(words)}")
    return Run(
        id=observations.setup_run(session),
        fence=session.fence,
        epoch=session.epoch,
        workspace=workspace,
        argv=("/bin/sh", "-c", "\n".join(lines)),
        env={**environment_of(project), **named(session)},
        sandbox=sandbox_for(project, session.host),
        readonly=(mirror, *project.symlinks.values()),
        deadline=_deadline(session, host),
    )


def _deadline(session: Session, host: Host) -> float | None:
    """A hook alone has its time; postCreate may take what it needs."""
    if session.task.project.post_create:
        return None
    return deadline_of(session, host, hooks_of(session).timeout)
