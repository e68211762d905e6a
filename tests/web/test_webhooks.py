"""The door for GitHub: only what is signed comes in, each delivery once, and all that it does is to let us look again."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from orchestrator.domain import watching
from orchestrator.domain.status import TaskStatus
from orchestrator.models import Delivery, Project, PullRequest, Review
from orchestrator.services import deliveries, projects, pull_requests
from tests.fakegithub import documents
from tests.web import scenes

SECRET = "a secret between us"
OTHER = "a secret of another project"


@pytest.fixture
def pull(db: None) -> PullRequest:
    """An open pull request of a project on GitHub, which nobody looks at for an hour."""
    project = scenes.project(remote="https://github.com/acme/demo.git", scm={"plugin": "github"})
    made = scenes.pull(scenes.task(project))
    PullRequest.objects.update(poll_at=timezone.now() + timedelta(hours=1))
    made.refresh_from_db()
    return made


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(deliveries.SECRET, SECRET)
    return SECRET


def deliver(body: bytes, *, secret: str = SECRET, event: str = "pull_request", **headers: str) -> Any:
    signature = f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
    given = {
        "X-Hub-Signature-256": signature,
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        **headers,
    }
    return Client(enforce_csrf_checks=True).post(
        "/webhooks/github/", body, content_type="application/json", headers=given
    )


def about(pull: PullRequest, repository: str = "acme/demo", **more: object) -> bytes:
    return json.dumps(
        {"repository": {"full_name": repository}, "pull_request": {"number": pull.number}, **more}
    ).encode()


def due(pull: PullRequest, *, within: timedelta = timedelta()) -> bool:
    pull.refresh_from_db()
    return pull.poll_at is not None and pull.poll_at <= timezone.now() + within


def test_a_signed_delivery_lets_us_look_at_its_pull_request_now(pull: PullRequest, secret: str) -> None:
    answer = deliver(about(pull, "ACME/Demo", action="closed"))
    assert (answer.status_code, answer.json()) == (202, {"taken": True, "looks": 1})
    assert due(pull)
    row = Delivery.objects.get()
    assert (row.event, row.action, row.repository, row.looked_at) == ("pull_request", "closed", "ACME/Demo", 1)


US, GRACE = {"login": "acme-robot"}, {"login": "grace"}
OURS = {"body": "Done.\n\n<!-- ao-answer-7 -->", "user": US}
THEIRS = {"body": "And this?", "user": GRACE}


@pytest.mark.parametrize(
    ("event", "body", "at_once"),
    [
        ("pull_request", {"action": "reopened"}, True),
        ("pull_request", {"action": "synchronize"}, False),
        ("pull_request_review", {"action": "submitted"}, True),
        ("pull_request_review_comment", {"action": "created"}, True),
        ("pull_request_review_thread", {"action": "resolved", "thread": {"comments": [OURS]}, "sender": US}, False),
        ("pull_request_review_thread", {"action": "resolved", "thread": {"comments": [OURS]}, "sender": GRACE}, True),
        ("pull_request_review_thread", {"action": "resolved", "thread": {"comments": [THEIRS]}, "sender": US}, True),
        ("issue_comment", {"action": "created"}, True),
        ("issue_comment", {"action": "created", "comment": OURS, "sender": US}, False),
        ("issue_comment", {"action": "edited", "comment": OURS, "sender": GRACE}, True),
        ("check_run", {"action": "created", "check_run": {"conclusion": None}}, False),
        ("check_run", {"action": "completed", "check_run": {"conclusion": "success"}}, False),
        ("check_run", {"action": "completed", "check_run": {"conclusion": "failure"}}, True),
        ("check_suite", {"action": "requested"}, False),
        ("check_suite", {"action": "completed", "check_suite": {"conclusion": "success"}}, True),
        ("workflow_run", {"action": "completed"}, True),
        ("status", {"state": "pending"}, False),
        ("status", {"state": "failure"}, True),
        ("push", {"ref": "refs/heads/other"}, False),
    ],
)
def test_what_only_goes_on_is_looked_at_in_passing(
    pull: PullRequest, secret: str, event: str, body: dict[str, Any], at_once: bool
) -> None:
    assert deliver(about(pull, **body), event=event).json()["looks"] == 1
    assert due(pull) is at_once
    assert due(pull, within=watching.IN_PASSING)


def test_where_webhooks_tell_the_rest_a_moved_base_is_looked_at_now_by_those_that_are_about_to_be_merged(
    pull: PullRequest, secret: str
) -> None:
    project = pull.project
    mergeable = scenes.pull(scenes.task(project, status=TaskStatus.MERGEABLE))
    approved = scenes.pull(scenes.task(project))
    Review.objects.create(pull_request=approved, author="grace", decision="approve", submitted_at=timezone.now())

    def move(base_sha: str) -> None:
        PullRequest.objects.update(poll_at=timezone.now() + timedelta(hours=1))
        project.refresh_from_db()
        projects.mirrored(project=project, base_sha=base_sha, now=timezone.now())

    deliver(about(pull, action="labeled"), event="pull_request")
    move("1" * 40)
    move("2" * 40)
    assert [due(one) for one in (pull, mergeable, approved)] == [False, True, True]
    assert due(pull, within=watching.IN_PASSING)

    PullRequest.objects.update(untold_at=timezone.now() - watching.BELL_IS_LATE)  # one was lost
    move("3" * 40)
    assert due(pull)


def test_what_is_due_sooner_stays_due(pull: PullRequest, secret: str) -> None:
    PullRequest.objects.update(poll_at=None)
    deliver(about(pull, action="synchronize"))
    assert due(pull)


def test_what_one_act_rings_for_in_a_row_is_looked_at_once_more(
    pull: PullRequest, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bells: list[timedelta] = []
    monkeypatch.setattr(deliveries.doorbell, "ring", lambda *_, after, **__: bells.append(after))

    def said(delivery: str) -> None:
        answer = deliver(
            about(pull, action="submitted"), event="pull_request_review", **{"X-GitHub-Delivery": delivery}
        )
        assert answer.json()["looks"] == 1

    def looked() -> None:
        now = timezone.now()
        PullRequest.objects.update(observed_at=now, poll_at=now + watching.COLD)

    looked()
    PullRequest.objects.update(rung_at=timezone.now())  # in passing: nobody looked for that
    said("the-first-one")
    assert due(pull)
    looked()
    said("the-second-one")
    assert not due(pull)
    said("the-third-one")
    assert not due(pull)
    assert due(pull, within=watching.IN_A_ROW)
    assert [round(bell.total_seconds()) for bell in bells] == [0, 5, 5]


def test_webhooks_are_relied_on_until_a_look_sees_something_of_which_none_tells(pull: PullRequest, secret: str) -> None:
    def relied_on(*, later: timedelta = timedelta()) -> bool:
        project = Project.objects.get(pk=pull.project_id)
        return deliveries.rings(project=project, now=timezone.now() + later)

    assert not relied_on()
    deliver(about(pull, action="synchronize"))
    assert relied_on()
    # A look came before its bell, which is only late.
    PullRequest.objects.update(observed_at=timezone.now())
    pull_requests.untold(pulls=[pull], now=timezone.now())
    assert deliver(about(pull, action="closed"), **{"X-GitHub-Delivery": "a-late-one"}).json()["looks"] == 1
    assert relied_on(later=2 * watching.BELL_IS_LATE)
    # And one that never comes.
    PullRequest.objects.update(observed_at=timezone.now())
    pull_requests.untold(pulls=[pull], now=timezone.now())
    assert relied_on()
    assert not relied_on(later=watching.BELL_IS_LATE)
    assert not relied_on(later=watching.DISTRUST)
    Project.objects.update(rung_at=timezone.now() + timedelta(minutes=5))  # they come again
    assert not relied_on(later=watching.DISTRUST / 2)
    assert relied_on(later=watching.DISTRUST)


@pytest.mark.parametrize(
    "body",
    [
        {"check_run": {"head_sha": scenes.HEAD, "pull_requests": []}},
        {"check_suite": {"head_sha": "0" * 40, "pull_requests": [{"number": 1}]}},
        {"workflow_run": {"head_sha": scenes.HEAD}},
        {"issue": {"number": 1}, "comment": {"body": "look"}},
        {"sha": scenes.HEAD, "state": "failure"},
        {"ref": "refs/heads/BRANCH", "after": scenes.HEAD},
    ],
)
def test_whatever_a_delivery_names_it_by_the_pull_request_is_found(
    pull: PullRequest, secret: str, body: dict[str, Any]
) -> None:
    text = json.dumps({**body, "repository": {"full_name": "acme/demo"}}).replace("BRANCH", pull.branch)
    assert deliver(text.encode(), event="check_run").json()["looks"] == 1
    assert due(pull, within=watching.IN_PASSING)


def test_a_delivery_for_another_repository_touches_nothing_here(pull: PullRequest, secret: str) -> None:
    assert deliver(about(pull, "acme/another")).json() == {"taken": True, "looks": 0}
    assert not due(pull)


def test_d11_without_a_secret_nobody_is_believed(pull: PullRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(deliveries.SECRET, raising=False)
    answer = deliver(about(pull), secret="")
    assert (answer.status_code, Delivery.objects.count()) == (401, 0)
    assert "AO_GITHUB_WEBHOOK_SECRET" in answer.json()["detail"]
    assert not due(pull)


@pytest.mark.parametrize("signature", ["", "sha256=", "sha256=00", "sha1=00", "é"])
def test_d11_t11_what_is_not_signed_is_refused(pull: PullRequest, secret: str, signature: str) -> None:
    answer = deliver(about(pull), **{"X-Hub-Signature-256": signature})
    assert (answer.status_code, Delivery.objects.count(), due(pull)) == (401, 0, False)


def test_t11_a_signature_is_of_these_very_bytes(pull: PullRequest, secret: str) -> None:
    body = about(pull)
    signature = f"sha256={hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}"
    assert deliver(body + b" ", **{"X-Hub-Signature-256": signature}).status_code == 401
    assert deliver(body, **{"X-Hub-Signature-256": signature}).status_code == 202


def test_t11_a_projects_own_secret_speaks_for_that_project_alone(
    pull: PullRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHERS_SECRET", OTHER)
    scenes.project(
        "other",
        remote="https://github.com/acme/other.git",
        scm={"plugin": "github", "webhook": {"secret": "${OTHERS_SECRET}"}},
    )
    assert deliver(about(pull), secret=OTHER).json() == {"taken": True, "looks": 0}
    assert not due(pull)
    Project.objects.filter(pk=pull.project_id).update(
        scm={"plugin": "github", "webhook": {"secret": "${OTHERS_SECRET}"}}
    )
    Project.objects.filter(key="other").delete()
    again = deliver(about(pull), secret=OTHER, **{"X-GitHub-Delivery": "another-one"})
    assert again.json() == {"taken": True, "looks": 1}


def test_d12_a_redelivery_has_no_second_effect(pull: PullRequest, secret: str) -> None:
    assert deliver(about(pull)).json()["taken"]
    PullRequest.objects.update(poll_at=timezone.now() + timedelta(hours=1))
    answer = deliver(about(pull))
    assert (answer.status_code, answer.json()) == (202, {"taken": False, "looks": 0})
    assert not due(pull)
    assert Delivery.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"not json", {}, 400),
        (b"[1]", {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"{}", {"X-GitHub-Delivery": ""}, 400),
        (b"{}", {"X-GitHub-Delivery": "x" * 200}, 400),
        (b"{}", {"X-GitHub-Event": "'; DROP TABLE"}, 400),
        (b'{"repository": 7, "pull_request": [], "check_run": {"pull_requests": "no"}, "ref": {}}', {}, 202),
        (b'{"repository": {"full_name": "acme/demo"}, "pull_request": {"number": "1"}}', {}, 202),
        (b'{"repository": {"full_name": "acme/demo"}, "pull_request": {"number": 99999999999999}}', {}, 202),
        (b'{"a": "' + b"x" * 6_000_000 + b'"}', {}, 413),
    ],
)
def test_what_is_signed_and_senseless_gets_a_clear_answer(
    pull: PullRequest, secret: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = deliver(body, **headers)
    assert answer.status_code == status, answer.content
    assert not due(pull)


def test_all_published_examples_are_answered(pull: PullRequest, secret: str) -> None:
    events = json.loads(documents.path_of(documents.WEBHOOKS).read_text())
    examples = [(event["name"], example) for event in events for example in event["examples"]]
    statuses = {
        deliver(json.dumps(example).encode(), event=name, **{"X-GitHub-Delivery": f"example-{number:06}"}).status_code
        for number, (name, example) in enumerate(examples)
    }
    assert statuses == {202}
    assert Delivery.objects.count() == len(examples) == 329


def test_deliveries_are_for_posts_alone(secret: str) -> None:
    assert Client().get("/webhooks/github/").status_code == 405
