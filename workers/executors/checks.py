"""The built-in forge's checks: supervised runs on a clean tree at the exact commit, without a model and without a network of ours."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from django.utils import timezone

from orchestrator.domain.actions import RunCheck
from orchestrator.models import Check, Host, PullRequest, Task, Workspace
from orchestrator.ports import Refused, Run
from orchestrator.services import checks
from workers.executors.specs import detached_spec, environment_of, must_stand
from workers.toolbox import Toolbox, sandbox_for

LONGEST = timedelta(minutes=30)  # a check that runs longer has failed


def run_check(action: RunCheck, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """Safe to run twice: the check's row names its workspace and its run."""
    task = Task.objects.select_related("project").get(pk=task_id)
    command = task.project.own_checks.get(action.name)
    pull = PullRequest.objects.filter(task=task, state="open", head_sha=action.head_sha).first()
    if command is None or pull is None:
        raise Refused(f"the check {action.name} at {action.head_sha[:10]} is not wanted any more", code="overtaken")
    host_row = _host()
    check = checks.begin(pull=pull, name=action.name, n=action.n, now=timezone.now())
    workspace = checks.workspace(check=check, host=host_row)
    host = tools.host(host_row)
    spec = detached_spec(task.project, host_row, workspace.name, tools, sha=action.head_sha)
    host.open_workspace(workspace.name)
    tools.workspaces.prepare(spec, host)
    must_stand(workspace, host)
    deadline = host.facts().boottime + LONGEST.total_seconds()
    state = host.start(_run(check, workspace, command, host_row, spec.mirror, deadline=deadline))
    checks.started(check=check, now=timezone.now())
    return {"run": check.run_id, "live": state.live}


def _host() -> Host:
    row = Host.objects.filter(kind=Host.Kind.LOCAL).order_by("pk").first()
    if row is None:
        raise Refused("checks run on this machine, which is not registered as a host", code="no-local-host")
    return row


def _run(check: Check, workspace: Workspace, command: str, host: Host, mirror: str, *, deadline: float) -> Run:
    project = workspace.project
    return Run(
        id=check.run_id,
        fence=check.run_id,
        epoch=1,
        workspace=workspace.name,
        argv=("/bin/sh", "-c", command),
        env={
            "CI": "true",
            "AO_CHECK": check.name,
            "AO_HEAD": check.head_sha,
            **environment_of(project),
        },
        sandbox=sandbox_for(project, host),
        readonly=(mirror,),
        output_cap=4 * 1024 * 1024,
        deadline=deadline,
    )
