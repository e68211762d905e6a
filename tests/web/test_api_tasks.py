"""The contract of the API about tasks: handing in, looking, driving, history."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orchestrator.domain.rules import Trigger
from orchestrator.models import (
    Check,
    DecisionRecord,
    Diff,
    Event,
    Interruption,
    JournalChunk,
    Membership,
    Project,
    Role,
    Task,
)
from orchestrator.services.events import Actor
from orchestrator.services.reconcile import reconcile
from orchestrator.services.reviews import submit_review
from tests.web.client import Api, a_project, a_task, at_work, speaking_as, superuser, under_review

pytestmark = pytest.mark.django_db
SCHEMA = yaml.safe_load((Path(__file__).parents[2] / "docs" / "openapi.yaml").read_text())
TASK_FIELDS = {
    *(
        "id",
        "project",
        "title",
        "body",
        "issue",
        "status",
        "attention",
        "reason",
        "evidence",
        "priority",
        "labels",
        "agent",
    ),
    *(
        "host",
        "branch",
        "base_sha",
        "pull_request",
        "session",
        "escalations",
        "usage",
        "created_at",
        "updated_at",
        "ended_at",
    ),
    "version",
}


@pytest.fixture
def user() -> User:
    return superuser()


@pytest.fixture
def project(user: User) -> Project:
    return a_project()


@pytest.fixture
def api(user: User) -> Api:
    return speaking_as(user)


def fits(component: str, body: Any) -> None:
    """The answer has the shape that the schema promises, and no field that it does not name."""
    shape = {"$ref": f"#/components/schemas/{component}", "components": SCHEMA["components"]}
    jsonschema.validate(body, _with_nullable(shape))
    assert set(body) == set(SCHEMA["components"]["schemas"][component]["properties"])


def _with_nullable(node: Any) -> Any:
    """OpenAPI 3.0's `nullable` as JSON Schema says it."""
    if isinstance(node, list):
        return [_with_nullable(one) for one in node]
    if not isinstance(node, dict):
        return node
    inner = {name: _with_nullable(value) for name, value in node.items() if name != "nullable"}
    return {"anyOf": [inner, {"type": "null"}]} if node.get("nullable") is True else inner


def test_a_task_is_handed_in_and_answered_with_everything_that_is_known_of_it(api: Api, project: Project) -> None:
    answer = api.post(
        "/tasks/",
        project="my-app",
        title="Fix it",
        body="All of it.",
        issue="#42",
        priority=3,
        labels=["bug"],
        agent="command",
    )

    assert answer.status == 201
    assert set(answer.body) >= TASK_FIELDS
    assert answer.headers["Location"] == f"/api/v1/tasks/{answer.body['id']}/"
    fits("TaskShape", answer.body)
    told = {
        name: answer.body[name]
        for name in ("title", "body", "issue", "priority", "labels", "status", "attention", "branch")
    }
    assert told == {
        "title": "Fix it",
        "body": "All of it.",
        "issue": "#42",
        "priority": 3,
        "labels": ["bug"],
        "status": "queued",
        "attention": "pending",
        "branch": "my-app/1-fix-it",
    }
    assert api.get(f"/tasks/{answer.body['id']}/").body == answer.body


def test_a_task_may_wait_for_others(api: Api, project: Project) -> None:
    first = a_task(project)

    second = api.post("/tasks/", project="my-app", title="Then this", depends_on=[first.pk])

    assert second.body["depends_on"] == [first.pk]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"project": "nowhere"}, "project"),
        ({"project": None}, "project"),
        ({"title": ""}, "title"),
        ({"title": "   "}, "title"),
        ({"title": "\x1b\x07"}, "title"),
        ({"title": "x" * 301}, "title"),
        ({"title": ["a"]}, "title"),
        ({"title": "a\x00b"}, "title"),
        ({"body": "x" * 100_001}, "body"),
        ({"body": "\ud800"}, "body"),
        ({"agent": "gpt; rm -rf /"}, "agent"),
        ({"priority": 10**30}, "priority"),
        ({"priority": 101}, "priority"),
        ({"priority": "high"}, "priority"),
        ({"labels": "bug"}, "labels"),
        ({"labels": [{"a": 1}]}, "labels.0"),
        ({"labels": ["\x07"]}, "labels"),
        ({"depends_on": [999_999]}, "depends_on"),
        ({"depends_on": [2**62]}, "depends_on"),
        ({"depends_on": ["x"]}, "depends_on.0"),
        ({"issue": "x" * 201}, "issue"),
    ],
)
def test_t9_a_task_that_cannot_be_taken_is_a_400_that_names_the_field(
    api: Api, project: Project, change: dict[str, Any], field: str
) -> None:
    answer = api.post("/tasks/", **{"project": "my-app", "title": "Fix it"} | change)

    assert (answer.status, answer.kind) == (400, "application/problem+json")
    assert answer.body["errors"][0]["field"] == field
    assert answer.body["detail"].startswith(f"{field}: ")
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    "title", ["a;id", "$(id)", "--help", "../../etc/passwd", "a\nb\r\n\tc", "'\"`|&", "\u202eabc", "<script>", "日本"]
)
def test_t9_a_hostile_title_is_only_a_title(api: Api, project: Project, title: str) -> None:
    answer = api.post("/tasks/", project="my-app", title=title)

    assert answer.status == 201
    assert answer.body["title"].isprintable()
    assert set(answer.body["branch"]) <= set("abcdefghijklmnopqrstuvwxyz0123456789-/")


def test_the_list_is_paged_by_cursors_that_new_tasks_do_not_shift(api: Api, project: Project) -> None:
    made = [a_task(project, f"Task {n}").pk for n in range(5)]

    first = api.get("/tasks/", limit=2).body
    a_task(project, "Came in between")
    second = _follow(api, first["next"])
    third = _follow(api, second["next"])
    back = _follow(api, second["previous"])

    assert [row["id"] for row in first["results"]] == made[:2:-1]
    assert [row["id"] for row in second["results"]] == made[2:0:-1]
    assert [row["id"] for row in third["results"]] == made[:1]
    assert third["next"] is None
    assert [row["id"] for row in back["results"]] == made[:2:-1]
    fits("TaskCard", first["results"][0])


def _follow(api: Api, url: str) -> dict[str, Any]:
    answer = api.get(url.partition("/api/v1")[2].partition("?")[0], **dict(_query(url)))
    assert answer.status == 200
    return dict(answer.body)


def _query(url: str) -> Iterator[tuple[str, str]]:
    for pair in url.partition("?")[2].split("&"):
        name, _, value = pair.partition("=")
        yield name, value


@pytest.mark.parametrize(
    ("name", "value"), [("cursor", "zzz"), ("cursor", "Zi0x"), ("limit", "0"), ("limit", "501"), ("limit", "²")]
)
@pytest.mark.parametrize("path", ["/tasks/", "/escalations/", "/projects/"])
def test_a_page_that_cannot_be_is_a_400_that_names_the_parameter(api: Api, path: str, name: str, value: str) -> None:
    answer = api.get(path, **{name: value})

    assert answer.status == 400
    assert answer.body["errors"][0]["field"] == name


def test_the_list_is_narrowed_by_what_is_asked(api: Api, project: Project) -> None:
    other = a_project("other")
    mine, theirs = a_task(project, "Alpha"), a_task(other, "Beta")
    Task.objects.filter(pk=theirs.pk).update(
        labels=["bug"], attention="respond", outcome="done", ended_at=timezone.now()
    )

    def found(**query: Any) -> list[int]:
        return [row["id"] for row in api.get("/tasks/", **query).body["results"]]

    assert (
        found(project="other")
        == found(label="bug")
        == found(attention="respond")
        == found(q="bet")
        == found(open="false")
    )
    assert found(open="true") == found(project="my-app") == [mine.pk]
    assert api.get("/tasks/", status="happy").status == 400


def test_p6_the_list_costs_the_same_number_of_queries_however_long_it_is(api: Api, project: Project) -> None:
    def cost() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert api.get("/tasks/", limit=500).status == 200
        return len(queries)

    under_review(a_task(project))
    cost()
    few = cost()
    for n in range(20):
        task = a_task(project, f"Task {n}")
        at_work(task)
        under_review(task)
    assert cost() == few
    assert few <= 4


