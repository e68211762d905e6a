"""Take a session down: stop the agent, keep what is uncommitted, remove the workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.utils import timezone

from orchestrator.domain.actions import EndSession
from orchestrator.models import HookRun, Session, Workspace
from orchestrator.ports import Refused, Unavailable
from orchestrator.services import jobs, parcels, sessions
from orchestrator.services.jobs import EFFECTS
from workers.executors.hooks import hooks_of, must_be_over
from workers.executors.publish import BUNDLE_CAP
from workers.executors.specs import spec_for
from workers.failpoints import failpoint
from workers.toolbox import Toolbox

# A room that is gone was saved before; what git cannot read, pack or vouch for is not kept, or a session could refuse to end for ever.
_NOT_TO_BE_SAVED = frozenset({"no-workspace", "not-prepared", "workspace-broken", "too-large", "bad-bundle"})


def end_session(action: EndSession, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """Safe to run twice: an ended fence stays ended, saved work keeps its ref, a removed room is gone."""
    session = Session.objects.select_related("task__project", "host", "workflow").get(pk=action.session)
    key = parcels.saved(session)
    if tools.reaches(session.host):
        _take_down(session, tools)
        if tools.joined and parcels.waits(key=key):
            raise jobs.HandOver(EFFECTS)
    else:
        left = parcels.taken(key=key)
        if left is None:
            raise jobs.HandOver(session.host.queue)
        _saving(session, lambda: _keep(session, left, tools))
    sessions.ended(session_id=session.pk, now=timezone.now())
    parcels.drop(key=key)
    parcels.drop_of(session)
    return {"task": task_id}


def _take_down(session: Session, tools: Toolbox) -> None:
    host = tools.host(session.host)
    _before_remove(session, tools)
    host.end(session.fence, epoch=session.epoch)
    failpoint("after_end")
    workspace = Workspace.objects.filter(session=session).exclude(state=Workspace.State.REMOVED).first()
    if workspace is None:
        return
    # What was handed in already is all that there was: nothing has written since.
    if workspace.state == Workspace.State.READY and not parcels.waits(key=parcels.saved(session)):
        _saving(session, lambda: _save(session, workspace, tools))
    failpoint("after_save")
    host.remove_workspace(workspace.name)
    failpoint("after_remove")


def _before_remove(session: Session, tools: Toolbox) -> None:
    """The workflow's last hook, with the agent stopped and its work in place."""
    workspace = Workspace.objects.filter(session=session, state=Workspace.State.READY).first()
    if workspace is None or not hooks_of(session).before_remove.strip():
        return
    for turn in session.turns.filter(ended_at__isnull=True, started_at__isnull=False):
        tools.host(session.host).stop(turn.run_id)
    must_be_over(session, HookRun.Hook.BEFORE_REMOVE, 0, tools)


def _saving(session: Session, save: Callable[[], None]) -> None:
    """What would be lost goes to a ref of our mirror, recorded before the tree is removed; where it cannot, history says why."""
    try:
        save()
    except Refused as refused:
        if refused.code not in _NOT_TO_BE_SAVED:
            # Nobody could ask for an end again: it waits until what stands in the way is gone, and says so.
            raise Unavailable(str(refused)) from refused
        sessions.not_saved(session_id=session.pk, why=str(refused), now=timezone.now())


def _save(session: Session, workspace: Workspace, tools: Toolbox) -> None:
    """Straight into our mirror, or, on a machine that joined, on the way there."""
    spec = spec_for(session, workspace, tools, base_sha=_base(session))
    message = f"Uncommitted work of {session.task} when its session ended"
    bundle = tools.workspaces.save(spec, tools.host(session.host), message=message, cap=BUNDLE_CAP)
    if bundle is not None and tools.joined:
        parcels.hand_in(key=parcels.saved(session), host=session.host, project=session.task.project, data=bundle)
    elif bundle is not None:
        _keep(session, bundle, tools)


def _keep(session: Session, bundle: bytes, tools: Toolbox) -> None:
    mirror = tools.mirror(session.task.project)
    kept = mirror.import_saved(bundle, task=session.task_id, base_sha=_base(session))
    sessions.saved(session_id=session.pk, ref=kept.ref, now=timezone.now())


def _base(session: Session) -> str:
    return session.published_sha or session.base_sha
