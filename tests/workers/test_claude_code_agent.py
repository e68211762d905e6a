"""The agent `claude-code`: how its program is started, what its lines say, and what it is told. Lines are as version 2.1.197 wrote them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from orchestrator.ports import (
    NO_CONVERSATION,
    Activity,
    AgentEvent,
    Brief,
    Confirmed,
    NeedsInput,
    Refused,
    Said,
    Started,
    TurnDone,
    Usage,
)
from workers.plugins.agents.claude_code import ClaudeCodeAgent

AGENT = ClaudeCodeAgent()
CONVERSATION = "f9952c63-e285-44a3-91f6-dbafe38325c0"
BASH = {"command": "python3 -m pytest -q", "description": "run the tests"}


def brief(**more: Any) -> Brief:
    return Brief(**{"task": 7, "session": 8, "turn": 2, "prompt": "fix – it", **more})


def read(**line: object) -> list[AgentEvent]:
    return list(AGENT.read(json.dumps(line).encode()))


def result(**more: object) -> list[AgentEvent]:
    """A result's events but what it used."""
    line = {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "result": "Done.",
        "permission_denials": [],
        **more,
    }
    return [event for event in read(**line) if not isinstance(event, Usage)]


def permission(**more: object) -> NeedsInput:
    request = {"subtype": "can_use_tool", "tool_name": "Bash", "input": BASH, "permission_suggestions": [], **more}
    (asked,) = read(type="control_request", request_id="r-1", request=request)
    assert isinstance(asked, NeedsInput)
    return asked


def question(*questions: dict[str, object]) -> NeedsInput:
    return permission(tool_name="AskUserQuestion", input={"questions": list(questions)})


def answered(asked: NeedsInput, words: str) -> dict[str, Any]:
    told = json.loads(AGENT.answer(asked=asked, answer=words) or b"")
    assert told["type"] == "control_response"
    assert (told["response"]["subtype"], told["response"]["request_id"]) == ("success", "r-1")
    inner = told["response"]["response"]
    assert isinstance(inner, dict)
    return inner


# --- how it is started ----------------------------------------------------------------------------------------------------------------


def test_it_is_spoken_to_in_lines_and_its_input_stays_open() -> None:
    launch = AGENT.plan(brief())
    assert launch.argv[:10] == (
        "claude", "-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose",
        "--permission-prompt-tool", "stdio", "--replay-user-messages",
    )  # fmt: skip
    assert launch.keep_stdin_open
    begin, words = (json.loads(line) for line in launch.stdin.splitlines())
    assert begin["request"] == {"subtype": "initialize"}
    assert words["message"] == {"role": "user", "content": "fix – it"}


def test_it_neither_calls_home_nor_replaces_itself_whatever_the_project_sets() -> None:
    launch = AGENT.plan(brief(env={"DISABLE_AUTOUPDATER": "0", "LANG": "C", "ANTHROPIC_API_KEY": "sk"}))
    assert dict(launch.env) == {
        "LANG": "C",
        "ANTHROPIC_API_KEY": "sk",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "AO_TASK": "7",
        "AO_SESSION": "8",
        "AO_TURN": "2",
    }


def test_a_conversation_is_resumed_by_its_own_id() -> None:
    argv = AGENT.plan(brief(native_id=CONVERSATION)).argv
    assert f"--resume={CONVERSATION}" in argv
    assert not any(word.startswith("--session-id") for word in argv)


def test_a_new_conversation_has_an_id_that_follows_from_the_turn_and_from_nothing_else() -> None:
    def named(**more: Any) -> str:
        (word,) = (word for word in AGENT.plan(brief(**more)).argv if word.startswith("--session-id="))
        return word

    assert named() == named(prompt="other words")
    # An id that was used is refused as being in use: the next turn has another.
    assert len({named(), named(turn=3), named(session=9), named(task=6)}) == 4


def test_a_turn_without_a_conversation_to_resume_is_told_what_was_told_before() -> None:
    _, words = AGENT.plan(brief(earlier="Task: fix it")).stdin.splitlines()
    content = json.loads(words)["message"]["content"]
    assert content.index("Task: fix it") < content.index("fix – it")
    _, words = AGENT.plan(brief(earlier="Task: fix it", native_id=CONVERSATION)).stdin.splitlines()
    assert "Task: fix it" not in words.decode()


