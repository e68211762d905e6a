"""Symphony, group B: the file, its settings, its template, and what happens when it changes."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from ops.local import configuration
from ops.local.errors import CannotRun
from orchestrator.domain.status import TaskStatus
from orchestrator.domain.workflow import Workflow, WorkflowFault, WorkflowRefused, root_of, variables_in
from orchestrator.models import Event, Project, ProjectWorkflow, Session, Task, TrackedIssue, WorkflowVersion
from orchestrator.services import workflow_settings
from orchestrator.services.events import Actor
from orchestrator.services.workflows import prompt, versions
from orchestrator.services.workflows.reading import read
from tests.lab import FIX, lab
from tests.symphony.lab import PROMPT, apply, github_project, issue, script, seen, workflow
from tests.web.client import a_project, speaking_as, superuser
from workers import mirrors

WHOLE = """
tracker:
  kind: github
  provider: {repo: acme/app}
  project_slug: abc
  required_labels: [" Agent "]
  active_states: [Open, Todo]
  terminal_states: Closed, Done
polling: {interval_ms: 5000}
workspace: {root: ~/work}
hooks:
  after_create: |
    make deps
  before_run: echo before
  after_run: echo after
  before_remove: echo bye
  timeout_ms: 1000
agent:
  max_concurrent_agents: "3"
  max_turns: 5
  max_retry_backoff_ms: 60000
  max_concurrent_agents_by_state: {" In Progress ": 2, Todo: 0, Open: many}
codex:
  command: codex --model o app-server
  approval_policy: never
  thread_sandbox: workspace-write
  turn_sandbox_policy: {type: workspaceWrite}
  stall_timeout_ms: 0
