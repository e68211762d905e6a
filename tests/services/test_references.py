"""Secrets are named in settings and read where they are used; what they open is shown to nobody else."""

from __future__ import annotations

import pytest

from orchestrator.models import Event, NotificationChannel, Project
from orchestrator.ports import Refused
from orchestrator.services import projects
from orchestrator.services.events import Actor
from orchestrator.services.references import resolved
from workers.toolbox import mirror_of, real


def _project(remote: str, **scm: object) -> Project:
    return Project(pk=1, key="app", remote=remote, default_branch="main", scm=scm)


def test_a_reference_is_read_from_the_environment_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_URL", "https://hooks.example/secret")
    settings = {"url": "${SLACK_URL}/x", "more": {"list": ["${SLACK_URL}", 3]}, "plain": "$HOME {home}"}
    assert resolved(settings, of="the channel team") == {
        "url": "https://hooks.example/secret/x",
        "more": {"list": ["https://hooks.example/secret", 3]},
        "plain": "$HOME {home}",
    }


def test_a_missing_secret_is_refused_in_a_sentence_that_names_it() -> None:
    with pytest.raises(Refused, match=r"the channel team needs \$\{NO_SUCH_NAME\}.*set it there") as refused:
        resolved({"url": "${NO_SUCH_NAME}"}, of="the channel team")
    assert refused.value.code == "secret-missing"


@pytest.mark.parametrize("name", ["AO_SECRET_KEY", "DATABASE_URL", "REDIS_URL", "PGPASSWORD"])
def test_the_servers_own_names_are_not_given_away(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "mine")
    with pytest.raises(Refused) as refused:
        resolved({"url": f"https://elsewhere.example/${{{name}}}"}, of="the channel team")
    assert refused.value.code == "secret-forbidden"
    assert "mine" not in str(refused.value)


def test_a_channel_without_its_secret_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(Refused, match="NO_SUCH_NAME"):
        real().notifier(NotificationChannel(name="team", plugin="slack", config={"webhookUrl": "${NO_SUCH_NAME}"}))


def test_the_github_token_is_shown_to_github_and_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "t-1")
    assert mirror_of(_project("https://github.com/a/b.git")).token() == "t-1"
    for remote in (
        "https://evil.example/a/b.git",
        "https://github.com.evil.example/a",
        "https://github.com@evil.example/a",
        "/srv/app",
    ):
        assert mirror_of(_project(remote)).token() is None


def test_a_projects_own_token_is_used_for_its_own_remote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_FORGE", "t-2")
    assert mirror_of(_project("https://forge.example/a.git", token="${OUR_FORGE}")).token() == "t-2"
    with pytest.raises(Refused, match=r"scm.token of app needs \$\{GONE\}"):
        mirror_of(_project("https://forge.example/a.git", token="${GONE}")).token()


@pytest.mark.django_db
def test_the_login_in_an_address_is_told_to_nobody() -> None:
    project, _ = projects.register(
        key="app", name="App", remote="https://me:s3cret@forge.example/a.git", default_branch="main", actor=Actor()
    )
    line = Event.objects.get(kind="project.registered")
    assert line.text == "registered https://forge.example/a.git"
    assert line.actor_name == "somebody"
    assert project.shown_remote == "https://forge.example/a.git"
