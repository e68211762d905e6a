"""What Claude Code says, line by line. Fields are found by name; types, subtypes and fields that are not known are passed over.

Sums of money and tokens are those of the process so far, which the port calls `so_far`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.domain import claude
from orchestrator.domain.lines import Found, inner, objects, parsed, text
from orchestrator.ports import Activity, AgentEvent, Confirmed, Said, Started, TurnDone, Usage
from workers.plugins.agents import claude_answers

_NO_CONVERSATION = "No conversation found"


def read(line: bytes) -> Sequence[AgentEvent]:
    """The events in one line."""
    found = parsed(line, cap=claude.LINE_CAP)
    return tuple(_events(found)) if found is not None else ()


def _events(found: Found) -> Iterator[AgentEvent]:
    match found.get("type"):
        case "system":
            yield from _of_the_system(found)
        case "assistant":
            yield from _of_the_model(found)
        case "user" if found.get("isReplay") is True:
            yield Confirmed(message=text(found, "uuid"))
        case "control_request":
            asked = claude_answers.request(text(found, "request_id"), inner(found, "request"))
            yield from (asked,) if asked is not None else ()
        case "result":
            yield from _of_the_result(found)


def _of_the_system(found: Found) -> Iterator[AgentEvent]:
    match found.get("subtype"):
        case "init":
            yield Started(native_id=text(found, "session_id") or None)
        case "api_retry":
            yield Activity(tool="retry", summary=claude.retry_of(found))


def _of_the_model(found: Found) -> Iterator[AgentEvent]:
    """Words and uses of tools. What a sub-agent says is said to its agent and not to people."""
    for block in objects(inner(found, "message"), "content"):
        match block:
            case {"type": "text", "text": str(words)} if not found.get("parent_tool_use_id"):
                yield Said(text=words)
            case {"type": "tool_use", "name": str(tool)}:
                yield Activity(tool=tool, summary=claude.summary_of(inner(block, "input")))
    said = inner(found, "message")
    if (request := text(said, "id")) and (used := claude.asked_of(inner(said, "usage"))).input_tokens:
        yield Usage(input_tokens=used.input_tokens, output_tokens=used.output_tokens, request=request)


def _of_the_result(found: Found) -> Iterator[AgentEvent]:
    spent = claude.spent_of(found)
    yield Usage(
        input_tokens=spent.input_tokens, output_tokens=spent.output_tokens, cost_usd=spent.cost_usd, so_far=True
    )
    if any(_NO_CONVERSATION in error for error in claude.errors_of(found)):
        yield Started(native_id=None)  # the next turn begins another
    ending = claude.ending_of(found)
    yield TurnDone(ok=ending.ok, why=ending.why)