def test_settings_become_words_of_the_command_line() -> None:
    config = {
        "program": "/opt/claude",
        "model": "opus",
        "permissions": "auto-edit",
        "allowedTools": ["Read", "Bash(npm test:*)"],
        "disallowedTools": ["WebFetch"],
        "systemPrompt": "Be brief.\nVery.",
        "args": {"effort": "high", "max-budget-usd": 2.5},
    }
    AGENT.check(config)
    argv = AGENT.plan(brief(config=config)).argv
    assert argv[0] == "/opt/claude"
    assert argv[11:] == (
        "--permission-mode=acceptEdits", "--effort=high", "--max-budget-usd=2.5", "--model=opus",
        "--append-system-prompt=Be brief.\nVery.", "--allowedTools", "Read", "Bash(npm test:*)",
        "--disallowedTools", "WebFetch",
    )  # fmt: skip


def test_by_default_it_works_without_asking_and_without_the_bypass_that_root_is_refused() -> None:
    argv = AGENT.plan(brief()).argv
    assert "--permission-mode=acceptEdits" in argv
    assert {"Bash", "Read", "Edit", "Write"} <= set(argv[argv.index("--allowedTools") :])
    assert "--dangerously-skip-permissions" not in argv


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"modle": "opus"}, ("agentConfig.modle", "'opus'", "takes program, model")),
        ({"command": "claude"}, ("agentConfig.command", "'claude'", "not known")),
        ({"model": "--resume=x"}, ("agentConfig.model", "'--resume=x'", "one line")),
        ({"model": "a\nb"}, ("agentConfig.model", "one line")),
        ({"model": 4}, ("agentConfig.model", "4", "one line")),
        ({"permissions": "all"}, ("agentConfig.permissions", "'all'", "acceptEdits")),
        ({"permissions": ["default"]}, ("agentConfig.permissions", "acceptEdits")),
        ({"allowedTools": "Bash"}, ("agentConfig.allowedTools", "'Bash'", "a list")),
        ({"allowedTools": ["--mcp-config"]}, ("agentConfig.allowedTools", "'--mcp-config'", "a list")),
        ({"systemPrompt": 3}, ("agentConfig.systemPrompt", "3", "text")),
        ({"args": ["--settings"]}, ("agentConfig.args", "effort")),
        ({"args": {"settings": "x.json"}}, ("agentConfig.args.settings", "'x.json'", "effort")),
        ({"args": {"effort": True}}, ("agentConfig.args.effort", "True", "one line or a number")),
    ],
)
def test_what_cannot_be_taken_is_named_with_what_would_be(config: dict[str, object], named: tuple[str, ...]) -> None:
    with pytest.raises(Refused) as caught:
        AGENT.check(config)
    assert caught.value.code == "bad-agent-config"
    assert [part for part in named if part not in str(caught.value)] == []


# --- what its lines say ---------------------------------------------------------------------------------------------------------------


def test_its_conversation_is_known_from_the_first_line() -> None:
    line = {"type": "system", "subtype": "init", "session_id": CONVERSATION, "cwd": "/w", "tools": ["Bash"]}
    assert read(**line) == [Started(native_id=CONVERSATION)]


def test_words_and_tools_are_told_and_a_sub_agents_words_are_not() -> None:
    content = [
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "t", "name": "Bash", "input": BASH},
        {"type": "tool_use", "id": "t", "name": "Edit", "input": {"file_path": "a.py", "old_string": "x"}},
        {"type": "thinking", "thinking": "hm"},
    ]
    message = {"role": "assistant", "content": content}
    used = [Activity(tool="Bash", summary="python3 -m pytest -q"), Activity(tool="Edit", summary="a.py")]
    assert read(type="assistant", message=message) == [Said(text="Let me look."), *used]
    assert read(type="assistant", message=message, parent_tool_use_id="toolu_1") == used


def test_what_a_request_used_is_told_with_each_piece_of_its_answer_under_its_name() -> None:
    usage = {"input_tokens": 3, "cache_read_input_tokens": 40, "cache_creation_input_tokens": 2, "output_tokens": 7}
    message = {"id": "msg_1", "role": "assistant", "content": [{"type": "text", "text": "Hm."}], "usage": usage}
    used = Usage(input_tokens=45, output_tokens=7, request="msg_1")
    assert read(type="assistant", message=message) == [Said(text="Hm."), used]
    assert read(type="assistant", message={**message, "usage": {"input_tokens": 0}}) == [Said(text="Hm.")]


