"""What the fields of Claude Code's lines mean, for those who act on them and for those who show them.

How a turn went is told by `is_error`: `subtype` says "success" where the model's API failed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.domain.entries import Asked
from orchestrator.domain.lines import Found, inner, listed, number, objects, text

AGENT = "claude-code"
LINE_CAP = 1024 * 1024  # a longer line is not an event

_SUMMARY = 300  # characters of a tool's input in a line
_SHOWN = 3000  # characters of a tool's input that people are shown when they are asked
# What says most about a tool's use, in this order.
_TELLING = ("command", "file_path", "notebook_path", "pattern", "path", "url", "query", "description", "prompt", "plan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How it says that its turn went."""

    ok: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What its process has used so far."""

    input_tokens: int
    output_tokens: int
    cost_usd: float


def summary_of(used: Found) -> str:
    """A tool's input in a line."""
    name = next((name for name in _TELLING if isinstance(used.get(name), str)), "")
    where = f" in {used['path']}" if name == "pattern" and isinstance(used.get("path"), str) else ""
    return " ".join(f"{used.get(name, '')}{where}".split())[:_SUMMARY]


def retry_of(found: Found) -> str:
    """What an `api_retry` tells."""
    status = found.get("error_status") or "nothing"
    return f"the model's API answered {status}: try {found.get('attempt')} of {found.get('max_retries')}"


def question_of(asked: Found) -> Asked | None:
    """A control request as a question to people; None when it asks nothing of them."""
    if asked.get("subtype") != "can_use_tool":
        return None
    used = inner(asked, "input")
    if asked.get("tool_name") == "AskUserQuestion":
        return _asked(questions_of(used), of=text(asked, "tool_use_id", cap=200))
    return Asked(
        of=text(asked, "tool_use_id", cap=200),
        permission=True,
        question=f"May it use {asked.get('tool_name') or 'a tool'}?\n{_shown(used)}",
        options=("allow", "always allow", "deny") if listed(asked, "permission_suggestions") else ("allow", "deny"),
    )


def questions_of(used: Found) -> Sequence[Found]:
    """The questions in the input of the tool that asks."""
    return objects(used, "questions")


def ending_of(found: Found) -> Ending:
    """What a `result` says of its turn: one that was refused a tool, or that ended without a word, did not come to its end."""
    denied = sorted({text(use, "tool_name") for use in objects(found, "permission_denials")})
    words = text(found, "result") or "; ".join(errors_of(found))
    if found.get("is_error") is not False:
        return Ending(ok=False, why=words or "it ended with an error")
    if denied:
        return Ending(ok=False, why=f"{words} (it was not allowed to use {', '.join(denied)})".strip())
    return Ending(ok=bool(words.strip()), why=words.strip() or "it ended without a word")


def errors_of(found: Found) -> Sequence[str]:
    """What a `result` names as errors."""
    return [str(error) for error in listed(found, "errors")]


def spent_of(found: Found) -> Spent:
    """What a `result` says was used, by all models of the process so far."""
    models = [use for use in inner(found, "modelUsage").values() if isinstance(use, Mapping)]
    read = ("inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
    return Spent(
        input_tokens=int(sum(number(use, name) for use in models for name in read)),
        output_tokens=int(sum(number(use, "outputTokens") for use in models)),
        cost_usd=number(found, "total_cost_usd"),
    )


def asked_of(usage: Found) -> Spent:
    """What one request to the model used, as every piece of its answer tells it; what it costs is told with the `result` alone."""
    read = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return Spent(
        input_tokens=int(sum(number(usage, name) for name in read)),
        output_tokens=int(number(usage, "output_tokens")),
        cost_usd=0.0,
    )


def _asked(questions: Sequence[Found], *, of: str) -> Asked:
    parts = [_with_options(one, numbered=len(questions) > 1) for one in questions]
    if len(questions) > 1:
        parts.append("Answer each of them on a line of its own.")
    return Asked(
        of=of,
        permission=False,
        question="\n".join(parts) or "It asks, without saying what.",
        options=tuple(_labels(questions[0])) if len(questions) == 1 else (),
    )


def _with_options(one: Found, *, numbered: bool) -> str:
    several = " (several may be chosen)" if one.get("multiSelect") is True else ""
    labels = f" [{', '.join(_labels(one))}]" if numbered and _labels(one) else ""
    return f"{one.get('question')}{several}{labels}"


def _labels(one: Found) -> Sequence[str]:
    return [str(each.get("label")) for each in objects(one, "options")]


def _shown(used: Found) -> str:
    """A command as it stands, else all that the tool is to be given."""
    command = used.get("command")
    shown = command if isinstance(command, str) else json.dumps(used, indent=1, ensure_ascii=False)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}\n[{len(shown) - _SHOWN} more characters]"
