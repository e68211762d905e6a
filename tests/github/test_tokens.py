"""Which token is used where: the named one, the app's, the environment's; and nobody but GitHub is shown the environment's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from github import GithubIntegration

from orchestrator.models import Project
from orchestrator.ports import Refused
from workers.plugins.scms.github import project as github
from workers.toolbox import token_of

REMOTE = "https://github.com/acme/demo.git"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_environment")
    monkeypatch.delenv("GH_HOST", raising=False)


def project(remote: str = REMOTE, **scm: object) -> Project:
    return Project(key="demo", remote=remote, scm={"plugin": "github", **scm})


@pytest.mark.parametrize(
    ("remote", "scm", "token"),
    [
        (REMOTE, {}, "ghp_environment"),
        ("git@github.com:acme/demo.git", {}, "ghp_environment"),
        ("https://acme.ghe.com/acme/demo", {"apiUrl": "https://api.acme.ghe.com"}, "ghp_environment"),
        (REMOTE, {"apiUrl": "https://evil.example"}, None),
        ("https://evil.example/acme/demo.git", {}, None),
        ("https://github.com.evil.example/acme/demo.git", {}, None),
        ("http://github.com/acme/demo.git", {}, None),
        ("https://github.example.com/acme/demo.git", {}, None),
        ("/repositories/demo", {}, None),
    ],
)
def test_t24_the_environments_token_is_shown_to_github_alone(
    remote: str, scm: dict[str, object], token: str | None
) -> None:
    assert token_of(project(remote, **scm)) == token


def test_an_enterprise_server_is_meant_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GH_HOST", "github.example.com")
    row = project("https://github.example.com/acme/demo.git")
    assert token_of(row) == "ghp_environment"
    assert github.api_url_of(row) == "https://github.example.com/api/v3"


def test_a_named_token_comes_first_and_one_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_TOKEN", "ghp_named")
    assert token_of(project(token="${ACME_TOKEN}")) == "ghp_named"
    with pytest.raises(Refused, match=r"scm.token of demo needs \$\{OTHER_TOKEN\}"):
        token_of(project(token="${OTHER_TOKEN}"))


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> list[timedelta]:
    """An app whose tokens live as long as the list says, one after the other."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    monkeypatch.setenv("APP_KEY", pem)
    monkeypatch.setattr(github, "_APP_TOKENS", {})
    lives: list[timedelta] = []

    class Made:
        def __init__(self, number: int, life: timedelta) -> None:
            self.token, self.expires_at = f"ghs_{number}", datetime.now(UTC) + life

    def access(self: GithubIntegration, installation: int) -> Any:
        assert installation == 42
        assert self.auth is not None
        assert self.auth.token.count(".") == 2  # signed by the app's own key
        return Made(len(lives), lives.pop(0))

    monkeypatch.setattr(GithubIntegration, "get_access_token", access)
    return lives


APP = {"id": 7, "installation": 42, "privateKey": "${APP_KEY}"}


def test_an_apps_token_is_kept_until_shortly_before_it_ends(app: list[timedelta]) -> None:
    app += [timedelta(hours=1), timedelta(hours=1)]
    assert {token_of(project(app=APP)) for _ in range(3)} == {"ghs_2"}
    assert len(app) == 1


def test_an_apps_token_that_is_about_to_end_is_made_anew(app: list[timedelta]) -> None:
    app += [timedelta(minutes=4), timedelta(hours=1)]
    assert [token_of(project(app=APP)) for _ in range(3)] == ["ghs_2", "ghs_1", "ghs_1"]


@pytest.mark.parametrize("broken", [{}, {**APP, "id": "x", "privateKey": "pem"}, {"id": 7, "installation": 42}])
def test_an_app_that_is_not_fully_named_is_refused_with_what_it_needs(broken: dict[str, object]) -> None:
    with pytest.raises(Refused, match=r"scm\.app of demo needs id, installation"):
        token_of(project(app=broken))