server: {port: 4000}
surprise: yes
"""


def refusal(text: str) -> WorkflowRefused:
    with pytest.raises(WorkflowRefused) as found:
        read(text)
    return found.value


@pytest.mark.django_db(transaction=True)
def test_b1_the_file_in_the_repository_is_found_and_one_that_is_named_goes_before_it() -> None:
    text = workflow("agent: {max_turns: 4}")
    with lab({"README": "hello\n", "WORKFLOW.md": text}) as here:
        row = ProjectWorkflow.objects.get(project=here.project)
        assert row.current is not None
        assert (row.current.text, row.current.author, row.applied) == (text, "main", False)
        assert row.current.source.startswith("WORKFLOW.md at ")

        apply(here.project, "agent: {max_turns: 9}")
        here.repository.commit({"WORKFLOW.md": workflow("agent: {max_turns: 5}")})
        mirrors.fetch(here.project, here.tools, timeout=30)
        version = workflow_settings.current_version(here.project)
        assert version is not None
        assert workflow_settings.settings_of(version).max_turns == 9


@pytest.mark.django_db(transaction=True)
def test_b1_a_page_of_that_name_about_something_else_is_left_alone() -> None:
    with lab({"README": "hello\n", "WORKFLOW.md": "# How we work\n\nAsk {{ somebody }}.\n"}) as here:
        assert not ProjectWorkflow.objects.filter(project=here.project).exists()


@pytest.mark.parametrize(
    ("text", "fault", "named"),
    [
        ("---\na: [\n---\nx", WorkflowFault.PARSE, "WORKFLOW.md:2"),
        ("---\ntracker: {kind: local}\n", WorkflowFault.PARSE, "has no end"),
        ("---\n- a\n---\nx", WorkflowFault.NOT_A_MAP, "keys and values"),
        ("---\na: &x [1]\nb: *x\n---\nx", WorkflowFault.PARSE, "aliases"),
        (workflow(prompt="{% if issue %}"), WorkflowFault.TEMPLATE, "expected tag endif"),
        (workflow(prompt="a\n{{ issue.nope }}"), WorkflowFault.TEMPLATE, "line 2 of the prompt: issue.nope"),
        (workflow("tracker: {kind: linear}"), WorkflowFault.TRACKER_KIND, "there is github and local"),
        (workflow("agent: {max_turns: 0}"), WorkflowFault.CONFIG, "agent.max_turns: '0'"),
        (workflow("polling: {interval_ms: soon}"), WorkflowFault.CONFIG, "polling.interval_ms: 'soon'"),
        (workflow("hooks: [a]"), WorkflowFault.CONFIG, "hooks"),
    ],
)
def test_b2_each_kind_of_mistake_has_its_word_and_says_where(text: str, fault: WorkflowFault, named: str) -> None:
    error = refusal(text)

    assert (error.fault, named in str(error)) == (fault, True), str(error)


@pytest.mark.django_db
def test_b2_a_file_that_is_gone_from_the_repository_is_missing_and_the_last_one_goes_on() -> None:
    project = a_project()
    found = {"project": project, "env": {}, "now": timezone.now()}
    versions.found_in_repository(text=workflow("agent: {}"), sha="a" * 40, **found)
    versions.found_in_repository(text=None, sha="b" * 40, **found)

    row = ProjectWorkflow.objects.get()
    assert (row.fault, row.current is not None) == ("missing_workflow_file", True)


def test_b3_without_a_front_matter_all_of_it_is_the_prompt_and_unknown_keys_are_left_alone() -> None:
    assert read("\n  Do {{ issue.title }}.\n\n").prompt == "Do {{ issue.title }}."
    assert read("Do it.") == Workflow(prompt="Do it.")
    told = read(workflow(WHOLE))
    assert told.extensions == {"server": {"port": 4000}, "surprise": "yes"}
    assert read("\ufeff---\r\nagent: {max_turns: 2}\r\n---\r\nx\r\n").max_turns == 2


def test_b4_every_key_has_its_default() -> None:
    told = read(workflow("tracker: {kind: github}"))

    assert (told.required_labels, told.active_states, told.terminal_states) == ((), ("open",), ("closed",))
    assert (told.poll_every, told.hooks.timeout) == (timedelta(seconds=30), timedelta(seconds=60))
    assert (told.max_concurrent_agents, told.max_turns, told.max_by_state) == (10, 20, {})
    assert told.longest_retry_wait == timedelta(minutes=5)
    assert told.codex == {"command": "codex app-server"}
    assert (told.turn_timeout, told.read_timeout) == (timedelta(hours=1), timedelta(seconds=5))
    assert told.stall_timeout == timedelta(minutes=5)
    assert (told.hooks.after_create, told.provider) == ("", {})
    place = {"folder": "/repo", "home": "/home/ada", "temporary": "/tmp", "environment": {"ROOT": "/srv/x"}}
    assert root_of(told, **place) == "/tmp/symphony_workspaces"
    for written, meant in (("~/w", "/home/ada/w"), ("$ROOT", "/srv/x"), ("./w", "/repo/w"), ("/abs", "/abs")):
        assert root_of(Workflow(workspace_root=written), **place) == meant


def test_b4_every_key_is_read() -> None:
    told = read(workflow(WHOLE))

    assert told.provider == {"repo": "acme/app", "project_slug": "abc"}
    assert told.required_labels == ("agent",)
    assert (told.active_states, told.terminal_states) == (("Open", "Todo"), ("Closed", "Done"))
    assert (told.poll_every, told.workspace_root) == (timedelta(seconds=5), "~/work")
    assert (told.hooks.after_create, told.hooks.timeout) == ("make deps\n", timedelta(seconds=1))
    assert (told.max_concurrent_agents, told.max_turns) == (3, 5)
    assert told.longest_retry_wait == timedelta(minutes=1)
    assert told.max_by_state == {"in progress": 2}
    assert told.codex["turn_sandbox_policy"] == {"type": "workspaceWrite"}
    assert told.codex["command"] == "codex --model o app-server"
    assert told.stall_timeout is None
    assert read(workflow("tracker: {kind: github, required_labels: ['', x]}")).required_labels == ("x", "")


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("{{ task.title }}", "task is not known: there is issue and attempt"),
        ("{{ issue.title | shout }}", "shout"),
        ("{% if issue.owner %}x{% endif %}", "issue.owner is not known"),
        ("{% bogus %}", "unexpected tag"),
        ("{{ issue.title", "line 1"),
    ],
)
def test_b5_what_a_template_does_not_know_is_an_error_when_it_is_loaded(template: str, named: str) -> None:
    error = refusal(workflow(prompt=template))

    assert error.fault is WorkflowFault.TEMPLATE
    assert named in str(error)


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("{{ issue['nope'] }}", "nope"),
        ("{{ issue.labels[9] }}", "line 1 of the prompt: index out of range"),
        ("{% for x in (1..99999999) %}x{% endfor %}", "loop iteration limit"),
        ("{% include 'etc/passwd' %}", "etc/passwd"),
    ],
)
def test_b5_what_only_shows_when_it_is_rendered_is_an_error_then(template: str, named: str) -> None:
    with pytest.raises(WorkflowRefused, match=named) as found:
        prompt.render(template, issue=prompt.variables(issue(), nonce="n"), attempt=None)
    assert found.value.fault is WorkflowFault.RENDER


@pytest.mark.django_db
def test_b6_a_variable_is_read_where_it_is_named_and_an_empty_secret_is_missing() -> None:
    assert variables_in("$KEY", {"KEY": "k"}) == "k"
    assert variables_in("${KEY}", {"KEY": " "}) == ""
    assert variables_in("a $KEY b", {"KEY": "k"}) == "a $KEY b"
    project = github_project()
    text = workflow("tracker: {kind: github, api_key: $TRACKER_KEY}\nhooks: {after_create: 'echo $TRACKER_KEY'}")
    for env in ({}, {"TRACKER_KEY": ""}):
        with pytest.raises(WorkflowRefused, match="TRACKER_KEY is not set") as found:
            versions.plan(project=project, text=text, env=env)
        assert found.value.fault is WorkflowFault.TRACKER_SECRET
    offer = versions.plan(project=project, text=text, env={"TRACKER_KEY": "very-secret"})
    assert offer.workflow.hooks.after_create == "echo $TRACKER_KEY"
    assert "very-secret" not in json.dumps(workflow_settings.stored(offer.workflow))


@pytest.mark.django_db(transaction=True)
def test_b7_a_change_holds_from_the_next_look_on_and_a_session_keeps_what_it_began_with() -> None:
    with lab(
        {"README": "hello\n", "WORKFLOW.md": workflow("agent: {max_turns: 4}")}, **script(f"sleep 60; {FIX}")
    ) as here:
        task = here.submit()
        here.reach(task, TaskStatus.WORKING)
        here.repository.commit({"WORKFLOW.md": workflow("agent: {max_turns: 5}", PROMPT + " Now.")})
        mirrors.fetch(here.project, here.tools, timeout=30)

        first, second = WorkflowVersion.objects.order_by("number")
        assert Session.objects.get(task=task).workflow == first
        assert workflow_settings.current_version(here.project) == second
        assert (first.digest, second.number) == (versions.digest_of(first.text), 2)
        assert versions.diff_of(first.text, second.text, before="1", after="2").count("\n+") == 3


@pytest.mark.django_db
def test_b7_a_change_that_cannot_be_read_keeps_the_last_good_one_and_is_shown() -> None:
    user = superuser()
    project = a_project()
    found = {"project": project, "env": {}}
    versions.found_in_repository(text=workflow("agent: {max_turns: 4}"), sha="a" * 40, now=timezone.now(), **found)
    for sha in ("b" * 40, "c" * 40):
        versions.found_in_repository(text=workflow("agent: {max_turns: x}"), sha=sha, now=timezone.now(), **found)

    row = ProjectWorkflow.objects.get()
    assert row.current is not None
    assert (row.current.number, row.fault) == (1, "invalid_workflow_config")
    assert Event.objects.filter(kind="workflow.refused").count() == 1
    shown = speaking_as(user).get("/projects/my-app/workflow/").body
    assert (shown["current"]["number"], shown["fault"]) == (1, "invalid_workflow_config")
    page = Client()
    page.force_login(user)
    content = page.get("/projects/my-app/").content.decode()
    assert "The newest text is not taken: invalid_workflow_config" in content
    assert "Version 1 goes on." in content
    versions.found_in_repository(text=workflow("agent: {max_turns: 6}"), sha="d" * 40, now=timezone.now(), **found)
    row.refresh_from_db()
    assert (row.fault, row.error) == ("", "")


@pytest.mark.django_db
def test_b7_versions_are_rows_with_their_hash_and_author_and_the_same_text_is_none() -> None:
    api, project = speaking_as(superuser()), a_project()
    one, two = workflow("agent: {max_turns: 4}"), workflow("agent: {max_turns: 5}")

    def put(text: str, **more: Any) -> Any:
        return api.send("PUT", "/projects/my-app/workflow/", raw=json.dumps({"text": text, **more}))

    assert put(one, plan=True).body["applied"] is False
    assert not WorkflowVersion.objects.exists()
    assert (put(one).body["version"], put(one).body["diff"]) == (1, "")
    assert "+agent: {max_turns: 5}" in put(two).body["diff"]
    refused = put(workflow(prompt="{{ nope }}"))
    assert (refused.status, "template_parse_error" in refused.body["errors"][0]["message"]) == (400, True)
    assert ProjectWorkflow.objects.get(project=project).fault == "template_parse_error"
    rows = api.get("/projects/my-app/workflow/versions/").body["results"]
    assert [(row["number"], len(row["digest"])) for row in rows] == [(2, 64), (1, 64)]
    assert {row["author"] for row in rows} == {superuser_name()}
    assert "-agent: {max_turns: 4}" in api.get("/projects/my-app/workflow/versions/2/").body["diff"]


def superuser_name() -> str:
    return User.objects.get(is_superuser=True).get_username()


@pytest.mark.django_db
def test_b8_a_bad_workflow_keeps_the_service_from_starting(tmp_path: Path) -> None:
    a_project()
    file = tmp_path / "WORKFLOW.md"
    file.write_text(workflow("tracker: {kind: jira}"))

    with pytest.raises(CannotRun, match="unsupported_tracker_kind"):
        configuration.apply_workflow(file, None, superuser())
    with pytest.raises(CannotRun, match="cannot be read"):
        configuration.apply_workflow(tmp_path / "none.md", None, superuser_of_tests())
    file.write_text(workflow("agent: {max_turns: 3}"))
    assert "version 1 of the workflow of my-app" in configuration.apply_workflow(file, None, superuser_of_tests())[0]


def superuser_of_tests() -> User:
    return User.objects.get(is_superuser=True)


@pytest.mark.django_db
def test_b8_a_tick_that_cannot_be_validated_begins_nothing_and_still_reconciles() -> None:
    project = github_project()
    seen(project, issue(1))

    seen(project, issue(2), refreshed=(issue(1, state="closed"),), problem="missing_tracker_secret: set it")

    assert [row.issue for row in TrackedIssue.objects.all()] == ["1"]
    assert TrackedIssue.objects.get().standing == "over"
    assert ProjectWorkflow.objects.get().poll_error.startswith("missing_tracker_secret")
    assert Task.objects.count() == 1


@pytest.mark.django_db
def test_b8_a_workflow_for_another_forge_is_refused_when_it_is_applied() -> None:
    project = a_project()
    with pytest.raises(WorkflowRefused, match="needs a project on GitHub") as found:
        versions.apply(project=project, text=workflow("tracker: {kind: github}"), env={}, actor=Actor(name="ada"))
    assert found.value.fault is WorkflowFault.TRACKER_CONFIG
    assert not Project.objects.filter(workflow__isnull=False).exists()
