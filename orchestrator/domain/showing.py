"""Text of programs as people may see it: what a terminal would have shown, in lines, and no more of it than can be read."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.entries import Asked, Output
from orchestrator.domain.prompts import plain

HEAD_LINES = 6  # of an output, before it is unfolded
MOST_LINES = 400  # of an output, unfolded
MOST_OPTIONS = 20
MOST_WIDE = 2_000  # characters of a line
MOST_TEXT = 20_000  # characters of one text


def shown(text: str, *, most: int = MOST_TEXT) -> str:
    """A text without what steers a terminal or hides what it says; lines that a program redrew are the last of their drawings."""
    return _cut(plain(_drawn(text)), most)


def shown_line(text: str) -> str:
    """The same in one line."""
    return _cut(" ".join(shown(text).split()), MOST_WIDE)


def output(text: str, *, of: str, failed: bool, inner: bool) -> Output:
    """What a tool answered: its first lines, the rest to be unfolded, and how much is left out."""
    lines = shown_lines(text)
    # One line more is not worth a fold.
    head = len(lines) if len(lines) <= HEAD_LINES + 1 else HEAD_LINES
    rest = lines[head:MOST_LINES]
    return Output(
        of=of,
        head="\n".join(lines[:head]),
        rest="\n".join(rest),
        rest_lines=len(rest),
        hidden=max(0, len(lines) - MOST_LINES),
        failed=failed,
        inner=inner,
    )


def shown_lines(text: str) -> list[str]:
    """The lines of a text, none of them wider than can be read, without those that are empty at its ends."""
    return [_cut(line, MOST_WIDE) for line in plain(_drawn(text)).strip("\n").rstrip().split("\n")]


def asked_as_shown(asked: Asked) -> Asked:
    """A question as people may see it."""
    options = tuple(shown_line(option) for option in asked.options[:MOST_OPTIONS])
    return replace(asked, question=shown(asked.question), options=options)


def figures(*, input_tokens: float, output_tokens: float, cost_usd: float) -> list[str]:
    """Tokens and cost, as far as there are any."""
    told = []
    if input_tokens or output_tokens:
        told.append(f"{int(input_tokens):,} tokens in, {int(output_tokens):,} out")
    if cost_usd:
        told.append(f"{cost_usd:.2f} USD" if cost_usd >= 0.01 else "less than 0.01 USD")
    return told


def _drawn(text: str) -> str:
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} [{len(text) - most} more characters]"