def test_one_task_shows_its_session_its_pull_request_and_what_humans_were_asked(api: Api, project: Project) -> None:
    task = a_task(project)
    turn = at_work(task)
    pull = under_review(task)
    Check.objects.create(
        pull_request=pull,
        name="test",
        head_sha=pull.head_sha,
        status="completed",
        conclusion="failure",
        failing_log="E",
    )
    Interruption.objects.create(
        task=task,
        trigger=Trigger.CI_FAILED,
        cause="ci",
        priority="warning",
        escalation=True,
        question="Look?",
        asked_at=timezone.now(),
    )
    turn.input_tokens, turn.output_tokens, turn.cost_usd = 10, 5, "0.25"
    turn.save()

    body = api.get(f"/tasks/{task.pk}/").body

    fits("TaskShape", body)
    assert body["session"] == {"id": turn.session_id, "epoch": 1, "turn": 1, "state": "running"}
    assert (body["host"], body["base_sha"]) == ("local", "b" * 40)
    assert body["usage"] == {"input_tokens": 10, "output_tokens": 5, "cost_usd": 0.25}
    fits("PullShape", body["pull_request"])
    assert (body["pull_request"]["review"], body["pull_request"]["head_sha"]) == ("pending", "a" * 40)
    assert body["pull_request"]["checks"] == [
        {"name": "test", "status": "completed", "conclusion": "failure", "url": "", "required": True, "log": "E"}
    ]
    assert [(one["trigger"], one["state"], one["question"]) for one in body["escalations"]] == [
        ("ci-failed", "open", "Look?")
    ]


def test_words_for_the_agent_are_recorded_once_per_key(api: Api, project: Project) -> None:
    task = a_task(project)

    first = api.post(f"/tasks/{task.pk}/messages/", "k1", text="Please hurry.")
    again = api.post(f"/tasks/{task.pk}/messages/", "k1", text="Please hurry.")

    assert (first.status, again.status) == (201, 200)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.body == first.body
    fits("MessageShape", first.body)
    assert [one["text"] for one in api.get(f"/tasks/{task.pk}/messages/").body["results"]] == ["Please hurry."]


def test_a_question_of_the_agent_is_shown_and_answered(api: Api, project: Project) -> None:
    task = a_task(project)
    turn = at_work(task)
    turn.request = {
        "id": "q1",
        "kind": "question",
        "question": "Which?",
        "options": [],
        "asked_at": timezone.now().isoformat(),
    }
    turn.save()
    assert api.get(f"/tasks/{task.pk}/").body["request"]["question"] == "Which?"

    answer = api.post(f"/tasks/{task.pk}/answer/", request_id="q1", answer="The first.")

    assert answer.status == 202
    assert answer.body["request"] is None
    turn.refresh_from_db()
    assert turn.request is not None
    assert turn.request["answer"] == "The first."
    unknown = api.post(f"/tasks/{task.pk}/answer/", request_id="q9", answer="?")
    assert (unknown.status, unknown.kind) == (409, "application/problem+json")


def test_a_review_with_comments_lands_on_the_head(api: Api, project: Project) -> None:
    task = a_task(project)
    under_review(task)

    answer = api.post(
        f"/tasks/{task.pk}/review/",
        decision="request_changes",
        body="Not yet.",
        comments=[{"path": "a.py", "line": 3, "body": "Why?"}],
    )

    assert (answer.status, answer.body["head_sha"]) == (201, "a" * 40)
    shown = api.get(f"/tasks/{task.pk}/").body["pull_request"]
    assert shown["review"] == "changes_requested"
    assert [(c["path"], c["line"], c["body"]) for c in shown["comments"]] == [("a.py", 3, "Why?")]
    bad = api.post(f"/tasks/{task.pk}/review/", decision="approve", comments=[{"path": "a.py", "line": 0, "body": "x"}])
    assert bad.body["errors"][0]["field"] == "comments.0.line"
    assert api.post(f"/tasks/{task.pk}/review/", decision="love").status == 400


def test_merging_needs_an_approved_and_green_head(api: Api, project: Project) -> None:
    Project.objects.update(scm={"plugin": "local", "requiredChecks": []})
    task = a_task(project)
    refused = api.post(f"/tasks/{task.pk}/merge/")
    under_review(task)
    submit_review(task=task, decision="approve", actor=Actor(name="bob"))

    accepted = api.post(f"/tasks/{task.pk}/merge/")

    assert (refused.status, accepted.status) == (409, 202)
    assert "not approved and green" in refused.body["detail"]
    task.refresh_from_db()
    assert task.merge_requested == "a" * 40


