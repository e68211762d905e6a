"""What the model says: rules found by the last words that a person (or the orchestrator) said, steps counted by the model's turns since.

Nothing is remembered between requests but how often a fault was served, so any number of agents may talk to one model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """Words; they end the model's turn."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A call of one of the agent's tools."""

    tool: str
    input: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error instead of an answer, `times` times; then the next step is served. `times=None`: for ever."""

    status: int
    kind: str
    times: int | None = None
    retry_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hang:
    """An answer that begins and never goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """An answer whose connection is cut after its first words, however it is asked for."""

    text: str


Step = Say | Use | Fault | Hang | Drop


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The steps for a conversation whose last words match a regular expression."""

    match: str
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Where a conversation stands: the last words said to the model, and how often it has spoken since."""

    words: str
    turns: int


@dataclass(slots=True, kw_only=True)
class Script:
    """All rules, and the faults that were served."""

    rules: Sequence[Rule]
    served: Counter[tuple[str, int]] = field(default_factory=Counter)

    def step(self, at: Conversation) -> Step:
        """The next step of the first rule that matches; beyond its last one, and without a rule, the model has nothing to add."""
        rule = next((rule for rule in self.rules if re.search(rule.match, at.words, re.DOTALL)), None)
        turns = 0
        for place, step in enumerate(rule.steps if rule is not None else ()):
            if isinstance(step, Fault):
                if turns == at.turns and self._serves(step, (at.words, place)):
                    return step
            elif turns == at.turns:
                return step
            else:
                turns += 1
        return Say(text="Nothing to add.")

    def _serves(self, fault: Fault, key: tuple[str, int]) -> bool:
        self.served[key] += 1
        return fault.times is None or self.served[key] <= fault.times


def sh(command: str) -> Use:
    """A command in the agent's shell."""
    return Use(tool="Bash", input={"command": command, "description": "a scripted step"})


def read(path: str) -> Use:
    """A file read with the agent's own tool, which wants that before an edit."""
    return Use(tool="Read", input={"file_path": path})


def edit(path: str, old: str, new: str) -> Use:
    """An edit with the agent's own tool."""
    return Use(tool="Edit", input={"file_path": path, "old_string": old, "new_string": new})


def ask(question: str, *options: str) -> Use:
    """A question to the person in front of the agent."""
    asked = {
        "question": question,
        "header": "Question",
        "multiSelect": False,
        "options": [{"label": option, "description": option} for option in options],
    }
    return Use(tool="AskUserQuestion", input={"questions": [asked]})


def conversation(messages: Iterable[Mapping[str, Any]]) -> Conversation:
    """Read a request's messages. Results of tools are not words, nor is what the agent's program adds by itself."""
    words, turns = "", 0
    for message in messages:
        if message.get("role") == "assistant":
            turns += 1
        elif message.get("role") == "user" and (said := _said(message.get("content"))):
            words, turns = said, 0
    return Conversation(words=words, turns=turns)


def _said(content: object) -> str:
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
    if any(block.get("type") == "tool_result" for block in blocks):
        return ""
    texts = [str(block["text"]) for block in blocks if block.get("type") == "text"]
    return "\n".join(text for text in texts if not text.lstrip().startswith("<system-reminder>")).strip()
