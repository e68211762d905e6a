"""Claude Code's lines as people read them: its words, its tools with what came of them, its questions, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.domain import claude
from orchestrator.domain.entries import Call, Done, Entry, Note, Output, Told, Words
from orchestrator.domain.lines import Found, inner, number, objects, text
from orchestrator.domain.showing import MOST_LINES, asked_as_shown, figures, output, shown, shown_line, shown_lines

_MOST_STEPS = 100  # of a list of what is to be done
# What the program tells other programs, at every step: nothing in it is news to people.
_NOISE = frozenset(
    {"stream_event", "control_response", "keep_alive", "tool_progress", "tool_use_summary", "auth_status",
     "prompt_suggestion"}
)  # fmt: skip
_NOISE_OF_THE_SYSTEM = frozenset(
    {"status", "hook_started", "hook_progress", "hook_response", "files_persisted", "session_state_changed",
     "task_started", "task_progress", "task_notification"}
)  # fmt: skip
_DONE, _DOING, _TO_DO = "✓", "→", "○"


def entries_of(found: Found) -> Sequence[Entry] | None:
    """What people see of a line: nothing of what is no news, and None for what is not known."""
    match found.get("type"):
        case "system":
            return _of_the_system(found)
        case "assistant":
            return tuple(_of_the_model(found))
        case "user":
            return tuple(_of_the_user(found))
        case "control_request":
            return _of_a_request(inner(found, "request"))
        case "control_cancel_request":
            return (Note(text="it took its question back"),)
        case "rate_limit_event":
            return _of_a_limit(inner(found, "rate_limit_info"))
        case "result":
            return (_done(found),)
        case str(kind) if kind in _NOISE:
            return ()
        case _:
            return None


def root_of(found: Found) -> str:
    """The directory in which it works, as its first line says it."""
    began = found.get("type") == "system" and found.get("subtype") == "init"
    return text(found, "cwd", cap=1000) if began else ""


def _of_the_system(found: Found) -> Sequence[Entry] | None:
    match found.get("subtype"):
        case "init":
            facts = [shown_line(text(found, name, cap=200)) for name in ("model", "claude_code_version")]
            version = f"Claude Code {facts[1]}".strip()
            return (Note(text=" · ".join(filter(None, ("began", facts[0], version)))),)
        case "api_retry":
            return (Note(text=shown_line(claude.retry_of(found)), trouble=True),)
        case "compact_boundary":
            return (Note(text="it summed its conversation up, to have room for more"),)
        case str(kind) if kind in _NOISE_OF_THE_SYSTEM:
            return ()
        case _:
            return None


def _of_the_model(found: Found) -> Iterator[Entry]:
    within = bool(found.get("parent_tool_use_id"))
    for block in objects(inner(found, "message"), "content"):
        match block.get("type"):
            case "text" if text(block, "text").strip():
                yield Words(text=shown(text(block, "text", cap=claude.LINE_CAP)).strip(), inner=within)
            case "thinking" if text(block, "thinking").strip():
                yield Words(
                    text=shown(text(block, "thinking", cap=claude.LINE_CAP)).strip(), inner=within, thought=True
                )
            case "tool_use" | "server_tool_use" | "mcp_tool_use":
                yield _call(block, within=within)


def _call(block: Found, *, within: bool) -> Call:
    used = inner(block, "input")
    removed, added = _change(used)
    return Call(
        tool=shown_line(text(block, "name", cap=200)) or "a tool",
        summary=shown_line(claude.summary_of(used)),
        id=text(block, "id", cap=200),
        detail=_detail(used),
        removed=removed[:MOST_LINES],
        added=added[:MOST_LINES],
        minus=len(removed),
        plus=len(added),
        inner=within,
    )


def _change(used: Found) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The lines that it takes out of a file, and those that it puts in."""
    changes = objects(used, "edits") or [used]
    removed = [line for one in changes for line in _lines(one, "old_string")]
    added = [line for one in changes for name in ("new_string", "content", "new_source") for line in _lines(one, name)]
    return tuple(removed), tuple(added)


def _lines(found: Found, name: str) -> list[str]:
    words = text(found, name, cap=claude.LINE_CAP)
    return shown_lines(words) if words.strip() else []


def _detail(used: Found) -> str:
    """What a line of summary cannot hold: a list of what is to be done, a command of several lines, the words for a sub-agent."""
    steps = [_step(one) for one in objects(used, "todos")[:_MOST_STEPS]]
    if steps:
        return "\n".join(steps)
    for name in ("command", "prompt", "plan"):
        words = text(used, name, cap=claude.LINE_CAP).strip()
        if "\n" in words or len(words) > 200:
            return shown(words)
    return ""


def _step(todo: Found) -> str:
    mark = {"completed": _DONE, "in_progress": _DOING}.get(text(todo, "status"), _TO_DO)
    return f"{mark} {shown_line(text(todo, 'content'))}"


def _of_the_user(found: Found) -> Iterator[Entry]:
    """What came back from tools; what a person said, echoed; and what the program itself put in."""
    within = bool(found.get("parent_tool_use_id"))
    content = inner(found, "message").get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    for block in content if isinstance(content, list) else ():
        match block:
            case {"type": "tool_result"}:
                yield _output(block, within=within)
            case {"type": "text", "text": str(words)} if found.get("isReplay") is True:
                yield Told(text=shown(_without_id(words, text(found, "uuid"))).strip())
            case {"type": "text", "text": str(words)} if words.strip() and not within:
                yield Note(text=shown_line(words))


def _without_id(words: str, id: str) -> str:  # noqa: A002  # the protocol's word
    """Words that were said in the middle of its work begin with the id by which it confirms them."""
    return words.removeprefix(f"[message {id}]\n")


def _output(block: Found, *, within: bool) -> Output:
    content = block.get("content")
    if isinstance(content, list):
        content = "\n".join(_part(one) for one in objects(block, "content"))
    words = content if isinstance(content, str) else ""
    return output(words, of=text(block, "tool_use_id", cap=200), failed=block.get("is_error") is True, inner=within)


def _part(one: Found) -> str:
    return text(one, "text", cap=claude.LINE_CAP) if one.get("type") == "text" else f"[{one.get('type')}]"


def _of_a_request(asked: Found) -> Sequence[Entry]:
    question = claude.question_of(asked)
    if question is None:
        return ()
    return (asked_as_shown(question),)


def _of_a_limit(limit: Found) -> Sequence[Entry]:
    status = shown_line(text(limit, "status", cap=200))
    return () if status in {"", "allowed"} else (Note(text=f"the model's API limits it: {status}", trouble=True),)


def _done(found: Found) -> Done:
    """An end that went well was told in its last words; what else it says is why it did not."""
    ending, spent = claude.ending_of(found), claude.spent_of(found)
    steps, seconds = int(number(found, "num_turns")), int(number(found, "duration_ms") / 1000)
    facts = [f"{steps} step{'' if steps == 1 else 's'}"] if steps else []
    facts += [f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"] if seconds else []
    facts += figures(input_tokens=spent.input_tokens, output_tokens=spent.output_tokens, cost_usd=spent.cost_usd)
    return Done(ok=ending.ok, why="" if ending.ok else shown(ending.why), facts=tuple(facts))
