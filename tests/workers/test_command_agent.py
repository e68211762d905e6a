"""The agent `command`: how a program is started, and what its lines say."""

from __future__ import annotations

import json

import pytest

from orchestrator.ports import Activity, Brief, Confirmed, NeedsInput, Refused, Said, Started, TurnDone, Usage
from workers.plugins.agents.command import CommandAgent

AGENT = CommandAgent()


def _brief(command: object) -> Brief:
    return Brief(task=7, session=8, turn=2, prompt="fix – it", config={"command": command}, env={"LANG": "C"})


def test_a_string_is_split_as_a_shell_splits_words_and_no_shell_runs_it() -> None:
    assert AGENT.plan(_brief("my-agent --say 'two words' ; $HOME")).argv == (
        "my-agent",
        "--say",
        "two words",
        ";",
        "$HOME",
    )


def test_a_list_is_taken_as_it_is() -> None:
    assert AGENT.plan(_brief(["my agent", "a;b"])).argv == ("my agent", "a;b")


def test_the_prompt_is_on_stdin_and_in_a_file_and_the_environment_says_where() -> None:
    launch = AGENT.plan(_brief("x"))
    assert launch.stdin == "fix – it".encode()
    assert launch.files == {".ao/turn-2.txt": "fix – it".encode()}
    assert dict(launch.env) == {
        "LANG": "C",
        "AO_TASK": "7",
        "AO_SESSION": "8",
        "AO_TURN": "2",
        "AO_PROMPT_FILE": "{home}/.ao/turn-2.txt",
    }


@pytest.mark.parametrize("command", [None, "", [], [1], "unfinished 'quote", {"a": 1}, ["a\x00b"]])
def test_a_command_that_cannot_be_run_is_refused_with_the_accepted_form(command: object) -> None:
    with pytest.raises(Refused, match=r"agentConfig\.command") as caught:
        AGENT.check({"command": command})
    assert caught.value.code == "bad-agent-config"


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ({"type": "started", "id": "c1"}, Started(native_id="c1")),
        ({"type": "activity", "tool": "edit", "summary": "a.py"}, Activity(tool="edit", summary="a.py")),
        ({"type": "message", "text": "hello"}, Said(text="hello")),
        ({"type": "confirmed", "message": "m1"}, Confirmed(message="m1")),
        ({"type": "turn_done", "ok": False, "why": "no"}, TurnDone(ok=False, why="no")),
        ({"type": "turn_done"}, TurnDone(ok=True)),
        (
            {"type": "usage", "input_tokens": 3, "output_tokens": -4, "cost_usd": "many"},
            Usage(input_tokens=3, output_tokens=0, cost_usd=0.0),
        ),
        (
            {"type": "needs_input", "id": "q", "question": "Which?", "options": ["a", 2]},
            NeedsInput(id="q", kind="question", question="Which?", options=("a", "2")),
        ),
        (
            {"type": "needs_input", "kind": "permission"},
            NeedsInput(id="question", kind="permission", question="The agent asks, without saying what."),
        ),
    ],
)
def test_a_line_of_the_vocabulary_is_an_event(said: dict[str, object], heard: object) -> None:
    assert list(AGENT.read(json.dumps(said).encode())) == [heard]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"plain words",
        b"{not json",
        b"[1, 2]",
        b'{"type": "unheard-of"}',
        b'{"type": 3}',
        b'{"no": "type"}',
        b"{" * 100_000,
        b"\xff\xfe{",
        b'{"type": "message", "text": "' + b"x" * 300_000 + b'"}',
    ],
)
def test_every_other_line_is_transcript_only(line: bytes) -> None:
    assert list(AGENT.read(line)) == []


def test_it_takes_words_and_answers_between_turns_only() -> None:
    assert AGENT.say(message="m", text="hello") is None
    assert AGENT.answer(asked=NeedsInput(id="q", kind="question", question="Which?"), answer="yes") is None