def test_cancel_retry_and_restart_do_what_they_say(api: Api, project: Project) -> None:
    task = a_task(project)
    turn = at_work(task)

    assert api.post(f"/tasks/{task.pk}/retry/").status == 202
    assert api.post(f"/tasks/{task.pk}/restart/").body["session"]["state"] == "ended"
    assert api.post(f"/tasks/{task.pk}/cancel/").status == 202
    again = api.post(f"/tasks/{task.pk}/retry/")

    task.refresh_from_db()
    turn.session.refresh_from_db()
    assert (task.attempt, task.cancel_requested_at is not None, turn.session.ended_at is not None) == (2, True, True)
    assert (again.status, again.body["status"]) == (409, 409)


def test_a_task_is_paused_and_resumed(api: Api, project: Project) -> None:
    task = a_task(project)
    assert api.post(f"/tasks/{task.pk}/resume/").status == 409
    paused = api.post(f"/tasks/{task.pk}/pause/")
    assert (paused.status, paused.body["paused"], "paused it" in paused.body["pause_reason"]) == (202, True, True)
    assert api.post(f"/tasks/{task.pk}/resume/").body["paused"] is False


def test_an_escalation_is_listed_until_it_is_acknowledged(api: Api, project: Project, user: User) -> None:
    task = a_task(project)
    row = Interruption.objects.create(
        task=task,
        trigger=Trigger.CI_FAILED,
        cause="ci",
        priority="warning",
        escalation=True,
        question="Look?",
        asked_at=timezone.now(),
    )
    listed = api.get("/escalations/").body["results"]

    answer = api.post(f"/escalations/{row.pk}/acknowledge/")

    fits("InterruptionShape", listed[0])
    assert (answer.status, answer.body["state"], answer.body["acknowledged_by"]) == (202, "acknowledged", "ada")
    assert api.get("/escalations/").body["results"] == []
    assert len(api.get("/escalations/", state="all").body["results"]) == 1
    assert api.post("/escalations/999999/acknowledge/").status == 404


def test_the_history_the_reasons_and_the_diff_are_told(api: Api, project: Project) -> None:
    task = a_task(project)
    DecisionRecord.objects.create(task=task, at=timezone.now(), version=1, facts=b"", why=["red -> send"])
    assert api.get(f"/tasks/{task.pk}/diff/").body["text"] == ""
    Diff.objects.create(task=task, base_sha="b" * 40, head_sha="a" * 40, text="+x")

    events = api.get(f"/tasks/{task.pk}/events/").body["results"]

    fits("EventShape", events[0])
    assert [(one["kind"], one["actor"]) for one in events] == [("task.accepted", "ada")]
    assert api.get(f"/tasks/{task.pk}/why/").body["results"][0]["why"] == ["red -> send"]
    assert api.get(f"/tasks/{task.pk}/diff/").body == {
        "base_sha": "b" * 40,
        "head_sha": "a" * 40,
        "text": "+x",
        "truncated": False,
    }


def test_a_transcript_is_read_on_from_its_offset_and_no_character_is_cut(api: Api, project: Project) -> None:
    task = a_task(project)
    assert api.get(f"/tasks/{task.pk}/transcript/").body["turn"] is None
    turn = at_work(task)
    data = "päng\xff".encode("latin-1").replace("ä".encode("latin-1"), "ä".encode())
    JournalChunk.objects.create(run=turn.run_id, offset=0, data=data[:2])
    first = api.get(f"/tasks/{task.pk}/transcript/").body
    JournalChunk.objects.create(run=turn.run_id, offset=2, data=data[2:])
    turn.journal_size, turn.ended_at, turn.end = len(data), timezone.now() + timedelta(seconds=1), "finished"
    turn.save()

    second = api.get(f"/tasks/{task.pk}/transcript/", after=first["next"]).body

    assert (first["text"], first["next"], first["live"]) == ("p", 1, True)
    assert (second["text"], second["next"], second["live"]) == ("äng\ufffd", len(data), False)
    assert api.get(f"/tasks/{task.pk}/transcript/", after="-1").status == 400
    assert (second["agent"], [one["agent"] for one in second["turns"]]) == ("command", ["command"])
    fits("Transcript", second)