def test_the_transcript_is_asked_for_what_was_said_and_not_for_what_waits_in_its_queue(tmp_path: Path) -> None:
    said, waits, middle = (str(UUID(int=n)) for n in (1, 2, 3))
    lines = [
        {"type": "queue-operation", "operation": "enqueue", "content": f"[message {waits}]\nlater"},
        {"type": "user", "message": {"role": "user", "content": f'[message {said}]\n"type":"user" [message {said}]'}},
        {"type": "attachment", "attachment": {"type": "queued_command", "prompt": f"[message {middle}]\nnow"}},
        {"type": "last-prompt", "lastPrompt": f"[message {waits}]"},
    ]
    kept = tmp_path / ".claude/projects/-w/the-conversation.jsonl"
    kept.parent.mkdir(parents=True)
    kept.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))

    def asked(conversation: str) -> subprocess.CompletedProcess[str]:
        argv = AGENT.recall(conversation)
        assert argv is not None
        return subprocess.run(
            argv, env={"HOME": str(tmp_path), "PATH": os.defpath}, capture_output=True, text=True, check=False
        )

    assert asked("the-conversation").stdout.split("\n")[:-1] == [f"[message {said}]", f"[message {middle}]"]
    assert asked("another").returncode == NO_CONVERSATION


def test_a_message_is_confirmed_by_its_echo_and_by_nothing_else() -> None:
    message = {"role": "user", "content": "more"}
    assert read(type="user", uuid="m-1", message=message, isReplay=True) == [Confirmed(message="m-1")]
    assert read(type="user", uuid="m-1", message={"role": "user", "content": [{"type": "tool_result"}]}) == []


def test_a_try_again_is_shown() -> None:
    line = {"type": "system", "subtype": "api_retry", "attempt": 2, "max_retries": 10, "error_status": 529}
    assert read(**line) == [Activity(tool="retry", summary="the model's API answered 529: try 2 of 10")]


def test_an_api_that_failed_calls_itself_a_success_and_is_none() -> None:
    told = result(is_error=True, api_error_status=401, result="Invalid API key · Fix external API key")
    assert told == [TurnDone(ok=False, why="Invalid API key · Fix external API key")]


def test_a_turn_that_ended_well_is_told_in_its_own_words() -> None:
    assert result(subtype="error_of_a_later_version") == [TurnDone(ok=True, why="Done.")]


@pytest.mark.parametrize("words", ["", "  \n", None])
def test_a_turn_that_ended_without_a_word_did_not_come_to_its_end(words: object) -> None:
    assert result(result=words) == [TurnDone(ok=False, why="it ended without a word")]


def test_a_result_that_does_not_say_whether_it_failed_counts_as_failed() -> None:
    assert result(is_error=None, result="x") == [TurnDone(ok=False, why="x")]


def test_what_was_not_allowed_is_named_though_nothing_calls_it_an_error() -> None:
    denied = [{"tool_name": "Bash", "tool_use_id": "t", "tool_input": {}}, {"tool_name": "Bash"}, {"tool_name": "Edit"}]
    assert result(permission_denials=denied) == [TurnDone(ok=False, why="Done. (it was not allowed to use Bash, Edit)")]


def test_a_conversation_that_is_not_there_is_not_resumed_again() -> None:
    errors = [f"No conversation found with session ID: {CONVERSATION}"]
    told = result(subtype="error_during_execution", is_error=True, result=None, errors=errors)
    assert told == [Started(native_id=None), TurnDone(ok=False, why=errors[0])]


def test_what_was_used_is_the_sum_of_all_models_of_the_process_so_far() -> None:
    big = {"inputTokens": 10, "cacheReadInputTokens": 200, "cacheCreationInputTokens": 3000, "outputTokens": 4}
    line = {
        "type": "result",
        "is_error": False,
        "total_cost_usd": 0.44,
        "usage": {"input_tokens": 1, "output_tokens": 1},
        "modelUsage": {"big": big, "small": {"inputTokens": 5, "outputTokens": -1}, "odd": None},
    }
    used = Usage(input_tokens=3215, output_tokens=4, cost_usd=0.44, so_far=True)
    assert [event for event in read(**line) if isinstance(event, Usage)] == [used]


