"""What Claude Code asks of people, and people's words as what it takes for an answer.

A permission is given by `allow` or, for what it suggests itself, `always allow`; whatever else is said refuses it, and is told to it. A
question is answered with one of its options or in other words, several questions line by line.
"""

from __future__ import annotations

import re
from itertools import zip_longest

from orchestrator.domain import claude
from orchestrator.domain.lines import Found, inner, listed, objects
from orchestrator.ports import NeedsInput

_YES = frozenset({"allow", "yes", "y", "ok", "approve", "approved"})
_ALWAYS = frozenset({"always allow", "always", "allow always"})
_NO = re.compile(r"^(?:deny|denied|no|n)\b[\s,.:;-]*", re.IGNORECASE)


def request(id: str, asked: Found) -> NeedsInput | None:  # noqa: A002  # the protocol's word
    """A control request as a question to people; None when it asks nothing of them."""
    question = claude.question_of(asked)
    if question is None or not id:
        return None
    context: dict[str, object] = {"input": dict(inner(asked, "input"))}
    if question.permission:
        context["suggestions"] = list(listed(asked, "permission_suggestions"))
    return NeedsInput(
        id=id,
        kind="permission" if question.permission else "question",
        question=question.question,
        options=question.options,
        context=context,
    )


def response(asked: NeedsInput, answer: str) -> dict[str, object]:
    """The answer as the program takes it. A tool is allowed with the input that was asked about, and no other."""
    used = dict(inner(asked.context, "input"))
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
    return [{**one, "destination": "session"} for one in objects(asked.context, "suggestions")]


def _answers(used: Found, answer: str) -> dict[str, str]:
    """The n-th line answers the n-th question; the only question has all of it, and those without a line have the last one."""
    questions = [str(one.get("question")) for one in claude.questions_of(used)]
    if len(questions) == 1:
        return {questions[0]: answer}
    lines = [line.strip() for line in answer.splitlines() if line.strip()][: len(questions)]
    last = lines[-1] if lines else answer
    return dict(zip_longest(questions, lines, fillvalue=last))
