"""Who comes in by the API and who does not; what hostile bodies get; the same write twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import Client
from django.urls import URLPattern
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aoweb.api import problems
from aoweb.api.urls import urlpatterns
from orchestrator.models import (
    ApiToken,
    Host,
    IdempotencyRecord,
    Interruption,
    Membership,
    Message,
    Project,
    Role,
    RuleRow,
    Session,
    Task,
    Turn,
)
from orchestrator.services import accounts
from tests.web.client import ROOT, Answer, Api, a_project, a_task, at_work, member, speaking_as, superuser, under_review

pytestmark = pytest.mark.django_db
PROBLEM = "application/problem+json"
HOST_KEY = "ssh-ed25519 " + "A" * 68
POSTS = [
    "/tasks/",
    *(f"/tasks/{{task}}/{deed}/" for deed in ("messages", "answer", "review", "merge", "cancel", "retry", "restart")),
    *(f"/tasks/{{task}}/{deed}/" for deed in ("pause", "resume")),
    "/escalations/{asked}/acknowledge/",
    "/escalations/{asked}/snooze/",
    "/escalations/{asked}/resolve/",
    "/inbox/read/",
    "/config/",
    "/hosts/",
    "/host-links/",
    "/tokens/",
    "/login-links/",
    "/rules/replay/",
]
GETS = [
    "/tasks/",
    "/tasks/{task}/",
    *(f"/tasks/{{task}}/{page}/" for page in ("messages", "events", "transcript", "diff", "why", "rules")),
    *(
        "/events/",
        "/projects/",
        "/projects/my-app/",
        "/projects/my-app/workflow/",
        "/projects/my-app/workflow/versions/",
        "/projects/my-app/workflow/versions/1/",
        "/rules/",
        "/rules/versions/",
        "/hosts/",
        "/hosts/local/",
        "/escalations/",
        "/notifications/",
        "/channels/",
        "/inbox/",
    ),
    *("/usage/", "/config/", "/tokens/", "/schema/"),
]
OTHERS = [
    ("PUT", "/rules/"),
    ("PATCH", "/tasks/{task}/"),
    ("PUT", "/projects/my-app/workflow/"),
    ("PATCH", "/hosts/local/"),
    ("DELETE", "/hosts/local/"),
    ("DELETE", "/tokens/{token}/"),
]


@pytest.fixture
def user() -> User:
    return superuser()


@pytest.fixture
def project(user: User) -> Project:
    return a_project()


@pytest.fixture
def ids(project: Project, user: User) -> dict[str, int]:
    """A task with everything, and what hangs from it."""
    task = a_task(project)
    Host.objects.get_or_create(name="local")
    asked = Interruption.objects.create(
        task=task, cause="c", priority="info", question="?", escalation=True, asked_at=timezone.now()
    )
    accounts.issue_token(user=user, name="kept", scope="write", now=timezone.now())
    return {"task": task.pk, "asked": asked.pk, "token": ApiToken.objects.get(name="kept").pk}


@pytest.fixture
def api(user: User) -> Api:
    return speaking_as(user)


def a_problem(answer: Answer, *codes: int) -> None:
    assert answer.status in codes, (answer.status, answer.body)
    assert answer.kind == PROBLEM
    assert set(answer.body) >= {"type", "title", "status", "detail"}
    assert answer.body["status"] == answer.status


@pytest.mark.parametrize("path", POSTS)
def test_d19_anonymous_posts_are_401(ids: dict[str, int], path: str) -> None:
    answer = Api().send("POST", path.format(**ids), raw="{}")

    a_problem(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert Task.objects.get().cancel_requested_at is None
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    ("method", "path"), [*(("GET", path) for path in GETS), *OTHERS, ("GET", "/nowhere/"), ("OPTIONS", "/tasks/")]
)
def test_d19_nothing_is_shown_to_those_who_are_not_logged_in(ids: dict[str, int], method: str, path: str) -> None:
    a_problem(Api().send(method, path.format(**ids), raw="{}" if method != "GET" else ""), 401)


def test_every_address_is_in_these_lists() -> None:
    known = {
        path.format(task=0, asked=0, token=0).replace("/0/", "/<row:pk>/")
        for path in [*POSTS, *GETS, *(p for _, p in OTHERS)]
    }
    known = {
        path.replace("/projects/my-app/", "/projects/<slug:key>/")
        .replace("/versions/1/", "/versions/<row:number>/")
        .replace("/hosts/local/", "/hosts/<slug:name>/")
        for path in known
    }

    assert known | {"/docs/"} == {
        f"/{pattern.pattern}" for pattern in urlpatterns if isinstance(pattern, URLPattern) and pattern.name
    }


@pytest.mark.parametrize(
    "header",
    [
        "Bearer wrong",
        "Bearer",
        "Bearer  ",
        "bearer ao_x y",
        "Bearer " + "x" * 10_000,
        "Bearer \xff\xfe",
        "Basic YTpi",
        "ao_x",
    ],
)
def test_t16_what_is_no_token_is_a_401(user: User, header: str) -> None:
    response = Client().get(f"{ROOT}/tasks/", headers={"Authorization": header})

    assert response.status_code == 401
    assert response.headers["Content-Type"] == PROBLEM


def test_t16_expired_and_revoked_tokens_are_a_401_and_read_tokens_do_not_write(user: User, project: Project) -> None:
    now = timezone.now()
    short = Api(
        token=accounts.issue_token(
            user=user, name="s", scope="write", now=now - timedelta(days=2), expires_at=now - timedelta(days=1)
        )
    )
    reader, lost = speaking_as(user, scope="read"), speaking_as(user)
    accounts.revoke_token(token=ApiToken.objects.order_by("-pk")[0], now=now)

    a_problem(short.get("/tasks/"), 401)
    a_problem(lost.get("/tasks/"), 401)
    assert reader.get("/tasks/").status == 200
    a_problem(reader.post("/tasks/", project="my-app", title="x"), 403)
    a_problem(reader.post("/tokens/", name="more", scope="write"), 403)


def test_t16_a_token_in_the_address_opens_nothing_and_none_is_logged(
    user: User, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    assert Api().get("/tasks/", token=api.token, access_token=api.token, key=api.token).status == 401
    api.get("/nowhere/")
    api.post("/tasks/", project="nowhere", title="x")

    assert api.token not in caplog.text


def test_t16_tokens_are_made_listed_and_revoked(api: Api) -> None:
    made = api.post("/tokens/", name="ci", scope="read")
    listed = api.get("/tokens/").body["results"]

    assert made.status == 201
    assert Api(token=made.body["token"]).get("/tasks/").status == 200
    assert made.body["token"] not in json.dumps(listed)
    mine = next(row for row in listed if row["name"] == "ci")
    assert api.send("DELETE", f"/tokens/{mine['id']}/").status == 204
    assert Api(token=made.body["token"]).get("/tasks/").status == 401
    a_problem(api.post("/tokens/", "key", name="ci"), 400)


def test_t16_a_token_cannot_make_one_that_outlives_it(user: User) -> None:
    ends = timezone.now() + timedelta(hours=1)
    api = Api(token=accounts.issue_token(user=user, name="short", scope="write", now=timezone.now(), expires_at=ends))

    api.post("/tokens/", name="longer", expires_at=(ends + timedelta(days=9)).isoformat())
    api.post("/tokens/", name="endless")

    assert {row.expires_at for row in ApiToken.objects.filter(name__in=["longer", "endless"])} == {ends}
    a_problem(api.post("/login-links/"), 403)


def test_a_login_link_opens_the_board_once(api: Api, user: User) -> None:
    url = api.post("/login-links/").body["url"]

    assert accounts.redeem_login_link(token=url.rstrip("/").rpartition("/")[2], now=timezone.now()) == user


def test_t14_a_browsers_session_needs_the_csrf_token_to_write(user: User, project: Project) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(user)
    api = Api(http=browser)

    assert api.get("/tasks/").status == 200
    a_problem(api.post("/tasks/", project="my-app", title="x"), 403)
    assert not Task.objects.exists()


def test_t15_another_projects_objects_are_404_for_every_address(ids: dict[str, int]) -> None:
    other = a_project("other")
    api = speaking_as(member(other, Role.MAINTAINER))

    for path in (path for path in GETS if "{task}" in path or path == "/projects/my-app/"):
        a_problem(api.get(path.format(**ids)), 404)
    for path in (path for path in POSTS if "{" in path):
        a_problem(api.post(path.format(**ids), text="x", decision="approve", request_id="q", answer="a"), 404)
    a_problem(api.send("DELETE", f"/tokens/{ids['token']}/"), 404)
    a_problem(api.send("PUT", "/rules/", raw='{"project": "my-app", "trigger": "ci-failed"}'), 404)
    a_problem(api.get("/rules/", project="my-app"), 404)
    a_problem(api.get("/usage/", project="my-app"), 404)
    a_problem(api.post("/tasks/", project="my-app", title="x"), 400)
    for path in ("/tasks/", "/escalations/", "/notifications/", "/events/"):
        assert api.get(path).body["results"] == []
    assert [row["key"] for row in api.get("/projects/").body["results"]] == ["other"]


@pytest.mark.parametrize(
    ("role", "codes"),
    [
        (Role.VIEWER, {"see": 200, "submit": 403, "drive": 403, "review": 403, "configure": 403}),
        (Role.MEMBER, {"see": 200, "submit": 201, "drive": 201, "review": 201, "configure": 403}),
        (Role.MAINTAINER, {"see": 200, "submit": 201, "drive": 201, "review": 201, "configure": 200}),
    ],
)
def test_roles_go_as_far_as_they_go(ids: dict[str, int], project: Project, role: Role, codes: dict[str, int]) -> None:
    under_review(Task.objects.get())
    api = speaking_as(member(project, role))

    assert {
        "see": api.get(f"/tasks/{ids['task']}/").status,
        "submit": api.post("/tasks/", project="my-app", title="x").status,
        "drive": api.post(f"/tasks/{ids['task']}/messages/", text="x").status,
        "review": api.post(f"/tasks/{ids['task']}/review/", decision="approve").status,
        "configure": api.send(
            "PUT", "/rules/", raw='{"project": "my-app", "trigger": "ci-failed", "retries": 1}'
        ).status,
    } == codes
    a_problem(api.post("/config/", text="port: 3000"), 403)
    a_problem(api.get("/config/"), 403)
    a_problem(api.send("PATCH", "/hosts/local/", raw='{"draining": true}'), 403)
    a_problem(api.send("DELETE", "/hosts/local/", raw="{}"), 403)
    a_problem(api.post("/hosts/", name="spare", address="a@b", host_key=HOST_KEY), 403)
    a_problem(api.send("PUT", "/rules/", raw='{"trigger": "ci-failed", "retries": 1}'), 403)


@pytest.mark.parametrize(
    ("raw", "codes"),
    [
        (b'{"title": "' + b"x" * 1_100_000 + b'"}', (413,)),
        (b"[" * 100_000, (400, 422)),
        (b'{"title":' + b'{"a":' * 50_000, (400, 422)),
        (b'{"title": ' + b'{"a":' * 30 + b"1" + b"}" * 30 + b"}", (422,)),
        (b'{"title": "\xff\xfe"}', (400,)),
        (b'{"title": "a\\u0000b"}', (400,)),
        (b'{"title": "\\ud800"}', (400,)),
        (b'{"\\ud800": 1}', (400,)),
        (b'{"priority": ' + b"9" * 5000 + b"}", (400,)),
        (b'{"priority": 99999999999999999999}', (400,)),
        (b'{"priority": NaN}', (400,)),
        (b'{"priority": 1e400}', (400,)),
        (b"[1]", (400,)),
        (b'"x"', (400,)),
        (b"null", (400,)),
        (b"", (400, 409)),
        (b"{", (400,)),
    ],
)
@pytest.mark.parametrize(
    "path", ["/tasks/", "/tasks/{task}/messages/", "/tasks/{task}/review/", "/config/", "/tokens/"]
)
def test_t22_bodies_that_bite_are_refused_with_a_problem(
    api: Api, ids: dict[str, int], path: str, raw: bytes, codes: tuple[int, ...]
) -> None:
    a_problem(api.send("POST", path.format(**ids), raw=raw), *codes)


_WORDS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(codec=None)),
    st.sampled_from(
        [
            "a;id",
            "$(id)",
            "../../etc/passwd",
            "\x1b[201~",
            "\x00",
            "\ud800",
            "my-app",
            "approve",
            "ci-failed",
            "1h",
            "x" * 400,
        ]
    ),
)
_VALUES = st.recursive(
    _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from(
    [
        *(
            "project",
            "title",
            "body",
            "issue",
            "agent",
            "priority",
            "labels",
            "depends_on",
            "text",
            "request_id",
            "answer",
            "decision",
        ),
        *(
            "comments",
            "head_sha",
            "trigger",
            "auto",
            "action",
            "message",
            "retries",
            "escalate_after",
            "threshold",
            "include_summary",
        ),
        *("capacity", "draining", "path", "plan", "name", "scope", "expires_at"),
    ]
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(body=st.dictionaries(_NAMES, _VALUES, max_size=8))
def test_whatever_is_posted_the_answer_is_never_a_failure_of_ours(
    api: Api, ids: dict[str, int], body: dict[str, Any]
) -> None:
    raw = json.dumps(body)
    for method, path in [*(("POST", path) for path in POSTS), *OTHERS[:2]]:
        answer = api.send(method, path.format(**ids), raw=raw)
        assert answer.status < 500, (method, path, answer.body)
        assert answer.kind == (PROBLEM if answer.status >= 400 else "application/json")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/tasks/999999999999999999/",
            "/tasks/99999999999999999999999999/",
            "/tasks/x/",
            "/tasks/-1/",
            "/tasks/%00/",
            "/tasks/1'--/",
        ),
        *(
            "/tasks/..%2f..%2fetc/",
            "/projects/..%2f/",
            "/projects/%ff/",
            "/hosts/nowhere/",
            "/nowhere",
            "/",
            "/tasks/1/nothing/",
        ),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_t10_what_is_not_there_is_a_problem_too(api: Api, method: str, path: str) -> None:
    answer = api.send(method, path, raw="" if method == "GET" else "{}")

    a_problem(answer, 404, 405)


def test_other_methods_kinds_and_wishes_are_problems(api: Api, project: Project) -> None:
    a_problem(api.send("DELETE", "/tasks/"), 405)
    a_problem(api.send("POST", "/tasks/", raw="title=x", kind="application/x-www-form-urlencoded"), 415)
    a_problem(api.send("POST", "/tasks/", raw="<a/>", kind="text/xml"), 415)
    response = Client().get(f"{ROOT}/tasks/", headers={"Authorization": f"Bearer {api.token}", "Accept": "image/png"})
    assert (response.status_code, response.headers["Content-Type"]) == (406, PROBLEM)


def test_a_database_that_is_down_is_a_503_that_says_when_to_come_back() -> None:
    answer = problems.handle(OperationalError("the connection is lost: password=secret"), {})

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "2"
    assert "secret" not in json.dumps(answer.data)


def test_f11_while_postgres_is_away_the_api_answers_503_and_readyz_too(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(connection, "cursor", away)

    answer = api.get("/tasks/")
    ready = Client().get("/readyz")

    a_problem(answer, 503)
    assert answer.headers["Retry-After"] == "2"
    assert (ready.status_code, Client().get("/healthz").status_code) == (503, 200)


def test_health_needs_no_login_and_says_ready() -> None:
    assert Client().get("/healthz").json() == {"status": "ok"}
    assert Client().get("/readyz").json() == {"status": "ok"}


def test_the_same_key_again_is_the_same_task_and_says_that_it_is_a_replay(api: Api, project: Project) -> None:
    first = api.post("/tasks/", "k1", project="my-app", title="Once")
    again = api.post("/tasks/", "k1", project="my-app", title="Once")

    assert (first.status, again.status) == (201, 200)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert again.body == first.body
    assert Task.objects.count() == 1


def test_the_same_key_with_another_body_is_a_422_that_names_it(api: Api, project: Project) -> None:
    api.post("/tasks/", "k1", project="my-app", title="Once")

    other = api.post("/tasks/", "k1", project="my-app", title="Twice")

    a_problem(other, 422)
    assert "'k1'" in other.body["detail"]
    assert Task.objects.count() == 1


def test_a_refused_write_is_not_remembered(api: Api, project: Project) -> None:
    a_problem(api.post("/tasks/", "k1", project="my-app", title=""), 400)

    assert not IdempotencyRecord.objects.exists()
    assert api.post("/tasks/", "k1", project="my-app", title="Now").status == 201


def test_two_people_may_use_the_same_key(api: Api, project: Project) -> None:
    bob = speaking_as(member(project, Role.MEMBER))

    one = api.post("/tasks/", "k1", project="my-app", title="Ada's")
    two = bob.post("/tasks/", "k1", project="my-app", title="Bob's")

    assert (one.status, two.status) == (201, 201)
    assert two.body["title"] == "Bob's"


@pytest.mark.parametrize("key", ["", "x" * 151, "a\tb", "k\xe9"])
def test_a_key_that_is_none_is_a_400(api: Api, project: Project, key: str) -> None:
    answer = api.post("/tasks/", key, project="my-app", title="x")

    a_problem(answer, 400)
    assert answer.body["errors"][0]["field"] == "Idempotency-Key"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/tasks/", "/tasks/{task}/messages/"])
def test_eight_at_once_with_one_key_are_one_effect(api: Api, ids: dict[str, int], path: str) -> None:
    body = {"project": "my-app", "title": "Once"} if path == "/tasks/" else {"text": "Once"}
    answers = _at_once(8, lambda: Api(token=api.token).post(path.format(**ids), "race", **body))

    assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
    assert len({answer.body["id"] for answer in answers}) == 1
    assert Task.objects.filter(title="Once").count() + Message.objects.filter(text="Once").count() == 1


def _at_once(count: int, work: Callable[[], Answer]) -> list[Answer]:
    answers: list[Answer] = []
    gate = threading.Barrier(count)

    def one() -> None:
        gate.wait(timeout=10)
        try:
            answers.append(work())
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(answers) == count
    return answers


def test_d7_rules_show_where_each_field_comes_from(api: Api, project: Project) -> None:
    api.send("PUT", "/rules/", raw='{"trigger": "ci-failed", "escalate_after": "1h30m"}')
    answer = api.send("PUT", "/rules/", raw='{"project": "my-app", "trigger": "ci-failed", "retries": 5}')

    values = next(row for row in api.get("/rules/", project="my-app").body["results"] if row["trigger"] == "ci-failed")[
        "values"
    ]

    assert answer.status == 200
    assert values["retries"] == {"value": 5, "from": "project"}
    assert values["escalate_after"] == {"value": "1h30m", "from": "global"}
    assert values["action"] == {"value": ["send-to-agent"], "from": "default"}


@pytest.mark.parametrize("threshold", ["10 minutes", "-5m", "soon", "5"])
def test_d8_a_threshold_that_cannot_be_read_is_a_400_that_names_it(api: Api, project: Project, threshold: str) -> None:
    answer = api.send(
        "PUT", "/rules/", raw=json.dumps({"project": "my-app", "trigger": "agent-stuck", "threshold": threshold})
    )

    a_problem(answer, 400)
    assert answer.body["errors"][0]["field"] == "threshold"
    assert "1h30m" in answer.body["errors"][0]["message"]
    assert not RuleRow.objects.exists()


def test_the_file_is_planned_applied_and_exported(api: Api) -> None:
    text = "projects:\n  app:\n    repo: owner/app\nreactions:\n  ci-failed:\n    retries: 4\n"

    plan = api.post("/config/", text=text, plan=True)
    assert (plan.status, plan.body["applied"], Project.objects.count()) == (200, False, 0)
    done = api.post("/config/", text=text)

    assert ("create", "project app") in {(one["kind"], one["what"]) for one in done.body["changes"]}
    assert {one["kind"] for one in api.post("/config/", text=text).body["changes"]} == {"unchanged"}
    assert api.get("/config/").body["text"] == text


def test_a_file_that_is_refused_says_line_and_key(api: Api) -> None:
    answer = api.post("/config/", text="reactions:\n  ci-failed:\n    retries: many\n", path="mine.yaml")

    a_problem(answer, 400)
    assert answer.body["errors"][0]["message"].startswith(
        "mine.yaml:3: reactions.ci-failed.retries: 'many' is not accepted"
    )


def test_projects_hosts_notifications_and_usage_are_told(api: Api, ids: dict[str, int]) -> None:
    turn = at_work(Task.objects.get())
    turn.input_tokens = 7
    turn.save()

    assert api.get("/projects/my-app/").body["key"] == "my-app"
    assert api.get("/hosts/").body["results"][0]["live_sessions"] == 1
    assert api.send("PATCH", "/hosts/local/", raw='{"draining": true, "capacity": 5}').body["draining"] is True
    assert api.get("/notifications/").body["results"] == []
    assert api.get("/usage/").body == {
        "results": [{"project": "my-app", "input_tokens": 7, "output_tokens": 0, "cost_usd": 0.0}],
        "total": {"input_tokens": 7, "output_tokens": 0, "cost_usd": 0.0},
        "budgets": [],
    }
    Turn.objects.update(created_at=timezone.now() - timedelta(days=2))
    Project.objects.update(budget={"day": {"cost": 5}, "project": {"time": "1h"}, "task": {"cost": 1}})
    assert api.get("/usage/", days="2").body["results"] == []
    told = api.get("/usage/", days="3").body
    assert [(row["span"], row["measure"], row["limit"]) for row in told["budgets"]] == [
        ("project", "time", 3600.0),
        ("day", "cost", 5.0),
    ]
    assert told["total"]["input_tokens"] == 7
    a_problem(api.get("/usage/", days="0"), 400)


def test_a_host_over_ssh_is_added_pinned_anew_and_removed(api: Api, ids: dict[str, int]) -> None:
    made = api.post("/hosts/", name="spare", address="me@spare.example:22", host_key=HOST_KEY, labels=["fast"])
    assert (made.status, made.body["address"], made.body["labels"]) == (201, "me@spare.example", ["fast"])

    again = api.post("/hosts/", name="spare", address="me@spare.example", host_key=HOST_KEY[:-1] + "B", capacity=3)
    assert (again.status, again.body["host_key"][-1], again.body["capacity"]) == (200, "B", 3)
    assert again.body["folder"] == made.body["folder"]

    session = at_work(Task.objects.get()).session
    Session.objects.filter(pk=session.pk).update(host=Host.objects.get(name="spare"))
    a_problem(api.send("DELETE", "/hosts/spare/", raw="{}"), 409)
    a_problem(api.post("/hosts/", name="spare", address="me@elsewhere", host_key=HOST_KEY), 409)
    Session.objects.update(ended_at=timezone.now())
    assert api.send("DELETE", "/hosts/spare/", raw="{}").body["folder"] == made.body["folder"]

    a_problem(api.get("/hosts/spare/"), 404)
    assert [row["name"] for row in api.get("/hosts/").body["results"]] == ["local"]
    assert Session.objects.get().host.name == "spare"
    back = api.post("/hosts/", name="spare", address="me@elsewhere", host_key=HOST_KEY)
    assert (back.status, back.body["draining"], Host.objects.get(name="spare").seen_at) == (200, False, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Spare Host"),
        ("name", "local"),
        ("address", "spare"),
        ("address", "-oProxyCommand=id@spare"),
        ("address", "me@spare;id"),
        ("address", "me@$(id)"),
        ("address", "me@spare:0"),
        ("address", "me@spare\nid"),
        ("host_key", "SHA256:abc"),
        ("host_key", "ssh-ed25519 !"),
        ("labels", ["a b"]),
        ("folder", "../../etc"),
        ("capacity", -1),
    ],
)
def test_t9_a_host_that_cannot_be_meant_is_refused_with_the_field(
    api: Api, ids: dict[str, int], field: str, value: object
) -> None:
    wanted: dict[str, object] = {"name": "spare", "address": "me@spare", "host_key": HOST_KEY}

    answer = api.post("/hosts/", **{**wanted, field: value})

    a_problem(answer, 400)
    assert answer.body["errors"][0]["field"].startswith(field)
    assert not Host.objects.filter(kind="ssh").exists()


def test_how_a_host_is_got_into_is_shown_to_those_who_manage_machines_only(api: Api, project: Project) -> None:
    api.post("/hosts/", name="spare", address="me@spare", host_key=HOST_KEY, key_path="/keys/spare")

    shown = speaking_as(member(project, Role.MAINTAINER)).get("/hosts/spare/").body

    assert (shown["key_path"], shown["folder"]) == ("", "")
    assert api.get("/hosts/spare/").body["key_path"] == "/keys/spare"


def test_a_project_shows_neither_its_environment_nor_its_forges_secrets(api: Api) -> None:
    a_project("secretive", env={"A": "hidden-env"}, scm={"plugin": "github", "token": "hidden-token"})

    assert "hidden" not in json.dumps(api.get("/projects/").body)


def test_the_schema_is_served_and_the_committed_one_is_the_same(api: Api, tmp_path: Any) -> None:
    call_command("spectacular", file=str(tmp_path / "now.yaml"), validate=True, fail_on_warn=True)

    committed = (Path(__file__).parents[2] / "docs" / "openapi.yaml").read_text()
    assert (tmp_path / "now.yaml").read_text() == committed, "run: manage.py spectacular --file docs/openapi.yaml"
    assert "openapi" in str(api.get("/schema/").body)


def test_the_docs_need_nothing_from_elsewhere(user: User) -> None:
    browser = Client()
    assert browser.get(f"{ROOT}/docs/").headers["Location"].startswith("/accounts/login/")
    browser.force_login(user)

    page = browser.get(f"{ROOT}/docs/").content.decode()

    assert "/static/drf_spectacular_sidecar/" in page
    assert "https://" not in page


def test_a_member_who_leaves_sees_nothing_any_more(ids: dict[str, int], project: Project) -> None:
    api = speaking_as(member(project, Role.MEMBER))
    assert api.get(f"/tasks/{ids['task']}/").status == 200

    Membership.objects.all().delete()

    a_problem(api.get(f"/tasks/{ids['task']}/"), 404)
