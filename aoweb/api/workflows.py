"""A project's `WORKFLOW.md`: the version that holds, its earlier ones, and the issues that became tasks by it."""

from __future__ import annotations

import os
import tempfile
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any

from django.http import Http404
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from aoweb.api.answer_shapes import WorkflowAnswer, WorkflowShape, WorkflowVersionShape
from aoweb.api.base import ApiView
from aoweb.api.documenting import lists, reads, writes
from aoweb.api.idempotency import idempotent
from aoweb.api.pagination import page_of
from aoweb.api.problems import problem
from aoweb.api.request_shapes import NewWorkflow
from aoweb.permissions import Verb
from orchestrator.domain.claims import claim_of, phase_of
from orchestrator.domain.continuing import resumed_at
from orchestrator.domain.workflow import USUAL_NAME, WorkflowRefused, root_of
from orchestrator.models import Project, ProjectWorkflow, TrackedIssue, Turn, WorkflowVersion
from orchestrator.services import snapshots, workflow_settings
from orchestrator.services.workflows import versions

MOST_ISSUES = 100


class Workflow(ApiView):
    """What holds now, what is wrong with the newest text, and what the tracker showed."""

    @reads("workflow_retrieve", WorkflowShape)
    def get(self, request: Request, key: str) -> Response:
        project = self.find_project(key)
        row = ProjectWorkflow.objects.filter(project=project).select_related("current").first()
        if row is None:
            raise Http404
        return Response(_workflow(project, row))

    @writes("workflow_apply", NewWorkflow, WorkflowAnswer, code=200)
    @idempotent
    def put(self, request: Request, key: str) -> Response:
        """Take a text from now on. One that is refused changes nothing; the project shows why, and its last good version goes on."""
        project = self.find_project(key, Verb.CONFIGURE)
        wanted = self.body(NewWorkflow)
        path, text = wanted.get("path") or USUAL_NAME, wanted["text"]
        try:
            if wanted["plan"]:
                offer = versions.plan(project=project, text=text, env=os.environ, path=path)
            else:
                offer = versions.apply(project=project, text=text, env=os.environ, actor=self.actor(), path=path)
        except WorkflowRefused as refused:
            if not wanted["plan"]:
                versions.refused(project=project, text=text, error=refused, actor=self.actor(), path=path)
            told = f"{refused.fault}: {refused}"
            return problem(HTTPStatus.BAD_REQUEST, f"text: {told}", errors=[{"field": "text", "message": told}])
        return Response(
            {
                "applied": not wanted["plan"],
                "version": offer.number,
                "diff": offer.diff,
                "settings": workflow_settings.stored(offer.workflow),
            }
        )


class WorkflowVersions(ApiView):
    """Every text that held, the newest first."""

    @lists("workflow_versions_list", WorkflowVersionShape)
    def get(self, request: Request, key: str) -> Response:
        found = page_of(request, WorkflowVersion.objects.filter(project=self.find_project(key)))
        return Response(found.answer([_version(row) for row in found.rows]))


class WorkflowVersionDetail(ApiView):
    """One version, and what it changed."""

    @reads("workflow_versions_retrieve", WorkflowVersionShape)
    def get(self, request: Request, key: str, number: int) -> Response:
        project = self.find_project(key)
        row = WorkflowVersion.objects.filter(project=project, number=number).first()
        if row is None:
            raise Http404
        return Response(_version(row))


def _workflow(project: Project, row: ProjectWorkflow) -> dict[str, Any]:
    current = row.current
    return {
        "project": project.key,
        "current": _version(current) if current is not None else None,
        "settings": current.settings if current is not None else {},
        "workspace_root": _root(current) if current is not None else "",
        "applied": row.applied,
        "fault": row.fault,
        "error": row.error,
        "poll_at": row.poll_at,
        "polled_at": row.polled_at,
        "poll_error": row.poll_error,
        "issues": _issues(project),
    }


def _root(version: WorkflowVersion) -> str:
    """Where the file would have its workspaces; ours are below the home of each host."""
    return root_of(
        workflow_settings.settings_of(version),
        folder=str(PurePosixPath(version.source).parent),
        home=str(Path.home()),
        temporary=tempfile.gettempdir(),
        environment=os.environ,
    )


def _version(row: WorkflowVersion) -> dict[str, Any]:
    before = WorkflowVersion.objects.filter(project=row.project_id, number__lt=row.number).order_by("-number").first()
    return {
        "number": row.number,
        "digest": row.digest,
        "author": row.author,
        "origin": row.source,
        "taken_at": row.taken_at,
        "text": row.text,
        "diff": versions.diff_of(
            before.text if before is not None else "",
            row.text,
            before=f"version {before.number}" if before is not None else "nothing",
            after=f"version {row.number}",
        ),
    }


def _issues(project: Project) -> list[dict[str, Any]]:
    rows = TrackedIssue.objects.filter(project=project).select_related("task__project").order_by("-pk")[:MOST_ISSUES]
    return [_issue(row) for row in rows]


def _issue(row: TrackedIssue) -> dict[str, Any]:
    snapshot = snapshots.take(row.task, now=timezone.now())
    phase = phase_of(snapshot)
    turn = Turn.objects.filter(session__task=row.task_id).select_related("session").order_by("-pk").first()
    return {
        "id": row.issue,
        "identifier": str(row),
        "title": row.task.title,
        "state": row.facts.get("state", row.state),
        "standing": row.standing,
        "why": row.why,
        "url": row.facts.get("url", ""),
        "task": row.task_id,
        "claim": str(claim_of(snapshot)),
        "phase": None if phase is None else str(phase),
        "session_id": turn.in_conversation if turn is not None else None,
        "turn_count": turn.n if turn is not None else 0,
        "retry_at": resumed_at(snapshot),
        "seen_at": row.seen_at,
    }
