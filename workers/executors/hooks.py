"""A workflow's hooks: scripts of the team that run in a session's workspace, as its account, inside its sandbox.

No job waits for one: who needs it to be over says that it is not available yet, and is claimed again when it is.
"""

from __future__ import annotations

import logging
import math
from datetime import timedelta

from django.utils import timezone

from orchestrator.domain.issues import workspace_key
from orchestrator.domain.workflow import Hooks
from orchestrator.models import HookRun, Session, TrackedIssue
from orchestrator.models import Host as HostRow
from orchestrator.ports import Host, Refused, Run, Unavailable
from orchestrator.services import hooks, workflow_settings
from workers.executors.specs import environment_of, mirror_on, renewed_deadline
from workers.toolbox import Toolbox, sandbox_for

logger = logging.getLogger(__name__)

# A login shell, as the specification has it, for no longer than it may take.
WITHIN = 'if command -v timeout > /dev/null; then exec timeout -k 5 "$1" /bin/sh -lc "$2"; fi; exec /bin/sh -lc "$2"'
TIMED_OUT = 124  # how `timeout` says that it stopped something
_LOOK_AGAIN = timedelta(seconds=2)  # its end is told at once; this is for one whose end was not heard of


def hooks_of(session: Session) -> Hooks:
    """The hooks of the workflow that the session began with."""
    return workflow_settings.settings_of(session.workflow).hooks if session.workflow is not None else Hooks()


def must_succeed(session: Session, hook: HookRun.Hook, turn: int, tools: Toolbox) -> None:
    """Raises `Unavailable` while the hook runs. Refused code: `hook-failed`."""
    row = _run(session, hook, turn, tools)
    if row is not None and not row.succeeded:
        raise Refused(f"hook {hook} failed: {row.detail}. Retry runs it again", code="hook-failed")


def must_be_over(session: Session, hook: HookRun.Hook, turn: int, tools: Toolbox) -> None:
    """Raises `Unavailable` while the hook runs; how it ended is history and changes nothing, nor does a host that takes no run of the session
    any more."""
    try:
        _run(session, hook, turn, tools)
    except Refused as refused:
        logger.info("a hook was not run", extra={"session": session.pk, "hook": str(hook), "why": str(refused)})


def named(session: Session) -> dict[str, str]:
    """What hooks know of the issue by name: also as a folder's name, for what they keep beside the workspace."""
    tracked = TrackedIssue.objects.filter(task=session.task_id).first()
    identifier = str(tracked) if tracked is not None else str(session.task)
    return {"AO_ISSUE": identifier, "AO_WORKSPACE_KEY": workspace_key(identifier)}


def _run(session: Session, hook: HookRun.Hook, turn: int, tools: Toolbox) -> HookRun | None:
    """The hook's run, over by now; None: there is no such hook."""
    settings = hooks_of(session)
    script = getattr(settings, hook.value)
    if not script.strip():
        return None
    row = hooks.begin(session=session, hook=hook, turn=turn, attempt=session.task.attempt, now=timezone.now())
    if row.ended_at is None:
        host = tools.host(session.host)
        host.start(_supervised(session, row, script, settings.timeout, host, tools))
        hooks.started(hook=row, now=timezone.now())
        raise Unavailable(f"the hook {hook} is running", retry_after=_LOOK_AGAIN)
    return row


def _supervised(session: Session, row: HookRun, script: str, timeout: timedelta, host: Host, tools: Toolbox) -> Run:
    project = session.task.project
    return Run(
        id=row.run_id,
        fence=session.fence,
        epoch=session.epoch,
        workspace=session.workspace.name,
        argv=("/bin/sh", "-c", WITHIN, "hook", seconds(timeout), script),
        env={**environment_of(project), **named(session)},
        sandbox=sandbox_for(project, session.host),
        readonly=(mirror_on(session.host, project, tools), *project.symlinks.values()),
        output_cap=1024 * 1024,
        deadline=deadline_of(session, host, timeout),
    )


def seconds(timeout: timedelta) -> str:
    """As `timeout` takes them everywhere: whole ones."""
    return str(max(1, math.ceil(timeout.total_seconds())))


def deadline_of(session: Session, host: Host, timeout: timedelta) -> float | None:
    """The guard of this machine stops it to the second. On another one the deadline is what a silent host's runs have, and is renewed."""
    if session.host.kind == HostRow.Kind.LOCAL:
        return host.facts().boottime + timeout.total_seconds()
    return renewed_deadline(session)
