"""Text from outside made safe to show: Markdown as a small set of tags, terminal output as plain text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

_MARKDOWN = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
_TAGS = frozenset(
    {"p", "br", "hr", "em", "strong", "s", "del", "code", "pre", "blockquote", "ul", "ol", "li", "a", "h1", "h2", "h3", "h4",
     "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"}
)  # fmt: skip
# Escape sequences of terminals (CSI, OSC with its text, others), which could hide, move or link text.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\|$)"
    r"|\x1b[ -/]*[0-~]"
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
# Characters without a shape, and those that turn the reading direction: a line must read as what it is.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_FENCE = re.compile(r"^ {0,3}```[^\n`]*$", re.MULTILINE)
_INLINE = re.compile(r"(`[^`\n]+`|\*\*[^*\n]+\*\*)")
_MARKDOWN_LIMIT = 60_000


def markdown(source: str) -> SafeString:
    """Markdown as HTML of a few harmless tags; images and raw HTML stay text, links are followed without telling where from."""
    html = _MARKDOWN.render(source[:_MARKDOWN_LIMIT])
    clean = nh3.clean(
        html,
        tags=set(_TAGS),
        attributes={"a": {"href", "title"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return mark_safe(clean)  # noqa: S308  # nh3 has just cleaned it


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of somebody's words: prose in pieces, or code as it stands."""

    text: str
    code: bool

    @property
    def pieces(self) -> Sequence[tuple[str, str]]:
        """Prose as (what it is, text): what stands between backticks is code, between two asterisks strong."""
        return [_piece(part) for part in _INLINE.split(self.text) if part]


def blocks(words: str) -> Sequence[Block]:
    """Words cut at the fences of code in them; what is in each part stays text."""
    parts = _FENCE.split(words)
    return [Block(text=part.strip("\n"), code=n % 2 == 1) for n, part in enumerate(parts) if part.strip()]


def _piece(part: str) -> tuple[str, str]:
    if not _INLINE.fullmatch(part):
        return "prose", part
    return ("code", part[1:-1]) if part.startswith("`") else ("strong", part[2:-2])


def plain(output: str) -> str:
    """What a terminal would have shown, as text: no escape sequences, no control or direction characters, one line end."""
    text = _ESCAPES.sub("", output.replace("\r\n", "\n"))
    # A program that redraws a line (a progress bar) meant the last of its drawings.
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _UNSEEN.sub("", "\n".join(lines))
