"""Look after projects: their mirrors are made and kept fresh, and workspaces are prepared ahead of need."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from orchestrator.domain.workflow import USUAL_NAME
from orchestrator.models import Host, Job, Project, ProjectWorkflow, Workspace
from orchestrator.ports import PortError
from orchestrator.services import checks, projects
from orchestrator.services.configuration.yaml import SIZE_CAP
from orchestrator.services.workflows import versions
from workers import runner
from workers.executors.specs import detached_spec
from workers.git.mirror import Mirror
from workers.toolbox import Toolbox

logger = logging.getLogger(__name__)

FRESH = timedelta(seconds=30)
FETCH_SECONDS = 45.0
CLONE_SECONDS = 3600.0
CLONE_PATIENCE = 5.0  # most clones are done by then, and are worth waiting for

_CLONING: dict[int, threading.Thread] = {}
_LOOKING = threading.Lock()
_ASKED = threading.Event()
_WARMING = 0x616F  # the advisory locks of those who prepare workspaces ahead of need, one a project


def look_after_projects(tools: Toolbox) -> None:
    """Fetch the mirrors that are due, one after the other; what is wrong with one is said on its project and delays no other."""
    _ASKED.set()
    # Whoever comes while another of this process is at it leaves it to that one, who looks once more: a project may be new.
    while _ASKED.is_set() and _LOOKING.acquire(blocking=False):
        try:
            _ASKED.clear()
            _look_after(tools, now=timezone.now())
        finally:
            _LOOKING.release()


def _look_after(tools: Toolbox, *, now: datetime) -> None:
    due = Project.objects.filter(Q(mirrored_at__isnull=True) | Q(mirrored_at__lte=now - FRESH))
    for project in due:
        refresh(project, tools)
    for project in Project.objects.exclude(base_sha="").filter(paused=False):
        prepare_ahead(project, tools)


def refresh(project: Project, tools: Toolbox) -> None:
    """Bring the project's mirror up to date. A first clone may take long: it has a thread of its own, and everybody else goes on."""
    if tools.mirror(project).exists:
        fetch(project, tools, timeout=FETCH_SECONDS)
    elif (known := _CLONING.get(project.pk)) is None or not known.is_alive():
        clone = threading.Thread(target=_clone, args=(project, tools), name=f"clone-{project.key}", daemon=True)
        _CLONING[project.pk] = clone
        clone.start()
        clone.join(CLONE_PATIENCE)


def _clone(project: Project, tools: Toolbox) -> None:
    try:
        fetch(project, tools, timeout=CLONE_SECONDS)
    finally:
        connection.close()


def fetch(project: Project, tools: Toolbox, *, timeout: float) -> None:
    """Make the mirror or bring it up to date; what is wrong is said on the project."""
    mirror = tools.mirror(project)
    try:
        sha = mirror.create(base_branch=project.default_branch, timeout=timeout)
    except PortError as error:
        logger.warning("mirror not fetched", extra={"project": project.key, "error": str(error)})
        projects.trouble(project=project, notice=f"{project.shown_remote}: {error}")
        return
    projects.mirrored(project=project, base_sha=sha, now=timezone.now())
    runner.unhindered("looking for a workflow", lambda: _look_for_workflow(project, mirror, sha))


def _look_for_workflow(project: Project, mirror: Mirror, sha: str) -> None:
    """The repository's own WORKFLOW.md, once for each commit of the default branch."""
    if ProjectWorkflow.objects.filter(project=project).filter(Q(looked_sha=sha) | Q(applied=True)).exists():
        return
    try:
        text = mirror.text_of(USUAL_NAME, sha=sha, cap=SIZE_CAP)
    except PortError as error:
        logger.warning("no look at the workflow", extra={"project": project.key, "error": str(error)})
        return
    versions.found_in_repository(project=project, text=text, sha=sha, env=os.environ, now=timezone.now())


def prepare_ahead(project: Project, tools: Toolbox) -> None:
    """Prepare the project's workspaces, unless somebody else is at it."""
    with _alone(project) as alone:
        if alone:
            warm_up(project, tools)


@contextmanager
def _alone(project: Project) -> Iterator[bool]:
    """Whether nobody else prepares workspaces of the project now: two at once in one room would each begin it anew."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_WARMING, project.pk])
        alone = bool(cursor.fetchone()[0])
    try:
        yield alone
    finally:
        if alone:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_WARMING, project.pk])


def warm_up(project: Project, tools: Toolbox) -> None:
    """Prepare workspaces ahead of need on this machine, up to the project's number; a claim then is a change of branch."""
    host = (
        Host.objects.filter(kind=Host.Kind.LOCAL, silent_since__isnull=True, seen_at__isnull=False)
        .order_by("pk")
        .first()
    )
    if host is None or host.draining:
        return
    unclaimed = Workspace.objects.filter(
        project=project, host=host, session__isnull=True, purpose=Workspace.Purpose.SESSION
    )
    begun = list(unclaimed.filter(state=Workspace.State.PREPARING))  # whoever began them is gone: they are adopted
    missing = project.warm_workspaces - len(begun) - unclaimed.filter(state=Workspace.State.READY).count()
    begun += [checks.warm_workspace(project_id=project.pk, host=host) for _ in range(missing)]
    for workspace in begun:
        if Job.objects.due(timezone.now()).filter(queue=host.queue).exists():
            return  # what was asked for goes before what may be asked for
        port = tools.host(host)
        try:
            port.open_workspace(workspace.name)
            tools.workspaces.prepare(detached_spec(project, host, workspace.name, tools, sha=project.base_sha), port)
        except PortError as error:
            # Its row stays, so that the room, which may be there by now, is adopted by the next try.
            logger.warning("no warm workspace", extra={"project": project.key, "error": str(error)})
            return
        Workspace.objects.filter(pk=workspace.pk, session__isnull=True).update(state=Workspace.State.READY)
