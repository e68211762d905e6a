"""`ao start --config FILE`: registers the repositories that the file names by path, then applies the file; a WORKFLOW.md is the workflow
of the repository that is started."""

import os
from pathlib import Path

from django.contrib.auth.models import User
from django.utils import timezone

from ops.local.errors import CannotRun
from ops.local.register import Found, look
from ops.local.registration import register
from orchestrator.domain.workflow import WorkflowRefused
from orchestrator.models import Project
from orchestrator.services.configuration import applying
from orchestrator.services.configuration.problems import ConfigRefused
from orchestrator.services.configuration.shapes import FileShape
from orchestrator.services.events import Actor
from orchestrator.services.workflows import versions


def apply(file: Path, user: User) -> list[str]:
    """Apply an agent-orchestrator.yaml; says what changed. Nothing of a file with a mistake is applied."""
    try:
        loaded = applying.load(text=file.read_text(), path=str(file), env=os.environ)
        told = [line for key, path in paths(loaded.shape).items() for line in register(look(path), user, key=key)]
        warnings = applying.warnings(loaded=loaded)
        changes = applying.apply(loaded=loaded, actor=Actor(user=user, name=user.get_username(), at=timezone.now()))
    except ConfigRefused as error:
        raise CannotRun(f"the configuration is not applied.\n{error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CannotRun(f"{file} cannot be read: {error}.") from error
    done = [f"{change.kind} {change.what}" for change in changes if change.changed or str(change.kind) != "unchanged"]
    return [
        *told,
        *(f"warning: {warning}" for warning in warnings),
        f"{file}: {', '.join(done) or 'nothing to change'}",
    ]


def apply_workflow(file: Path, found: Found | None, user: User) -> list[str]:
    """Apply a WORKFLOW.md to the repository that was named with it, or to the only project there is."""
    projects = Project.objects.filter(remote=found.remote) if found is not None else Project.objects.all()
    project = projects.first()
    if project is None or projects.count() > 1:
        raise CannotRun(f"{file}: say whose workflow it is: ao start PATH --config {file}")
    actor = Actor(user=user, name=user.get_username(), at=timezone.now())
    try:
        text = file.read_text()
        offer = versions.apply(project=project, text=text, env=os.environ, actor=actor, path=str(file.resolve()))
    except WorkflowRefused as refused:
        raise CannotRun(f"{file} is not applied.\n{refused.fault}: {refused}") from refused
    except (OSError, UnicodeDecodeError) as error:
        raise CannotRun(f"{file} cannot be read: {error}.") from error
    return [
        f"{file}: {f'version {offer.number} of the workflow of {project}' if offer.changes else 'nothing to change'}"
    ]


def paths(shape: FileShape) -> dict[str, str]:
    """The projects of the file that are here by path only and not registered yet: what they are is looked up."""
    wanted = {
        key: project.path
        for key, project in (shape.projects or {}).items()
        if project.path and not project.remote and not project.repo
    }
    known = set(Project.objects.filter(key__in=wanted).values_list("key", flat=True))
    return {key: path for key, path in wanted.items() if key not in known}
