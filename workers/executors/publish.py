"""Carry a turn's work out: leftovers committed, bundle, quarantine, checks, push with a lease."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils import timezone

from orchestrator.domain.actions import Publish
from orchestrator.models import HookRun, PushIntent, Session
from orchestrator.ports import Host as HostPort
from orchestrator.ports import Refused, WorkspaceSpec
from orchestrator.services import diffs, sessions
from orchestrator.services.sessions import Published
from workers.executors.hooks import must_be_over
from workers.executors.specs import spec_for
from workers.failpoints import failpoint
from workers.git.imports import Imported
from workers.git.mirror import Mirror
from workers.git.program import Deadline
from workers.toolbox import Toolbox

BUNDLE_CAP = 100 * 1024 * 1024
TOGETHER = 50.0  # seconds for all of it: a job has a minute


@dataclass(frozen=True, slots=True, kw_only=True)
class _Branch:
    session: Session
    spec: WorkspaceSpec
    host: HostPort
    mirror: Mirror
    deadline: Deadline


def publish(action: Publish, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """Safe to run twice: the same work has the same sha, and a remote that holds it is left as it is. Refused codes: `diverged` (somebody
    else moved the branch), `sensitive` (a person must allow this head), and those of bundles."""
    del task_id
    session = Session.objects.select_related("task__project", "host", "workspace", "workflow").get(pk=action.session)
    must_be_over(session, HookRun.Hook.AFTER_RUN, action.turn, tools)
    spec = spec_for(session, session.workspace, tools, base_sha=session.base_sha)
    branch = _Branch(
        session=session,
        spec=spec,
        host=tools.host(session.host),
        mirror=tools.mirror(session.task.project),
        deadline=Deadline.after(TOGETHER),
    )
    message = f"Work of turn {action.turn} that was left uncommitted\n\nTask: {session.task}"
    standing = tools.workspaces.commit_leftovers(spec, branch.host, message=message, timeout=branch.deadline.left())
    if standing.commits == 0:
        head = session.published_sha or session.base_sha
        done = Published(head_sha=head, commits=session.commits)
    else:
        done = _push(branch, tools)
    sessions.published(session_id=session.pk, n=action.turn, result=done, now=timezone.now())
    return {"head_sha": done.head_sha, "commits": done.commits}


def _push(branch: _Branch, tools: Toolbox) -> Published:
    left = branch.deadline.left
    bundle = tools.workspaces.bundle(branch.spec, branch.host, cap=BUNDLE_CAP, timeout=left())
    task = branch.session.task
    imported = branch.mirror.import_bundle(bundle, branch=task.branch, base_sha=branch.session.base_sha, timeout=left())
    _ask_about(imported, branch.session)
    expected = sessions.intend_push(session_id=branch.session.pk, new_sha=imported.head_sha, now=timezone.now())
    failpoint("before_push")
    _push_over_ours(branch, imported.head_sha, expected)
    failpoint("after_push")
    base = task.project.base_sha
    text = branch.mirror.diff(base_sha=base, head_sha=imported.head_sha, cap=diffs.CAP, timeout=left())
    diffs.keep(task=task, base_sha=base, head_sha=imported.head_sha, text=text)
    commits = branch.mirror.count(base_sha=base, head_sha=imported.head_sha)
    return Published(head_sha=imported.head_sha, commits=commits)


def _ask_about(imported: Imported, session: Session) -> None:
    if imported.findings and session.task.allowed_sha != imported.head_sha:
        found = "; ".join(f"{finding.kind}: {finding.path} ({finding.detail})" for finding in imported.findings[:10])
        raise Refused(
            f"the push of {imported.head_sha[:10]} waits for a person: {found}. Retry allows it",
            code="sensitive",
            evidence={"head_sha": imported.head_sha},
        )


def _push_over_ours(branch: _Branch, sha: str, expected: str) -> None:
    """Push over what we know to be ours: an earlier intent whose reply was lost may stand there instead of what was confirmed last."""
    task = branch.session.task
    try:
        branch.mirror.push(task.branch, sha, expected=expected or None, timeout=branch.deadline.left())
    except Refused as refused:
        there = refused.evidence.get("remote")
        if (
            refused.code != "diverged"
            or not isinstance(there, str)
            or not sessions.ours(task=task, branch=task.branch, sha=there)
        ):
            raise
        branch.mirror.push(task.branch, sha, expected=there, timeout=branch.deadline.left())
    PushIntent.objects.filter(task=task, branch=task.branch, new_sha=sha).update(confirmed_at=timezone.now())
