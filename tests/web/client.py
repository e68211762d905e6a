"""A program that speaks to the API, and rows for it to speak about."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from orchestrator.models import Host, Membership, Project, PullRequest, Role, Session, Task, Turn
from orchestrator.services import accounts, tasks
from orchestrator.services.events import Actor

ROOT = "/api/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def kind(self) -> str:
        return self.headers.get("Content-Type", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """A client with a token, or without one."""

    token: str = ""
    http: Client = field(default_factory=lambda: Client(raise_request_exception=False))

    def get(self, path: str, **query: Any) -> Answer:
        return self.send("GET", path, query=query)

    def post(self, path: str, key: str | None = None, /, **body: Any) -> Answer:
        return self.send("POST", path, raw=json.dumps(body), key=key)

    def send(
        self,
        method: str,
        path: str,
        *,
        raw: str | bytes = "",
        key: str | None = None,
        query: Any = None,
        kind: str = "application/json",
    ) -> Answer:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if key is not None:
            headers["Idempotency-Key"] = key
        data = {"query_params": query} if method == "GET" else {"data": raw, "content_type": kind}
        response = self.http.generic(method, f"{ROOT}{path}", headers=headers, **data)
        if getattr(response, "streaming", False):
            raise AssertionError("the API does not stream")
        text = response.content.decode()
        body = json.loads(text) if "json" in response.headers.get("Content-Type", "") and text else text
        return Answer(status=response.status_code, body=body, headers=dict(response.headers))


def superuser() -> User:
    return accounts.first_user(name="ada")


def member(project: Project, role: Role, name: str = "bob") -> User:
    user = User.objects.create_user(username=name)
    Membership.objects.create(project=project, user=user, role=role)
    return user


def speaking_as(user: User, scope: str = "write") -> Api:
    return Api(token=accounts.issue_token(user=user, name="test", scope=scope, now=timezone.now()))


def a_project(key: str = "my-app", **more: Any) -> Project:
    told = {
        "name": key,
        "remote": f"/srv/{key}.git",
        "default_branch": "main",
        "session_prefix": key[:20],
        "agent": "command",
    }
    return Project.objects.create(key=key, **{**told, "scm": {"plugin": "local"}, **more})


def a_task(project: Project, title: str = "Fix the failing test") -> Task:
    task, _ = tasks.submit(project=project, title=title, actor=Actor(name="ada"))
    return task


def at_work(task: Task) -> Turn:
    """A session of the task, in its first turn."""
    host, _ = Host.objects.get_or_create(name="local")
    session = Session.objects.create(
        task=task, epoch=1, host=host, agent=task.agent, base_sha="b" * 40, prepared_at=timezone.now()
    )
    return Turn.objects.create(session=session, n=1, prompt="", started_at=timezone.now(), progress_at=timezone.now())


def under_review(task: Task) -> PullRequest:
    """An open pull request of the task."""
    now = timezone.now()
    return PullRequest.objects.create(
        project=task.project,
        task=task,
        number=PullRequest.objects.count() + 1,
        title=task.title,
        branch=task.branch,
        base_branch="main",
        head_sha="a" * 40,
        head_since=now,
        observed_at=now,
        mergeable=True,
    )
