"""What is shown on a terminal. Words from agents, logs and people reach it without the characters that steer it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_STEERING = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]"
)
WIDEST = 60


def plain(text: object) -> str:
    """Without escape sequences, control and direction characters; lines and tabs stay."""
    return _STEERING.sub("", str(text))


def cell(value: object) -> str:
    """One line of a table."""
    text = " ".join(plain("" if value is None else value).split())
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def table(rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as they need be."""
    cells = [[cell(value) for value in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))] if cells else []
    for row in cells:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def as_json(body: object) -> None:
    """One document, for programs."""
    print(json.dumps(body, indent=2))


def task(body: Mapping[str, Any]) -> None:
    """One task, for people."""
    pull, session = body["pull_request"], body["session"]
    told = [
        ("task", f"{body['key']} ({body['id']}): {body['title']}"),
        ("status", f"{body['status']}: {body['reason']}" if body["reason"] else body["status"]),
        ("paused", body["pause_reason"] if body["paused"] else None),
        ("progress", f"{body['progress']['what']} at {body['progress']['at']}" if body["progress"] else None),
        ("agent", f"{body['agent']} on {body['host'] or 'no host yet'}"),
        ("branch", body["branch"]),
        ("turn", f"{session['turn']} ({session['state']}), epoch {session['epoch']}" if session else None),
        (
            "pull request",
            f"#{pull['number']} {pull['state']}, {pull['review']}, head {pull['head_sha'][:10]} {pull['url']}"
            if pull
            else None,
        ),
        (
            "checks",
            ", ".join(f"{c['name']}: {c['conclusion'] or c['status']}" for c in pull["checks"]) if pull else None,
        ),
        ("asks", f"{body['request']['question']} (ao answer {body['id']} TEXT)" if body["request"] else None),
        *(
            ("needs you", f"{e['question']} (ao acknowledge {e['id']})")
            for e in body["interruptions"]
            if e["state"] == "open"
        ),
        ("cost", f"${body['usage']['cost_usd']:.2f}" if body["usage"]["cost_usd"] else None),
    ]
    for name, value in told:
        if value:
            print(f"{name:13} {' '.join(plain(value).split())}")
