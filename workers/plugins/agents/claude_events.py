"""What Claude Code says, line by line. Fields are found by name; types, subtypes and fields that are not known are passed over.

How a turn went is told by `is_error`: `subtype` says "success" where the model's API failed. Sums of money and tokens are those of the
process so far, which the port calls `so_far`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.ports import Activity, AgentEvent, Confirmed, Said, Started, TurnDone, Usage
from workers.plugins.agents import claude_answers

_LINE_CAP = 1024 * 1024  # a longer line is not an event
_MOST = 1e15  # a larger figure is not one
# What says most about a tool's use, in this order.
_TELLING = ("command", "file_path", "notebook_path", "path", "pattern", "url", "query", "description", "prompt", "plan")
_NO_CONVERSATION = "No conversation found"

Found = Mapping[str, object]


def read(line: bytes) -> Sequence[AgentEvent]:
    """The events in one line."""
    if not line.startswith(b"{") or len(line) > _LINE_CAP:
        return ()
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return ()
    return tuple(_events(found)) if isinstance(found, dict) else ()


def summary_of(used: Found) -> str:
    """A tool's input in a line."""
    words = next((used[name] for name in _TELLING if isinstance(used.get(name), str)), "")
    return " ".join(str(words).split())[:300]


def _events(found: Found) -> Iterator[AgentEvent]:
    match found.get("type"):
        case "system":
            yield from _of_the_system(found)
        case "assistant":
            yield from _of_the_model(found)
        case "user" if found.get("isReplay") is True:
            yield Confirmed(message=_text(found, "uuid"))
        case "control_request":
            asked = claude_answers.request(_text(found, "request_id"), _inner(found, "request"))
            yield from (asked,) if asked is not None else ()
        case "result":
            yield from _of_the_result(found)


def _of_the_system(found: Found) -> Iterator[AgentEvent]:
    match found.get("subtype"):
        case "init":
            yield Started(native_id=_text(found, "session_id") or None)
        case "api_retry":
            status = found.get("error_status") or "nothing"
            tries = f"try {found.get('attempt')} of {found.get('max_retries')}"
            yield Activity(tool="retry", summary=f"the model's API answered {status}: {tries}")


def _of_the_model(found: Found) -> Iterator[AgentEvent]:
    """Words and uses of tools. What a sub-agent says is said to its agent and not to people."""
    content = _inner(found, "message").get("content")
    for block in content if isinstance(content, list) else ():
        match block:
            case {"type": "text", "text": str(text)} if not found.get("parent_tool_use_id"):
                yield Said(text=text)
            case {"type": "tool_use", "name": str(tool)}:
                yield Activity(tool=tool, summary=summary_of(_inner(block, "input")))


def _of_the_result(found: Found) -> Iterator[AgentEvent]:
    yield _usage(found)
    errors = [str(error) for error in _list(found, "errors")]
    if any(_NO_CONVERSATION in error for error in errors):
        yield Started(native_id=None)  # the next turn begins another
    denied = sorted({_text(use, "tool_name") for use in _list(found, "permission_denials") if isinstance(use, Mapping)})
    words = _text(found, "result") or "; ".join(errors)
    if found.get("is_error") is not False:
        yield TurnDone(ok=False, why=words or "it ended with an error")
    elif denied:
        yield TurnDone(ok=False, why=f"{words} (it was not allowed to use {', '.join(denied)})".strip())
    else:
        yield TurnDone(ok=bool(words.strip()), why=words.strip() or "it ended without a word")


def _usage(found: Found) -> Usage:
    models = [use for use in _inner(found, "modelUsage").values() if isinstance(use, Mapping)]
    read = ("inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
    return Usage(
        input_tokens=int(sum(_number(use, name) for use in models for name in read)),
        output_tokens=int(sum(_number(use, "outputTokens") for use in models)),
        cost_usd=_number(found, "total_cost_usd"),
        so_far=True,
    )


def _inner(found: Found, name: str) -> Found:
    value = found.get(name)
    return value if isinstance(value, Mapping) else {}


def _list(found: Found, name: str) -> Sequence[object]:
    value = found.get(name)
    return value if isinstance(value, list) else ()


def _text(found: Found, name: str) -> str:
    value = found.get(name)
    return value[:20_000] if isinstance(value, str) else ""


def _number(found: Found, name: str) -> float:
    """A figure that can be added up: not negative, not absurd, not NaN."""
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if 0 <= value < _MOST else 0.0