@pytest.mark.django_db(transaction=True)
def test_events_are_followed_by_their_cursor_and_none_is_missed_while_another_is_being_written(
    api: Api, project: Project
) -> None:
    a_task(project, "One")
    first = api.get("/events/", after=0).body
    a_task(project, "Two")

    second = _follow(api, first["next"])
    third = _follow(api, second["next"])

    assert [one["text"] for one in first["results"]] == ["accepted: One"]
    assert [one["text"] for one in second["results"]] == ["accepted: Two"]
    assert third["results"] == []
    assert third["next"] == second["next"]
    assert Event.objects.count() == 2


def test_a_task_brings_rules_of_its_own_and_they_are_changed_and_taken_back(api: Api, project: Project) -> None:
    made = api.post("/tasks/", project="my-app", title="t", reactions={"ci-failed": {"retries": 1}})
    assert (made.status, made.body["reactions"]) == (201, {"ci-failed": {"retries": 1}})
    path = f"/tasks/{made.body['id']}/"

    rules = {one["trigger"]: one for one in api.get(f"{path}rules/").body["results"]}
    fits("RuleShape", rules["ci-failed"])
    assert rules["ci-failed"]["values"]["retries"] == {"value": 1, "from": "task"}
    assert rules["ci-failed"]["values"]["action"]["from"] == "default"
    assert "after 1 try without success" in rules["ci-failed"]["says"]
    assert (rules["ci-failed"]["version"], rules["agent-idle"]["version"]) == (1, 0)

    changed = api.send("PATCH", path, raw=json.dumps({"reactions": {}}))
    assert (changed.status, changed.body["reactions"]) == (200, {})
    versions = api.get("/rules/versions/", task=made.body["id"]).body["results"]
    fits("RuleVersionShape", versions[0])
    assert [(one["version"], one["before"], one["after"], one["by"]) for one in versions] == [
        (2, {"retries": 1}, {}, "ada"),
        (1, {}, {"retries": 1}, "ada"),
    ]
    assert api.get("/rules/versions/", project="my-app").body["results"] == []


@pytest.mark.parametrize("reactions", [[], "x", {"ci-failed": {"retrys": 1}}, {"agent-stuck": {"threshold": "soon"}}])
def test_d8_rules_of_a_task_that_cannot_be_are_a_400_and_nothing_is_made(
    api: Api, project: Project, reactions: object
) -> None:
    answer = api.post("/tasks/", project="my-app", title="t", reactions=reactions)
    assert (answer.status, answer.body["errors"][0]["field"]) == (400, "reactions")
    assert not Task.objects.exists()


def test_why_begins_with_what_is_waited_for_now(api: Api, project: Project) -> None:
    task = a_task(project)
    told = api.get(f"/tasks/{task.pk}/why/", limit=1).body
    fits("StandingShape", told["now"])
    assert told["now"]["sentence"].startswith("It ")
    assert told["results"] == []


def test_other_rules_are_replayed_over_the_records_for_those_who_may_set_them(api: Api, project: Project) -> None:
    task = a_task(project)
    reconcile(task_id=task.pk, now=timezone.now())
    kept = DecisionRecord.objects.count()
    text = "reactions:\n  ci-failed: {retries: 1}\n"

    answer = api.post("/rules/replay/", text=text, days=7)

    fits("ReplayAnswer", answer.body)
    assert (answer.status, answer.body["tasks"], answer.body["differing"], answer.body["next"]) == (200, 1, [], None)
    assert DecisionRecord.objects.count() == kept
    assert api.post("/rules/replay/", text=text, days=0).body["errors"][0]["field"] == "days"
    wrong = api.post("/rules/replay/", text="reactions:\n  ci-failed: {retries: many}\n")
    assert ":2: reactions.ci-failed.retries" in wrong.body["detail"]
    member = User.objects.create_user("mia")
    Membership.objects.create(project=project, user=member, role=Role.MEMBER)
    assert speaking_as(member).post("/rules/replay/", text=text).status == 403
    assert speaking_as(member).post("/rules/replay/", text=text, project="my-app").status == 403
    Membership.objects.update(role=Role.MAINTAINER)
    assert speaking_as(member).post("/rules/replay/", text=text, project="my-app").status == 200
