"""What Claude Code asks of people, and people's words as what it takes for an answer.

A permission is given by `allow` or, for what it suggests itself, `always allow`; whatever else is said refuses it, and is told to it. A
question is answered with one of its options or in other words, several questions line by line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from orchestrator.ports import NeedsInput

ALLOW, ALWAYS, DENY = "allow", "always allow", "deny"

_YES = frozenset({ALLOW, "yes", "y", "ok", "approve", "approved"})
_ALWAYS = frozenset({ALWAYS, "always", "allow always"})
_NO = re.compile(r"^(?:deny|denied|no|n)\b[\s,.:;-]*", re.IGNORECASE)
_SHOWN = 3000  # characters of a tool's input that people are shown

Found = Mapping[str, object]


def request(id: str, asked: Found) -> NeedsInput | None:  # noqa: A002  # the protocol's word
    """A control request as a question to people; None when it asks nothing of them."""
    if asked.get("subtype") != "can_use_tool" or not id:
        return None
    used = asked.get("input")
    used = used if isinstance(used, Mapping) else {}
    if asked.get("tool_name") == "AskUserQuestion":
        return _question(id, used)
    suggestions = asked.get("permission_suggestions")
    suggestions = suggestions if isinstance(suggestions, list) else []
    return NeedsInput(
        id=id,
        kind="permission",
        question=f"May it use {asked.get('tool_name') or 'a tool'}?\n{_shown(used)}",
        options=(ALLOW, ALWAYS, DENY) if suggestions else (ALLOW, DENY),
        context={"input": dict(used), "suggestions": suggestions},
    )


def response(asked: NeedsInput, answer: str) -> dict[str, object]:
    """The answer as the program takes it. A tool is allowed with the input that was asked about, and no other."""
    used = asked.context.get("input")
    used = dict(used) if isinstance(used, Mapping) else {}
    if asked.kind == "question":
        return {"behavior": "allow", "updatedInput": {**used, "answers": _answers(used, answer)}}
    word = answer.strip().casefold().rstrip(".!")
    if word in _YES:
        return {"behavior": "allow", "updatedInput": used}
    if word in _ALWAYS:
        return {"behavior": "allow", "updatedInput": used, "updatedPermissions": _for_this_session(asked)}
    why = _NO.sub("", answer.strip()) or "a person said no"
    return {"behavior": "deny", "message": why}


def _for_this_session(asked: NeedsInput) -> list[dict[str, object]]:
    """What it suggests to allow from now on, kept by the process and not in a file of the workspace, which would be committed."""
    suggestions = asked.context.get("suggestions")
    found = suggestions if isinstance(suggestions, list) else []
    return [{**one, "destination": "session"} for one in found if isinstance(one, Mapping)]


def _question(id: str, used: Found) -> NeedsInput:  # noqa: A002
    questions = _questions(used)
    parts = [_with_options(one, numbered=len(questions) > 1) for one in questions]
    if len(questions) > 1:
        parts.append("Answer each of them on a line of its own.")
    return NeedsInput(
        id=id,
        kind="question",
        question="\n".join(parts) or "It asks, without saying what.",
        options=tuple(_labels(questions[0])) if len(questions) == 1 else (),
        context={"input": dict(used)},
    )


def _with_options(one: Found, *, numbered: bool) -> str:
    several = " (several may be chosen)" if one.get("multiSelect") is True else ""
    labels = f" [{', '.join(_labels(one))}]" if numbered and _labels(one) else ""
    return f"{one.get('question')}{several}{labels}"


def _answers(used: Found, answer: str) -> dict[str, str]:
    """The n-th line answers the n-th question; the only question has all of it, and those without a line have the last one."""
    questions = [str(one.get("question")) for one in _questions(used)]
    if len(questions) == 1:
        return {questions[0]: answer}
    lines = [line.strip() for line in answer.splitlines() if line.strip()][: len(questions)]
    last = lines[-1] if lines else answer
    return dict(zip_longest(questions, lines, fillvalue=last))


def _questions(used: Found) -> Sequence[Found]:
    found = used.get("questions")
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _labels(one: Found) -> Sequence[str]:
    options = one.get("options")
    return (
        [str(each.get("label")) for each in options if isinstance(each, Mapping)] if isinstance(options, list) else []
    )


def _shown(used: Found) -> str:
    """A command as it stands, else all that the tool is to be given."""
    command = used.get("command")
    text = command if isinstance(command, str) else json.dumps(used, indent=1, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}\n[{len(text) - _SHOWN} more characters]"
