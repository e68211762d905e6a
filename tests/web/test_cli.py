"""The command line against a live service: what it prints, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from typer.testing import CliRunner, Result

from aoweb.cli.main import app
from aoweb.cli.transcript import Telling
from orchestrator.models import (
    ApiToken,
    DecisionRecord,
    Host,
    Interruption,
    JournalChunk,
    Message,
    Project,
    RuleRow,
    Task,
)
from orchestrator.services import accounts
from orchestrator.services.reconcile import reconcile
from tests.web import claude_scene
from tests.web.client import a_project, a_task, at_work, superuser, under_review
from tests.web.scenes import red

pytestmark = pytest.mark.django_db(transaction=True)


class Shell:
    """Runs `ao` as a person would whose home knows the service."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.runner = CliRunner()

    def __call__(self, *words: str, stdin: str = "", **env: str) -> Result:
        clean = {"AO_HOME": str(self.home), "AO_URL": "", "AO_TOKEN": "", "COLUMNS": "200", **env}
        return self.runner.invoke(app, list(words), input=stdin, env=clean)

    def json(self, *words: str) -> Any:
        result = self(*words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def token() -> str:
    return accounts.issue_token(user=superuser(), name="cli", scope="write", now=timezone.now())


@pytest.fixture
def ao(live_server: Any, token: str, tmp_path: Path) -> Shell:
    (tmp_path / "client.json").write_text(json.dumps({"url": live_server.url, "token": token}))
    return Shell(tmp_path)


@pytest.fixture
def project(ao: Shell) -> Project:
    return a_project()


def failed(result: Result, code: int, *words: str) -> None:
    """One clear line on standard error, nothing on standard output, no traceback."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert all(word in result.stderr for word in words), result.stderr


def test_a_task_is_spawned_shown_and_ended(ao: Shell, project: Project) -> None:
    spawned = ao("spawn", "Fix it", "--body", "-", "--label", "bug", "--priority", "2", stdin="All of it.")
    second = ao.json("spawn", "Then this", "--depends-on", "my-app#1", "--project", "my-app")

    assert (spawned.exit_code, spawned.stdout) == (0, f"my-app#1 ({Task.objects.get(number=1).pk}) queued: Fix it\n")
    assert second["depends_on"] == [Task.objects.get(number=1).pk]
    listed = ao("status")
    assert "my-app#1" in listed.stdout
    assert "Fix it" in listed.stdout
    shown = ao.json("status", "my-app#1")
    assert (shown["body"], shown["labels"], shown["priority"]) == ("All of it.", ["bug"], 2)
    assert ao("cancel", "my-app#1").stdout == "my-app#1 is being cancelled\n"
    failed(ao("retry", "my-app#1"), 1, "being cancelled")


def test_a_task_is_paused_and_resumed_and_its_cost_is_told(ao: Shell, project: Project) -> None:
    task = a_task(project)
    turn = at_work(task)
    turn.cost_usd = 1.234  # type: ignore[assignment]  # stored as a decimal
    turn.save()
    assert "$1.23" in ao("status").stdout
    assert ao("pause", "my-app#1").stdout == "my-app#1 is paused\n"
    assert "paused it" in ao("status", "my-app#1").stdout
    assert ao("resume", "my-app#1").stdout == "my-app#1 goes on\n"
    failed(ao("resume", "my-app#1"), 1, "is not paused")


def test_the_same_key_spawns_once(ao: Shell, project: Project) -> None:
    assert ao.json("spawn", "Fix it", "--key", "k")["id"] == ao.json("spawn", "Fix it", "--key", "k")["id"]
    failed(ao("spawn", "Another", "--key", "k"), 1, "'k'")
    assert Task.objects.count() == 1


def test_words_answers_and_reviews_reach_the_task(ao: Shell, project: Project) -> None:
    task = a_task(project)
    turn = at_work(task)
    failed(ao("answer", str(task.pk), "x"), 2, "asks nothing")
    turn.request = {
        "id": "q1",
        "kind": "question",
        "question": "Which?",
        "options": [],
        "asked_at": timezone.now().isoformat(),
    }
    turn.save()
    under_review(task)

    assert ao("send", str(task.pk), "Hurry.").exit_code == 0
    assert "Which?" in ao("status", str(task.pk)).stdout
    assert ao("answer", str(task.pk), "The first.").exit_code == 0
    reviewed = ao.json("review", "my-app#1", "request_changes", "--on", "a.py:3:Why: this?")

    assert reviewed["decision"] == "request_changes"
    assert {message.text for message in Message.objects.all()} == {
        "Hurry.",
        "You asked: Which?\nThe answer is: The first.",
    }
    assert ao.json("status", str(task.pk))["pull_request"]["comments"][0]["body"] == "Why: this?"
    failed(ao("merge", "my-app#1"), 1, "not approved and green")
    failed(ao("review", "my-app#1", "comment", "--on", "a.py"), 2, "PATH:LINE:TEXT")


def test_logs_print_all_turns_and_no_character_that_steers_the_terminal(ao: Shell, project: Project) -> None:
    task = a_task(project)
    first = at_work(task)
    JournalChunk.objects.create(run=first.run_id, offset=0, data=b"one \x1b]52;c;ZXZpbA==\x07\x1b[2Jtwo\n")
    first.ended_at, first.end = timezone.now(), "finished"
    first.save()
    second = first.session.turns.create(n=2, prompt="", progress_at=timezone.now())
    JournalChunk.objects.create(run=second.run_id, offset=0, data=b"three\n")

    assert ao("logs", "my-app#1").stdout == "one two\nthree\n"
    assert [turn["turn"] for turn in ao.json("logs", "my-app#1")["turns"]] == [1, 2]


def test_logs_tell_what_claude_code_did_and_its_lines_on_demand(ao: Shell, project: Project) -> None:
    task = a_task(project)
    turn = at_work(task)
    type(turn.session).objects.filter(pk=turn.session_id).update(agent="claude-code")
    JournalChunk.objects.create(run=turn.run_id, offset=0, data=claude_scene.OUTPUT)

    told = ao("logs", "my-app#1").stdout
    for line in (
        "> Task: Round totals once, not per line",
        "I'll start with the code that adds the lines up, and the tests around it.",
        "Edit  billing/totals.py (+2 -1)",
        "    +     return exact",
        "Bash  python3 -m pytest -v",
        "    … 53 more lines, at last: 1 failed, 41 passed in 2.14s",
        "- the model's API answered 529: try 1 of 10",
        "? May it use Bash?",
        "  [allow] [deny]",
        "turn done, 9 steps, 1 min 34 s, 68,311 tokens in, 3,920 out, 0.53 USD",
    ):
        assert line in told.splitlines()
    assert '"type"' not in told
    assert ao("logs", "my-app#1", "--raw").stdout == claude_scene.OUTPUT.decode()
    assert ao.json("logs", "my-app#1")["turns"][0]["text"] == claude_scene.OUTPUT.decode()


@pytest.mark.parametrize("size", [1, 7, 777])
def test_a_transcript_that_arrives_in_pieces_is_told_as_if_it_had_come_at_once(size: int) -> None:
    text = f"npm notice\n{claude_scene.OUTPUT.decode()}bye"

    def told(size: int) -> str:
        telling = Telling("claude-code")
        return "".join(telling.more(text[at : at + size]) for at in range(0, len(text), size)) + telling.end()

    def one_after_the_other(text: str) -> list[str]:
        return sorted(text.split("\n"))  # results of calls made at once come in the order in which they arrive

    assert one_after_the_other(told(size)) == one_after_the_other(told(len(text)))


def test_an_event_in_the_middle_of_a_line_is_none_and_a_cut_escape_sequence_is_not_shown() -> None:
    telling = Telling("command")
    assert telling.more("ready? ") == "ready? "
    assert telling.more('{"type": "message", "text": "x"}\n') == '{"type": "message", "text": "x"}\n'
    assert telling.more("red \x1b[3") == ""
    assert telling.more("1mword\n") == "red word\n"
    assert telling.more("{" + "x" * 2_000_000).startswith("{xxx")


def test_why_tells_the_decisions(ao: Shell, project: Project) -> None:
    DecisionRecord.objects.create(task=a_task(project), at=timezone.now(), version=1, facts=b"", why=["red -> send"])

    told = ao("why", "my-app#1").stdout
    assert told.startswith("It waits in the queue")
    assert "  red -> send\n" in told


def test_escalations_are_listed_and_acknowledged(ao: Shell, project: Project) -> None:
    task = a_task(project)
    assert ao("acknowledge").stdout == "nothing needs you\n"
    row = Interruption.objects.create(
        task=task, cause="c", priority="urgent", escalation=True, question="Look?", asked_at=timezone.now()
    )

    assert "Look?" in ao("acknowledge").stdout
    assert ao("acknowledge", str(row.pk)).stdout == "acknowledged\n"
    failed(ao("acknowledge", "999999"), 1, "nothing here")
    assert "acknowledged" in ao("escalations", "--all").stdout
    assert ao("resolve", str(row.pk), "the test was flaky").stdout == "resolved\n"
    failed(ao("resolve", str(row.pk), "again"), 1, "resolved already")


def test_an_escalation_is_put_off_and_a_span_that_is_none_is_refused(ao: Shell, project: Project) -> None:
    row = Interruption.objects.create(
        task=a_task(project), cause="c", priority="urgent", escalation=True, question="?", asked_at=timezone.now()
    )
    assert ao("snooze", str(row.pk), "4h").stdout.startswith("snoozed until ")
    assert ao("escalations").stdout == "nothing needs you\n"
    failed(ao("snooze", str(row.pk), "soon"), 1, "is not a duration")


def test_rules_are_shown_with_their_sources_and_set(ao: Shell, project: Project) -> None:
    result = ao("rules", "-p", "my-app", "--trigger", "ci-failed", "--set", "retries=5", "--set", "escalate_after=1h")

    assert result.exit_code == 0
    assert "retries" in result.stdout
    row = RuleRow.objects.get()
    assert (row.retries, row.escalate_after, row.project) == (5, "1h", project)
    failed(ao("rules", "--trigger", "ci-failed", "--set", "threshold=10 minutes"), 1, "threshold", "1h30m")
    failed(ao("rules", "--set", "retries=1"), 2, "--trigger")


def test_how_rules_were_changed_is_told_with_who_did_it(ao: Shell, project: Project) -> None:
    assert "as delivered" in ao("rules", "--versions").stdout
    ao("rules", "-p", "my-app", "--trigger", "ci-failed", "--set", "retries=5")
    ao("rules", "-p", "my-app", "--trigger", "ci-failed", "--set", "retries=1")
    told = ao("rules", "-p", "my-app", "--versions").stdout
    assert "ci-failed of my-app, by ada\n  retries: 5 -> 1\nversion 1" in told
    assert ao("rules", "-p", "my-app", "--trigger", "ci-failed").stdout.startswith("ci-failed (version 2)\n  When ")


def test_a_task_is_handed_in_with_rules_of_its_own(ao: Shell, project: Project, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("reactions:\n  ci-failed: {retries: 1, escalateAfter: 1h}\n")
    assert ao("spawn", "Fix it", "--rules", str(file)).exit_code == 0
    assert Task.objects.get().own_rules == {"ci-failed": {"retries": 1, "escalateAfter": "1h"}}
    assert " task\n" in ao("rules", "--task", f"my-app#{Task.objects.get().number}", "--trigger", "ci-failed").stdout
    file.write_text("reactions: {ci-failed: {retrys: 1}}")
    failed(ao("spawn", "Fix it", "--rules", str(file)), 1, "did you mean retries")
    file.write_text("{")
    failed(ao("spawn", "Fix it", "--rules", str(file)), 1, "is no YAML")
    failed(ao("spawn", "Fix it", "--rules", str(tmp_path / "none")), 1, "cannot read")
    assert Task.objects.count() == 1


def test_a_replay_prints_what_would_have_been_otherwise_and_changes_nothing(
    ao: Shell, project: Project, tmp_path: Path
) -> None:
    task = red(project)
    reconcile(task_id=task.pk, now=timezone.now())
    before = DecisionRecord.objects.count(), Message.objects.count()
    file = tmp_path / "other.yaml"
    file.write_text("reactions:\n  ci-failed: {auto: false, action: notify}\n")

    told = ao("replay", "--rules", str(file), "--days", "7").stdout

    assert f"\nmy-app#{task.number} " in told
    assert "ci-failed: a question instead of message 1\n" in told
    assert "from here on the facts are those of the other course" in told
    assert "messages 1 -> 0, questions 0 -> 1" in told
    assert told.endswith("1 of 1 tasks differ. Nothing was changed.\n")
    assert ao.json("replay", "--rules", str(file))["now"]["question"] == 1
    assert (DecisionRecord.objects.count(), Message.objects.count()) == before
    failed(ao("replay", "--rules", str(tmp_path / "none")), 1, "cannot read")
    assert ao("replay").exit_code == 2


def test_a_file_is_planned_applied_and_exported(ao: Shell, tmp_path: Path) -> None:
    file = tmp_path / "agent-orchestrator.yaml"
    file.write_text("projects:\n  app:\n    repo: owner/app\n    agnet: command\n")

    planned = ao("apply", str(file), "--plan")
    assert (planned.exit_code, Project.objects.count()) == (0, 0)
    assert "create    project app" in planned.stdout
    assert "did you mean agent?" in planned.stderr
    assert ao("apply", str(file)).stdout.endswith("applied\n")
    assert ao("export").stdout == file.read_text()
    assert ao("apply", "-", stdin=file.read_text()).exit_code == 0


def test_a_workflow_is_planned_applied_and_refused_with_its_word(ao: Shell, project: Project, tmp_path: Path) -> None:
    file = tmp_path / "WORKFLOW.md"
    file.write_text("---\nagent: {max_turns: 5}\n---\nDo {{ issue.title }}.\n")

    planned = ao("apply", str(file), "--plan")
    assert "+agent: {max_turns: 5}" in planned.stdout
    assert planned.stdout.endswith("nothing was changed: this is the plan\n")
    assert ao("apply", str(file), "--project", "my-app").stdout.endswith("applied: version 1 of my-app\n")
    assert ao("apply", str(file)).stdout == "nothing to change\n"
    assert project.workflow_versions.get().source == str(file)
    file.write_text("Do {{ nothing }}.")
    failed(ao("apply", str(file)), 1, "template_parse_error", "line 1 of the prompt: nothing is not known")
    a_project("other")
    failed(ao("apply", str(file)), 2, "--project", "my-app, other")


def test_the_schema_of_the_file_is_printed_for_editors(ao: Shell) -> None:
    assert json.loads(ao("schema").stdout)["properties"]["reactions"]["properties"].keys() >= {"ci-failed"}


def test_a_rule_that_can_never_do_what_it_says_is_warned_of_in_the_plan_and_with_the_rules(
    ao: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("reactions:\n  ci-failed: {retries: 0}\n")

    assert (
        "reactions.ci-failed.retries: retries: 0 means that nothing is ever sent"
        in ao("apply", str(file), "--plan").stderr
    )
    assert "nothing is ever sent" in ao("apply", str(file)).stderr
    assert ao("apply", str(file)).stdout.endswith("nothing to change\n")
    assert "  warning: retries: 0 means that nothing is ever sent" in ao("rules", "--trigger", "ci-failed").stdout


def test_a_file_that_is_refused_is_one_line_that_says_where(ao: Shell, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("reactions:\n  agent-stuck:\n    threshold: 10 minutes\n")

    failed(ao("apply", str(file)), 1, "x.yaml:3", "reactions.agent-stuck.threshold", "10 minutes", "1h30m")
    failed(ao("apply", str(tmp_path / "none.yaml")), 1, "cannot read", "No such file")


def test_hosts_are_listed_and_drained(ao: Shell) -> None:
    Host.objects.create(name="local")

    assert "local" in ao("host").stdout
    assert ao.json("host", "local", "--drain", "--capacity", "3")["draining"] is True
    assert Host.objects.get().capacity == 3
    failed(ao("host", "../x"), 1, "nothing here")
    failed(ao("host", "--drain"), 2, "which host")
    assert "fast,big" in ao("host", "local", "--labels", "fast, big").stdout
    assert Host.objects.get().labels == ["fast", "big"]
    assert ao.json("host", "undrain", "local")["draining"] is False
    assert ao.json("host", "drain", "local")["draining"] is True
    assert [row["name"] for row in ao.json("host", "list")["hosts"]] == ["local"]
    failed(ao("host", "drain", "nowhere"), 1, "nothing here")


def test_tokens_are_made_listed_and_revoked(ao: Shell) -> None:
    raw = ao("token", "create", "ci", "--scope", "read", "--days", "3").stdout.strip()

    made = ApiToken.objects.get(name="ci")
    assert accounts.find_token(raw=raw, now=timezone.now()) == made
    assert "ci" in ao("token", "list").stdout
    assert ao("token", "revoke", str(made.pk)).stdout == "revoked\n"
    assert accounts.find_token(raw=raw, now=timezone.now()) is None


def test_open_prints_a_link_that_works_once(ao: Shell) -> None:
    url = ao.json("open")["url"]

    assert accounts.redeem_login_link(token=url.rstrip("/").rpartition("/")[2], now=timezone.now()).is_superuser


def test_the_service_is_found_by_option_environment_or_home(
    ao: Shell, live_server: Any, token: str, tmp_path: Path
) -> None:
    nobody = Shell(tmp_path / "empty")

    assert nobody("status", "--url", live_server.url, "--token", token).stdout == "no tasks\n"
    assert nobody("status", AO_URL=live_server.url, AO_TOKEN=token).stdout == "no tasks\n"
    assert nobody("status", "--home", str(tmp_path)).stdout == "no tasks\n"
    failed(nobody("status"), 1, "ao start")
    failed(nobody("status", "--url", live_server.url), 1, "no token")
    failed(ao("status", "--url", "http://127.0.0.1:1"), 1, "no token")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("status", "--url", "http://127.0.0.1:1", "--token", "x"), 1, "cannot be reached"),
        (("status", "--url", "nonsense", "--token", "x"), 1, "cannot be reached"),
        (("status", "--token", "wrong"), 1, "unknown, expired or revoked"),
        (("status", "--token", "\u00e9"), 1, "copy it again"),
        (("status", "999999"), 1, "nothing here"),
        (("status", "what"), 2, "not a task"),
        (("status", "nowhere#1"), 2, "no task"),
        (("spawn", "x", "--project", "nowhere"), 1, "there is no project 'nowhere'"),
        (("spawn", "x"), 2, "no project yet"),
        (("spawn", ""), 2, "no project yet"),
    ],
)
def test_what_fails_is_one_clear_line_and_a_code(ao: Shell, words: tuple[str, ...], code: int, said: str) -> None:
    failed(ao(*words), code, said)


@pytest.mark.parametrize(
    "words", [("nothing",), ("review", "1", "love"), ("spawn",), ("acknowledge", "x"), ("status", "--nope")]
)
def test_wrong_usage_is_exit_code_2(ao: Shell, words: tuple[str, ...]) -> None:
    result = ao(*words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr
