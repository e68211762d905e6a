"""Versions of a project's workflow: taken, refused, compared. What is refused changes nothing but what the project shows."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from orchestrator import doorbell
from orchestrator.domain.workflow import USUAL_NAME, Workflow, WorkflowFault, WorkflowRefused, variables_in
from orchestrator.models import Project, ProjectWorkflow, Task, WorkflowVersion
from orchestrator.services import events
from orchestrator.services.events import Actor
from orchestrator.services.workflow_settings import current_version, stored
from orchestrator.services.workflows import reading

_SECRETS = ("api_key", "token")  # where a tracker's section names one


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What applying a text would do: the difference to what holds, empty where there is none."""

    workflow: Workflow
    diff: str
    number: int  # of the version that it is or would be

    @property
    def changes(self) -> bool:
        return bool(self.diff)


def plan(*, project: Project, text: str, env: Mapping[str, str], path: str = USUAL_NAME) -> Offer:
    """What `apply` would do. Raises `WorkflowRefused`."""
    workflow = reading.read(text, path=path)
    problem = unfit(workflow, project, env)
    if problem is not None:
        raise problem
    before = current_version(project)
    old, number = (before.text, before.number) if before is not None else ("", 0)
    told = diff_of(old, text, before=f"version {number}" if number else "nothing", after=path)
    return Offer(workflow=workflow, diff=told, number=number if not told else _next_number(project))


@transaction.atomic
def apply(*, project: Project, text: str, env: Mapping[str, str], actor: Actor, path: str = USUAL_NAME) -> Offer:
    """Take a text as the project's workflow from now on; the same text again changes nothing. The file in the repository is not looked at
    any more. Raises `WorkflowRefused`; then the last good version goes on, and the project shows what was wrong."""
    offer = plan(project=project, text=text, env=env, path=path)
    row = _locked(project)
    if offer.changes:
        _take(row, text, offer.workflow, author=actor.name, source=path, actor=actor)
    row.applied, row.fault, row.error, row.offered = True, "", "", digest_of(text)
    row.save(update_fields=["applied", "fault", "error", "offered"])
    return offer


@transaction.atomic
def refused(*, project: Project, text: str, error: WorkflowRefused, actor: Actor, path: str = USUAL_NAME) -> None:
    """Show on the project why a text was not taken. Sessions and the last good version go on."""
    _show(_locked(project), error, offered=digest_of(text), source=path, actor=actor)


@transaction.atomic
def found_in_repository(*, project: Project, text: str | None, sha: str, env: Mapping[str, str], now: datetime) -> None:
    """Look at the repository's own `WORKFLOW.md` at a commit of the default branch. One that somebody applied by hand goes before it; a page
    of that name about something else is left alone."""
    row = ProjectWorkflow.objects.filter(project=project).first()
    wanted = text is not None and reading.says_workflow(text)
    if (row is None and not wanted) or (row is not None and row.applied):
        return
    row = _locked(project)
    row.looked_sha = sha
    row.save(update_fields=["looked_sha"])
    source = f"{USUAL_NAME} at {sha[:12]}"
    actor = Actor(name=project.default_branch, at=now)
    if text is None or not wanted:
        gone = WorkflowRefused(WorkflowFault.MISSING, f"{project.default_branch} holds no {USUAL_NAME} any more")
        _show(row, gone, offered="", source=source, actor=actor)
    elif row.offered != digest_of(text):
        _offered(row, text, source=source, actor=actor, env=env)


def _offered(row: ProjectWorkflow, text: str, *, source: str, actor: Actor, env: Mapping[str, str]) -> None:
    try:
        offer = plan(project=row.project, text=text, env=env)
    except WorkflowRefused as error:
        _show(row, error, offered=digest_of(text), source=source, actor=actor)
        return
    if offer.changes:
        _take(row, text, offer.workflow, author=row.project.default_branch, source=source, actor=actor)
    row.fault, row.error, row.offered = "", "", digest_of(text)
    row.save(update_fields=["fault", "error", "offered"])


def unfit(workflow: Workflow, project: Project, env: Mapping[str, str]) -> WorkflowRefused | None:
    """What keeps a workflow's tracker from being asked for this project, here and now."""
    forge = project.scm.get("plugin", "local")
    if workflow.tracker_kind == "github" and forge != "github":
        return WorkflowRefused(
            WorkflowFault.TRACKER_CONFIG,
            f"tracker.kind: 'github' needs a project on GitHub, and {project} is on the forge {forge}",
        )
    for name in _SECRETS:
        written = workflow.provider.get(name)
        if isinstance(written, str) and written and not variables_in(written, env):
            return WorkflowRefused(
                WorkflowFault.TRACKER_SECRET,
                f"tracker.{name}: {written} is not set where the server runs: set it there and start again",
            )
    return None


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def diff_of(old: str, new: str, *, before: str, after: str) -> str:
    """The difference of two texts as people read it; empty: there is none."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), before, after, lineterm="")
    told = "\n".join(lines)
    return told if told or old == new else f"--- {before}\n+++ {after}\n(only the ends of lines differ)"


def _locked(project: Project) -> ProjectWorkflow:
    ProjectWorkflow.objects.get_or_create(project=project)
    return ProjectWorkflow.objects.select_for_update(of=("self",)).select_related("project").get(project=project)


def _next_number(project: Project) -> int:
    newest = (
        WorkflowVersion.objects.filter(project=project).order_by("-number").values_list("number", flat=True).first()
    )
    return (newest or 0) + 1


def _take(
    row: ProjectWorkflow, text: str, workflow: Workflow, *, author: str, source: str, actor: Actor
) -> WorkflowVersion:
    version = WorkflowVersion.objects.create(
        project=row.project,
        number=_next_number(row.project),
        text=text,
        settings=stored(workflow),
        digest=digest_of(text),
        author=author[:200],
        source=source[:1000],
        taken_at=actor.at,
    )
    row.current = version
    row.poll_at = actor.at if workflow.polls else None
    row.poll_error = ""
    row.stall_timeout = workflow.stall_timeout
    row.save(update_fields=["current", "poll_at", "poll_error", "stall_timeout"])
    told = f"{author} set the workflow: version {version.number} ({version.digest[:12]}), {source}"
    data = {"version": version.number, "digest": version.digest}
    events.record(kind="workflow.taken", text=told, project=row.project, actor=actor, at=actor.at, data=data)
    Task.objects.filter(project=row.project, outcome="").update(wake_at=actor.at)
    doorbell.ring("place_tasks", queue_name="control")
    return version


def _show(row: ProjectWorkflow, error: WorkflowRefused, *, offered: str, source: str, actor: Actor) -> None:
    news = (row.fault, row.error) != (str(error.fault), str(error))
    row.fault, row.error, row.offered = str(error.fault), str(error), offered
    row.save(update_fields=["fault", "error", "offered"])
    if news:
        kept = f"; version {row.current.number} goes on" if row.current is not None else ""
        told = f"the workflow of {source} is not taken: {error.fault}: {error}{kept}"[:2000]
        events.record(kind="workflow.refused", text=told, project=row.project, actor=actor, at=actor.at)