@pytest.mark.parametrize("cost", ["many", None, -1, float("nan"), 1e300, True])
def test_a_figure_that_is_none_counts_nothing(cost: object) -> None:
    (used, *_) = read(type="result", is_error=False, total_cost_usd=cost, modelUsage=[])
    assert isinstance(used, Usage)
    assert used.cost_usd == 0.0


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"No conversation found with session ID: x",
        b"{not json",
        b"[1]",
        b'{"type": "rate_limit_event"}',
        b'{"type": "system", "subtype": "task_started"}',
        b'{"type": "assistant", "message": "words"}',
        b'{"type": "assistant", "message": {"content": [3, {"type": "text", "text": null}]}}',
        b'{"type": "control_request", "request_id": "r", "request": {"subtype": "hook_callback"}}',
        b'{"type": "control_request", "request": {"subtype": "can_use_tool"}}',
        b'{"type": "control_response", "response": {"subtype": "success", "request_id": "initialize"}}',
        b'{"type": "user", "isReplay": "yes"}',
        b"{" * 100_000,
        b"\xff\xfe{",
        b'{"type": "assistant", "message": {"content": [{"type": "text", "text": "' + b"x" * 2_000_000 + b'"}]}}',
    ],
)
def test_every_other_line_is_transcript_only(line: bytes) -> None:
    assert list(AGENT.read(line)) == []


# --- what it asks and what it is told ---------------------------------------------------------------------------------------------------


def test_a_permission_shows_the_command_as_it_stands_and_what_can_be_said() -> None:
    asked = permission()
    assert (asked.id, asked.kind, asked.options) == ("r-1", "permission", ("allow", "deny"))
    assert asked.question == "May it use Bash?\npython3 -m pytest -q"
    assert "old words" in permission(tool_name="Edit", input={"file_path": "a", "old_string": "old words"}).question
    assert "more characters" in permission(input={"command": "x" * 5000}).question


@pytest.mark.parametrize("words", ["allow", " Yes.", "OK", "approve"])
def test_a_permission_is_given_for_exactly_what_was_asked(words: str) -> None:
    assert answered(permission(), words) == {"behavior": "allow", "updatedInput": BASH}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("deny", "a person said no"),
        ("no: use the script instead", "use the script instead"),
        ("sure, but not on main", "sure, but not on main"),
        ("allowance", "allowance"),
        ("not yet", "not yet"),
    ],
)
def test_whatever_is_not_a_plain_yes_refuses_and_is_told(words: str, told: str) -> None:
    assert answered(permission(), words) == {"behavior": "deny", "message": told}


def test_what_is_always_allowed_is_kept_by_the_process_and_not_in_the_workspace() -> None:
    suggested = {
        "type": "addRules",
        "rules": [{"toolName": "Bash"}],
        "behavior": "allow",
        "destination": "localSettings",
    }
    asked = permission(permission_suggestions=[suggested])
    assert asked.options == ("allow", "always allow", "deny")
    told = answered(asked, "always allow")
    assert told["updatedPermissions"] == [{**suggested, "destination": "session"}]
    assert told["updatedInput"] == BASH


def test_a_question_shows_its_options_and_is_answered_as_a_whole() -> None:
    asked = question({"question": "Which?", "options": [{"label": "red"}, {"label": "blue"}], "multiSelect": False})
    assert (asked.kind, asked.question, asked.options) == ("question", "Which?", ("red", "blue"))
    told = answered(asked, "neither\nof them")
    assert told["behavior"] == "allow"
    assert told["updatedInput"]["answers"] == {"Which?": "neither\nof them"}
    assert told["updatedInput"]["questions"][0]["question"] == "Which?"


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        ("red\nbig", {"Which colour?": "red", "Which size?": "big"}),
        ("both\n\n", {"Which colour?": "both", "Which size?": "both"}),
        ("1\n2\n3", {"Which colour?": "1", "Which size?": "2"}),
    ],
)
def test_several_questions_are_answered_line_by_line(words: str, answers: dict[str, str]) -> None:
    asked = question(
        {"question": "Which colour?", "options": [{"label": "red"}]}, {"question": "Which size?", "multiSelect": True}
    )
    assert asked.options == ()
    assert asked.question.splitlines() == [
        "Which colour? [red]",
        "Which size? (several may be chosen)",
        "Answer each of them on a line of its own.",
    ]
    assert answered(asked, words)["updatedInput"]["answers"] == answers


def test_words_in_the_middle_of_its_work_carry_their_id() -> None:
    told = json.loads(AGENT.say(message="m-1", text="mind the gap") or b"")
    assert (told["type"], told["uuid"]) == ("user", "m-1")
    assert told["message"] == {"role": "user", "content": "[message m-1]\nmind the gap"}
