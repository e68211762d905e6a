"""Puts a repository that was looked at into the database. Needs Django; `ops.local.register` does the looking without."""

from django.contrib.auth.models import User
from django.utils import timezone

from ops.local.doctor import sandbox_in_use
from ops.local.errors import CannotRun
from ops.local.register import INSTALL, Found
from orchestrator.ports import Sandbox
from orchestrator.services import projects
from orchestrator.services.events import Actor
from workers.plugins import builtin


def register(found: Found, user: User, *, key: str | None = None) -> list[str]:
    """Register the repository, or find the project that it is registered as; says what was chosen."""
    agent, agent_config = found.agent(set(builtin.AGENTS))
    try:
        project, new = projects.register(
            key=key or found.key,
            name=found.name,
            remote=found.remote,
            checkout=found.checkout,
            default_branch=found.default_branch,
            agent=agent,
            agent_config=agent_config,
            scm=found.scm,
            sandbox=Sandbox.BUBBLEWRAP if sandbox_in_use() else Sandbox.NONE,
            notice="" if found.programs or key else f"No coding agent is installed. For one: {INSTALL['claude-code']}",
            actor=Actor(user=user, name=user.get_username(), at=timezone.now()),
        )
    except projects.InvalidProject as error:
        raise CannotRun(f"{found.remote} cannot be registered: {error}.") from error
    if not new:
        return [f"project {project.key}: {project.remote}, registered before and left as it is"]
    return found.told(project.key)
