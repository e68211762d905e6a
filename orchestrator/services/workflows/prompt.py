"""The body of a `WORKFLOW.md`: a strict Liquid template over `issue` and `attempt`. What it does not know is an error, never empty text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from liquid import BoundTemplate, DictLoader, Environment, Mode, StrictUndefined
from liquid.exceptions import LiquidError

from orchestrator.domain.issues import IssueFacts
from orchestrator.domain.prompts import fenced, one_line
from orchestrator.domain.workflow import WorkflowFault, WorkflowRefused

LONGEST_PROMPT = 200_000


class _Strict(Environment):
    """No template can loop, grow or nest without end: a repository's file is not written by people of the installation alone."""

    loop_iteration_limit = 10_000
    output_stream_limit = LONGEST_PROMPT
    local_namespace_limit = LONGEST_PROMPT
    context_depth_limit = 30


_LIQUID = _Strict(undefined=StrictUndefined, strict_filters=True, tolerance=Mode.STRICT, loader=DictLoader({}))
_INPUTS = frozenset({"issue", "attempt"})


def check(template: str) -> None:
    """Whether the template can be rendered at all, told when it is loaded. Raises `WorkflowRefused`: `template_parse_error`."""
    found = _parsed(template)
    for problem in _unknown(found, template):
        raise WorkflowRefused(WorkflowFault.TEMPLATE, problem)


def render(template: str, *, issue: Mapping[str, Any], attempt: int | None) -> str:
    """The prompt. `attempt` is None for the first session of a task. Raises `WorkflowRefused`: `template_render_error`."""
    try:
        return _parsed(template).render(issue=issue, attempt=attempt).strip()
    except LiquidError as error:
        raise WorkflowRefused(WorkflowFault.RENDER, _told(error)) from error


def variables(issue: IssueFacts, *, nonce: str) -> dict[str, Any]:
    """The issue as templates see it. What people outside wrote is data: names are one line, and the description stands in a fence."""
    return {
        "id": issue.id,
        "native_ref": dict(issue.native_ref),
        "identifier": one_line(issue.identifier),
        "title": one_line(issue.title),
        "description": fenced(issue.description, label="issue", nonce=nonce) if issue.description.strip() else None,
        "priority": issue.priority,
        "state": one_line(issue.state),
        "branch_name": issue.branch_name or None,
        "url": issue.url or None,
        "assignee_id": issue.assignee_id or None,
        "labels": [one_line(label) for label in issue.labels],
        "blocked_by": [
            {"id": one.id, "identifier": one_line(one.identifier), "state": one_line(one.state)}
            for one in issue.blocked_by
        ],
        "dispatchable": issue.dispatchable,
        "created_at": _instant(issue.created_at),
        "updated_at": _instant(issue.updated_at),
    }


def _instant(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None


def _parsed(template: str) -> BoundTemplate:
    try:
        return _LIQUID.from_string(template)
    except LiquidError as error:
        raise WorkflowRefused(WorkflowFault.TEMPLATE, _told(error)) from error


def _unknown(template: BoundTemplate, text: str) -> Iterator[str]:
    try:
        used = template.analyze()
    except LiquidError as error:
        raise WorkflowRefused(WorkflowFault.TEMPLATE, _told(error)) from error
    for name, places in used.globals.items():
        for one in places:
            line = text.count("\n", 0, one.span.index) + 1
            if name not in _INPUTS:
                yield f"line {line} of the prompt: {name} is not known: there is issue and attempt"
            elif name == "issue" and len(one.segments) > 1 and _field(one.segments[1]) not in {None, *_FIELDS}:
                there = ", ".join(sorted(_FIELDS))
                yield f"line {line} of the prompt: issue.{one.segments[1]} is not known: there is {there}"
    for name, spans in used.filters.items():
        if name not in _LIQUID.filters:
            line = text.count("\n", 0, spans[0].index) + 1
            yield f"line {line} of the prompt: the filter {name} is not known"


def _field(segment: object) -> str | None:
    """A field by its name; None for one that is only known when it is rendered."""
    return segment if isinstance(segment, str) else None


def _told(error: LiquidError) -> str:
    """Liquid's sentence and the line, without its drawing."""
    context = error.context()
    where = f"line {context[0]} of the prompt: " if context else ""
    return f"{where}{one_line(str(error.message))}"


_FIELDS = frozenset(variables(IssueFacts(id="", identifier="", title="", state=""), nonce="0"))
