"""The common vocabulary: lines of JSON by which any program can tell what it does (`workers.plugins.agents.command` lists them)."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.domain.entries import Asked, Call, Done, Entry, Note, Words
from orchestrator.domain.lines import Found, listed, number, text
from orchestrator.domain.showing import asked_as_shown, figures, shown, shown_line

LINE_CAP = 256 * 1024  # a longer line is not an event


def question_of(found: Found) -> Asked:
    """What a `needs_input` asks."""
    return Asked(
        permission=found.get("kind") == "permission",
        question=text(found, "question") or "The agent asks, without saying what.",
        options=tuple(str(option) for option in listed(found, "options")),
    )


def entries_of(found: Found) -> Sequence[Entry] | None:
    """What people see of such a line; None for what is no line of the vocabulary."""
    match found.get("type"):
        case "activity":
            return (Call(tool=shown_line(text(found, "tool")) or "works", summary=shown_line(text(found, "summary"))),)
        case "message":
            return (Words(text=shown(text(found, "text"))),)
        case "needs_input":
            return (asked_as_shown(question_of(found)),)
        case "usage":
            told = figures(
                input_tokens=number(found, "input_tokens"),
                output_tokens=number(found, "output_tokens"),
                cost_usd=number(found, "cost_usd"),
            )
            return (Note(text=f"used {', '.join(told)}"),) if told else ()
        case "turn_done":
            return (Done(ok=found.get("ok") is not False, why=shown(text(found, "why"))),)
        case "started" | "confirmed":
            return ()
        case _:
            return None
