"""The built-in forge's checks: supervised runs on a clean tree at the exact commit, without a model and without a network of ours."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from django.utils import timezone

from orchestrator.domain.actions import RerunChecks, RunBaseCheck, RunCheck
from orchestrator.models import Check, Host, PullRequest, Task, Workspace
from orchestrator.ports import Refused, Run
from orchestrator.services import base_checks, checks
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
    state = host.start(
        _run(check.run_id, check.name, check.head_sha, workspace, command, host_row, spec.mirror, deadline=deadline)
    )
    checks.started(check=check, now=timezone.now())
    return {"run": check.run_id, "live": state.live}


def run_base_check(action: RunBaseCheck, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """The same on the base branch, once for all tasks that want to know: the row of the commit and the check names the run."""
    project = Task.objects.select_related("project").get(pk=task_id).project
    command = project.own_checks.get(action.name)
    if command is None:
        raise Refused(f"{action.name} is no check of {project.key} any more", code="overtaken")
    host_row = _host()
    check = base_checks.begin(project=project, name=action.name, sha=action.base_sha, n=action.n, now=timezone.now())
    if check.status == "completed" or check.n != action.n:
        return {"run": check.run_id, "live": False}
    workspace = base_checks.workspace(check=check, host=host_row)
    host = tools.host(host_row)
    spec = detached_spec(project, host_row, workspace.name, tools, sha=action.base_sha)
    host.open_workspace(workspace.name)
    tools.workspaces.prepare(spec, host)
    must_stand(workspace, host)
    run = _run(
        check.run_id,
        check.name,
        check.sha,
        workspace,
        command,
        host_row,
        spec.mirror,
        deadline=host.facts().boottime + LONGEST.total_seconds(),
    )
    state = host.start(run)
    base_checks.started(check=check, now=timezone.now())
    return {"run": check.run_id, "live": state.live}


def rerun_checks(action: RerunChecks, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """Ask the forge to run failed checks again; what was run again meanwhile is not."""
    pull = (
        PullRequest.objects.filter(task=task_id, state="open", head_sha=action.head_sha)
        .select_related("project")
        .first()
    )
    if pull is None:
        raise Refused(f"the checks at {action.head_sha[:10]} are not wanted any more", code="overtaken")
    failed = Check.objects.filter(pull_request=pull, pk__in=action.checks).exclude(external_id="")
    ids = list(failed.order_by("pk").values_list("external_id", flat=True))
    tools.scm(pull.project).rerun(pull.number, head_sha=action.head_sha, checks=ids)
    PullRequest.objects.filter(pk=pull.pk).update(poll_at=timezone.now())  # what it starts is worth a look
    return {"checks": ids}


def _host() -> Host:
    row = Host.objects.filter(kind=Host.Kind.LOCAL).order_by("pk").first()
    if row is None:
        raise Refused("checks run on this machine, which is not registered as a host", code="no-local-host")
    return row


def _run(
    run: str, name: str, sha: str, workspace: Workspace, command: str, host: Host, mirror: str, *, deadline: float
) -> Run:
    project = workspace.project
    return Run(
        id=run,
        fence=run,
        epoch=1,
        workspace=workspace.name,
        argv=("/bin/sh", "-c", command),
        env={
            "CI": "true",
            "AO_CHECK": name,
            "AO_HEAD": sha,
            **environment_of(project),
        },
        sandbox=sandbox_for(project, host),
        readonly=(mirror,),
        output_cap=4 * 1024 * 1024,
        deadline=deadline,
    )
