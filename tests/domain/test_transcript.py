"""What people see of the lines of an agent's program, whatever these are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain import transcript
from orchestrator.domain.entries import Asked, Call, Done, Entry, Note, Output, Plain, Told, Words
from orchestrator.domain.showing import HEAD_LINES, MOST_LINES, MOST_TEXT, MOST_WIDE

ROOT = "/rooms/s1/work"


def line(**fields: Any) -> str:
    return json.dumps(fields) + "\n"


def read(*lines: str, agent: str = "claude-code", **more: Any) -> list[Entry]:
    return list(transcript.read("".join(lines), agent=agent, **more))


def says(*blocks: dict[str, Any], **more: Any) -> str:
    return line(type="assistant", message={"content": list(blocks)}, **more)


def uses(of: str, tool: str, **used: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": of, "name": tool, "input": used}


def answers(of: str, content: Any, **more: Any) -> str:
    return line(
        type="user", message={"content": [{"type": "tool_result", "tool_use_id": of, "content": content}]}, **more
    )


def asks(tool: str, *, of: str = "", **used: Any) -> str:
    asked = {"subtype": "can_use_tool", "tool_name": tool, "input": used, "tool_use_id": of}
    return line(type="control_request", request_id="r", request=asked)


# --- Claude Code ----------------------------------------------------------------------------------------------------------------------


def test_the_beginning_names_the_model_and_the_program() -> None:
    began = line(type="system", subtype="init", model="opus", claude_code_version="2.1", cwd=ROOT)
    assert read(began) == [Note(text="began · opus · Claude Code 2.1")]
    assert transcript.root_of("noise\n" + began, agent="claude-code") == ROOT
    assert transcript.root_of(began, agent="command") == ""


def test_words_are_prose_thoughts_are_told_apart_and_a_sub_agents_stand_within() -> None:
    blocks = (
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "Let me look.\n"},
        {"type": "text", "text": " "},
    )
    assert read(says(*blocks)) == [Words(text="hm", thought=True), Words(text="Let me look.")]
    assert read(says(blocks[1], parent_tool_use_id="t")) == [Words(text="Let me look.", inner=True)]


@pytest.mark.parametrize(
    ("tool", "used", "summary"),
    [
        ("Bash", {"command": "git commit -qam 'Fix it'", "description": "Commit"}, "git commit -qam 'Fix it'"),
        ("Edit", {"file_path": f"{ROOT}/calc.py"}, "calc.py"),
        ("Grep", {"pattern": "def", "path": f"{ROOT}/tests"}, "def in tests"),
        ("Glob", {"pattern": "*.py"}, "*.py"),
        ("LS", {"path": f"{ROOT}/a/b"}, "a/b"),
        ("Odd", {"x": 1}, ""),
    ],
)
def test_a_call_is_its_tool_and_what_says_most(tool: str, used: dict[str, Any], summary: str) -> None:
    (call,) = read(says(uses("t", tool, **used)), root=ROOT)
    assert isinstance(call, Call)
    assert (call.tool, call.summary, call.detail) == (tool, summary, "")


def test_a_change_shows_its_lines_and_a_long_command_all_of_it() -> None:
    edit, several, write, script = read(
        says(uses("1", "Edit", file_path="a", old_string="x\ny", new_string="z")),
        says(
            uses(
                "2", "MultiEdit", edits=[{"old_string": "a", "new_string": "b"}, {"old_string": "c", "new_string": "d"}]
            )
        ),
        says(uses("3", "Write", file_path="a", content="\n".join("line" for _ in range(30)))),
        says(uses("4", "Bash", command="cd a\nmake")),
    )
    assert isinstance(edit, Call)
    assert (edit.removed, edit.added, edit.brief) == (("x", "y"), ("z",), True)
    assert isinstance(several, Call)
    assert (several.removed, several.added) == (("a", "c"), ("b", "d"))
    assert isinstance(write, Call)
    assert (len(write.added), write.brief) == (30, False)
    assert isinstance(script, Call)
    (huge,) = read(says(uses("5", "Write", content="x\n" * (MOST_LINES + 7))))
    assert isinstance(huge, Call)
    assert (len(huge.added), huge.plus, huge.hidden) == (MOST_LINES, MOST_LINES + 7, 7)
    assert (script.summary, script.detail) == ("cd a make", "cd a\nmake")


def test_a_list_of_what_is_to_be_done_shows_what_is_done() -> None:
    todos = [
        {"content": c, "status": s} for c, s in (("read", "completed"), ("fix", "in_progress"), ("test", "pending"))
    ]
    (call,) = read(says(uses("t", "TodoWrite", todos=todos)))
    assert isinstance(call, Call)
    assert call.brief
    assert call.detail == "✓ read\n→ fix\n○ test"


def test_what_came_of_calls_made_at_once_stands_under_each() -> None:
    told = read(
        says(uses("a", "Read", path="a"), uses("b", "Read", path="b")), says({"type": "text", "text": "Meanwhile."}),
        answers("b", "of b"), answers("a", "of a"), answers("elsewhere", "of an earlier page"),
    )  # fmt: skip
    assert [getattr(one, "id", None) or getattr(one, "of", None) for one in told] == [
        "a",
        "a",
        "b",
        None,
        "b",
        "elsewhere",
    ]


def test_what_came_of_a_sub_agent_stands_after_what_it_did() -> None:
    told = read(
        says(uses("s", "Task", description="Look", prompt="Look\nwell")),
        says({"type": "text", "text": "I look."}, uses("a", "Read", path="a"), parent_tool_use_id="s"),
        answers("a", "of a", parent_tool_use_id="s"),
        answers("s", "Found."),
    )
    assert [(one.kind, getattr(one, "inner", None)) for one in told] == [
        ("call", False), ("words", True), ("call", True), ("output", True), ("output", False),
    ]  # fmt: skip
    assert isinstance(told[0], Call)
    assert (told[0].summary, told[0].detail, told[0].brief) == ("Look", "Look\nwell", False)


def test_a_question_stands_between_its_call_and_what_came_of_it() -> None:
    call = says(uses("t", "Bash", command="rm x"))
    for of in ("t", ""):
        told = read(call, asks("Bash", command="rm x", of=of), answers("t", "gone"))
        assert [one.kind for one in told] == ["call", "asked", "output"]
        assert told[1] == Asked(permission=True, question="May it use Bash?\nrm x", options=("allow", "deny"), of=of)
    (asked,) = read(asks("AskUserQuestion", questions=[{"question": "Which?", "options": [{"label": "red"}]}]))
    assert asked == Asked(permission=False, question="Which?", options=("red",))
    assert read(line(type="control_request", request={"subtype": "hook_callback"})) == []
    assert [one.kind for one in read(line(type="control_cancel_request", request_id="r"))] == ["note"]


def test_an_output_shows_its_first_lines_and_says_how_it_ends() -> None:
    lines = [f"line {n}" for n in range(59)] + ["=== 1 failed ==="]
    (told,) = read(answers("t", "\n".join(lines)))
    assert isinstance(told, Output)
    assert told.head.split("\n") == lines[:HEAD_LINES]
    assert told.rest.split("\n") == lines[HEAD_LINES:]
    assert (told.rest_lines, told.hidden, told.last) == (60 - HEAD_LINES, 0, "1 failed")


def test_a_fold_for_a_single_line_is_not_made() -> None:
    (told,) = read(answers("t", "\n".join("x" * (HEAD_LINES + 1))))
    assert isinstance(told, Output)
    assert (told.head.count("\n"), told.rest) == (HEAD_LINES, "")


def test_an_output_without_end_is_cut_and_says_so() -> None:
    (told,) = read(answers("t", "x\n" * (MOST_LINES + 50) + "y" * 10_000))
    assert isinstance(told, Output)
    assert told.hidden == 51
    (wide,) = read(answers("t", "y" * 10_000))
    assert isinstance(wide, Output)
    assert wide.head == "y" * MOST_WIDE + f" [{10_000 - MOST_WIDE} more characters]"


def test_outputs_in_parts_are_put_together_and_pictures_are_named() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "image", "source": {}}, "odd"]
    (told,) = read(answers("t", parts))
    assert isinstance(told, Output)
    assert told.head == "one\n[image]"


def test_a_failed_output_is_told_as_one() -> None:
    block = {"type": "tool_result", "tool_use_id": "t", "content": "no", "is_error": True}
    assert read(line(type="user", message={"content": [block]})) == [Output(of="t", head="no", failed=True)]


def test_what_it_was_told_is_shown_without_the_id_by_which_it_is_confirmed() -> None:
    echo = {"type": "user", "uuid": "m", "isReplay": True}
    assert read(line(**echo, message={"content": "[message m]\nmind the gap"})) == [Told(text="mind the gap")]
    assert read(line(**echo, message={"content": [{"type": "text", "text": "fix"}]})) == [Told(text="fix")]
    assert read(line(type="user", message={"content": "[Request interrupted by user]"})) == [
        Note(text="[Request interrupted by user]")
    ]


def test_retries_limits_and_summaries_are_lines() -> None:
    told = read(
        line(type="system", subtype="api_retry", attempt=2, max_retries=10, error_status=529),
        line(type="rate_limit_event", rate_limit_info={"status": "rejected"}),
        line(type="rate_limit_event", rate_limit_info={"status": "allowed"}),
        line(type="system", subtype="compact_boundary"),
    )
    assert told == [
        Note(text="the model's API answered 529: try 2 of 10", trouble=True),
        Note(text="the model's API limits it: rejected", trouble=True),
        Note(text="it summed its conversation up, to have room for more"),
    ]


def test_the_end_tells_steps_time_tokens_and_cost() -> None:
    used = {"big": {"inputTokens": 1000, "cacheReadInputTokens": 234, "outputTokens": 56}}
    told = {"num_turns": 3, "duration_ms": 61_000, "total_cost_usd": 0.126, "modelUsage": used}
    facts = ("3 steps", "1 min 1 s", "1,234 tokens in, 56 out", "0.13 USD")
    assert read(line(type="result", is_error=False, result="Done.", **told)) == [Done(ok=True, facts=facts)]
    assert read(line(type="result", is_error=True, result="no credit")) == [Done(ok=False, why="no credit")]
    (denied,) = read(line(type="result", is_error=False, result="x", permission_denials=[{"tool_name": "Bash"}]))
    assert denied == Done(ok=False, why="x (it was not allowed to use Bash)")


def test_what_programs_tell_each_other_is_no_news_to_people() -> None:
    assert read(
        line(type="stream_event", event={"delta": "x"}),
        line(type="control_response", response={}),
        line(type="system", subtype="hook_started"),
        line(type="system", subtype="status", status="compacting"),
    ) == []  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "of a later version", "x": 1}',
        '{"type": "system", "subtype": "of a later version"}',
        '{"type": ["assistant"]}',
        '{"no": "type"}',
        "{not json",
        "[1]",
        "npm error code ENOENT",
        "{" * 50_000,
    ],
)
def test_a_line_that_is_not_known_stands_as_it_is(text: str) -> None:
    (told,) = read(text + "\n")
    assert isinstance(told, Plain)
    assert told.text.startswith(text[:MOST_WIDE])


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "assistant"},
        {"type": "assistant", "message": "words"},
        {"type": "assistant", "message": {"content": [3, None, {"type": "text", "text": None}]}},
        {"type": "assistant", "message": {"content": [{"type": "tool_use", "name": 3, "input": [], "id": {}}]}},
        {"type": "user", "message": {"content": [{"type": "tool_result", "content": {"a": 1}}]}},
        {"type": "user", "message": {"content": [{"type": "tool_result", "content": [["x"]], "tool_use_id": 4}]}},
        {"type": "control_request", "request": {"subtype": "can_use_tool", "input": "x", "tool_name": []}},
        {"type": "control_request", "request": None},
        {"type": "system", "subtype": "init", "model": {}, "cwd": 3},
        {"type": "system", "subtype": "api_retry", "attempt": [[]]},
        {"type": "rate_limit_event", "rate_limit_info": []},
        {"type": "result", "num_turns": -1, "duration_ms": "x", "total_cost_usd": 1e400, "modelUsage": {"a": []}},
    ],
)
def test_fields_that_are_not_as_they_should_be_harm_nothing(fields: dict[str, Any]) -> None:
    for entry in read(line(**fields)):
        assert not isinstance(entry, Plain)


def test_what_steers_a_terminal_or_hides_text_is_in_no_entry() -> None:
    evil = "\x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x07click\u202e\u200b\ud800\x00"
    told = read(
        says({"type": "text", "text": evil}, uses("t", evil, command=evil)),
        answers("t", evil),
        asks(evil, command=evil),
        line(type="user", isReplay=True, message={"content": evil}),
        line(type="result", is_error=True, result=evil),
        line(type="system", subtype="init", model=evil),
        line(type="unknown", text="\x1b[2J") .replace("\\u001b", "\x1b"),
    )  # fmt: skip
    assert len(told) == 8
    for bad in ("\x1b", "\u202e", "\u200b", "\ud800", "\x00", "evil.example"):
        assert bad not in "".join(str(getattr(one, name, "")) for one in told for name in one.__slots__)


def test_a_line_that_a_program_redrew_is_the_last_of_its_drawings() -> None:
    assert read("10%\r50%\r100%\r\n", agent="command") == [Plain(text="100%")]


def test_huge_lines_are_neither_parsed_nor_shown_whole() -> None:
    (plain,) = read(says({"type": "text", "text": "x" * (transcript.LINE_CAP + 1)}))
    assert isinstance(plain, Plain)
    assert len(plain.text) < MOST_WIDE + 100
    (words,) = read(says({"type": "text", "text": "x" * 900_000}))
    assert isinstance(words, Words)
    assert len(words.text) < MOST_TEXT + 100


# --- every other agent ----------------------------------------------------------------------------------------------------------------


def test_other_programs_are_plain_but_for_the_common_vocabulary() -> None:
    told = read(
        "building\n", "done\n",
        line(type="activity", tool="edit", summary="calc.py"),
        line(type="message", text="Fixed."),
        line(type="needs_input", kind="permission", question="May I?", options=["yes", 3]),
        line(type="usage", input_tokens=1200, output_tokens=3, cost_usd=0.001),
        line(type="started", id="x"), line(type="confirmed", message="m"), line(type="usage"),
        line(type="turn_done", ok=False, why="out of ideas"),
        line(type="assistant", message={"content": []}),
        agent="command",
    )  # fmt: skip
    assert told == [
        Plain(text="building\ndone"),
        Call(tool="edit", summary="calc.py"),
        Words(text="Fixed."),
        Asked(permission=True, question="May I?", options=("yes", "3")),
        Note(text="used 1,200 tokens in, 3 out, less than 0.01 USD"),
        Done(ok=False, why="out of ideas"),
        Plain(text='{"type": "assistant", "message": {"content": []}}'),
    ]


def test_an_agent_that_is_not_known_may_use_the_common_vocabulary() -> None:
    assert read(line(type="message", text="Hello."), agent="of a plugin") == [Words(text="Hello.")]


# --- pages ----------------------------------------------------------------------------------------------------------------------------


def test_a_line_that_began_on_another_page_is_not_taken_for_an_event() -> None:
    event = line(type="message", text="x")
    assert read(event, event, agent="command", begun=True) == [Plain(text=event.rstrip("\n")), Words(text="x")]
    assert read("rest", agent="command", begun=True) == [Plain(text="rest", ended=False)]


def test_a_last_line_without_an_end_is_said_to_have_none() -> None:
    assert read("a\nb", agent="command") == [Plain(text="a\nb", ended=False)]
    assert read("a\n\n", agent="command") == [Plain(text="a\n")]
    assert read("", agent="command") == []


@given(st.text(max_size=200), st.sampled_from(["claude-code", "command"]), st.booleans())
def test_no_text_makes_it_fail(text: str, agent: str, begun: bool) -> None:
    transcript.read(text, agent=agent, begun=begun)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "text", "content", "input", "message", "id", "name", "todos", "edits", "questions"]), inner, max_size=4
    ),
    max_leaves=12,
)  # fmt: skip


@given(
    st.sampled_from(["assistant", "user", "system", "result", "control_request", "message", "needs_input"]), json_values
)
def test_no_object_makes_it_fail(kind: str, value: Any) -> None:
    for agent in ("claude-code", "command"):
        read(
            line(type=kind, message={"content": value}, request=value, result=value, modelUsage=value, text=value),
            line(
                type=kind,
                subtype="can_use_tool",
                message={"content": [value]},
                request={"subtype": "can_use_tool", "input": value},
            ),
            agent=agent,
        )
