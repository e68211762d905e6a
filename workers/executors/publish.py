"""Carry a turn's work out: leftovers committed, bundle, quarantine, checks, push with a lease."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils import timezone

from orchestrator.domain.actions import Publish
from orchestrator.models import HookRun, PushIntent, Session
from orchestrator.ports import Refused
from orchestrator.services import diffs, jobs, parcels, sessions
from orchestrator.services.jobs import EFFECTS
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
    mirror: Mirror
    deadline: Deadline


def publish(action: Publish, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """Safe to run twice: the same work has the same sha, and a remote that holds it is left as it is. Refused codes: `diverged` (somebody
    else moved the branch), `sensitive` (a person must allow this head), and those of bundles."""
    del task_id
    session = Session.objects.select_related("task__project", "host", "workspace", "workflow").get(pk=action.session)
    deadline = Deadline.after(TOGETHER)
    bundle = _bundle(action, session, tools, deadline)
    if bundle is None:
        head = session.published_sha or session.base_sha
        done = Published(head_sha=head, commits=session.commits)
    else:
        branch = _Branch(session=session, mirror=tools.mirror(session.task.project), deadline=deadline)
        done = _push(branch, bundle)
    sessions.published(session_id=session.pk, n=action.turn, result=done, now=timezone.now())
    parcels.drop_of(session)
    return {"head_sha": done.head_sha, "commits": done.commits}


def _bundle(action: Publish, session: Session, tools: Toolbox, deadline: Deadline) -> bytes | None:
    """The work of the turn, or None where there is none. A host with a worker of its own hands it in, and whoever has the mirror goes on."""
    key = parcels.published(session, action.turn)
    if not tools.reaches(session.host):
        bundle = parcels.taken(key=key)
        if bundle is None:
            raise jobs.HandOver(session.host.queue)
        return bundle
    bundle = _taken_out(action, session, tools, deadline)
    if bundle is not None and tools.joined:
        parcels.hand_in(key=key, host=session.host, project=session.task.project, data=bundle)
        failpoint("after_hand_in")
        raise jobs.HandOver(EFFECTS)
    return bundle


def _taken_out(action: Publish, session: Session, tools: Toolbox, deadline: Deadline) -> bytes | None:
    must_be_over(session, HookRun.Hook.AFTER_RUN, action.turn, tools)
    spec = spec_for(session, session.workspace, tools, base_sha=session.base_sha)
    host = tools.host(session.host)
    message = f"Work of turn {action.turn} that was left uncommitted\n\nTask: {session.task}"
    standing = tools.workspaces.commit_leftovers(spec, host, message=message, timeout=deadline.left())
    if standing.commits == 0:
        return None
    return tools.workspaces.bundle(spec, host, cap=BUNDLE_CAP, timeout=deadline.left())


def _push(branch: _Branch, bundle: bytes) -> Published:
    left = branch.deadline.left
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
