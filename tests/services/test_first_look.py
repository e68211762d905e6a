"""Nothing runs on a machine that was not looked at: until then nobody knows whether its sandbox works."""

from __future__ import annotations

import pytest
from django.utils import timezone

from orchestrator.models import Host, Project, Session, Task
from orchestrator.services import fleet, projects, tasks
from orchestrator.services.events import Actor

pytestmark = pytest.mark.django_db


def test_a_host_takes_no_session_before_its_first_look() -> None:
    projects.local_host(name="local", capacity=3)
    project = Project.objects.create(
        key="app", name="App", remote="/srv/app", default_branch="main", agent="command", base_sha="a" * 40
    )
    task, _ = tasks.submit(project=project, title="Fix it", actor=Actor())
    assert fleet.dispatch(now=timezone.now()) == []
    assert "reachable" in Task.objects.get().waiting_for
    Host.objects.update(seen_at=timezone.now())
    assert fleet.dispatch(now=timezone.now()) == [task.pk]
    assert Session.objects.get().task == task
