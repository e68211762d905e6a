"""The agent `command`: any program. Its prompt is on stdin and in $AO_PROMPT_FILE; what it prints is the transcript; exit 0 ends the turn.

A line of JSON whose `type` is one of the common vocabulary is an event:
    {"type": "started", "id": "..."}            {"type": "activity", "tool": "...", "summary": "..."}
    {"type": "message", "text": "..."}          {"type": "needs_input", "id": "...", "kind": "question", "question": "...", "options": []}
    {"type": "usage", "input_tokens": 1, "output_tokens": 2, "cost_usd": 0.01}
    {"type": "confirmed", "message": "..."}     {"type": "turn_done", "ok": true, "why": "..."}
Whoever asks ends the turn: the answer comes with the next one.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.ports import (
    Activity,
    AgentEvent,
    Brief,
    Confirmed,
    Launch,
    NeedsInput,
    Refused,
    Said,
    Started,
    TurnDone,
    Usage,
)

_LINE_CAP = 256 * 1024  # a longer line is not an event


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandAgent:
    """Runs `agentConfig.command`, a string split as a shell splits words, or a list; no shell runs."""

    name: str = "command"
    program: str | None = None
    install_hint: str = "set agentConfig.command of the project to the program that is to run"
    tells_its_end: bool = False

    def check(self, config: Mapping[str, object]) -> None:
        """Raise `Refused(code="bad-agent-config")` unless there is a command that can be split."""
        _argv(config)

    def plan(self, brief: Brief) -> Launch:
        """One run of the program; the prompt reaches it on stdin and as a file."""
        prompt_file = f".ao/turn-{brief.turn}.txt"
        environment = {
            **brief.env,
            "AO_TASK": str(brief.task),
            "AO_SESSION": str(brief.session),
            "AO_TURN": str(brief.turn),
            "AO_PROMPT_FILE": f"{{home}}/{prompt_file}",
        }
        prompt = brief.prompt.encode()
        return Launch(argv=_argv(brief.config), env=environment, stdin=prompt, files={prompt_file: prompt})

    def read(self, line: bytes) -> Sequence[AgentEvent]:
        """The event in a line of JSON with a known `type`; every other line is transcript only."""
        if not line.startswith(b"{") or len(line) > _LINE_CAP:
            return ()
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return ()
        return _event(found) if isinstance(found, dict) else ()

    def say(self, *, message: str, text: str) -> bytes | None:
        """It takes messages between turns only."""
        del message, text
        return None

    def answer(self, *, asked: NeedsInput, answer: str) -> bytes | None:
        """Answers are told with the next turn."""
        del asked, answer
        return None


def _argv(config: Mapping[str, object]) -> tuple[str, ...]:
    command = config.get("command")
    if isinstance(command, str):
        try:
            words = tuple(shlex.split(command))
        except ValueError as error:
            raise Refused(
                f"agentConfig.command cannot be split into words: {error}", code="bad-agent-config"
            ) from error
    elif isinstance(command, list) and all(isinstance(word, str) for word in command):
        words = tuple(command)
    else:
        words = ()
    if not words or any("\x00" in word for word in words):
        raise Refused(
            "the agent `command` needs agentConfig.command: a string such as 'my-agent --fast', or a list of words",
            code="bad-agent-config",
        )
    return words


def _event(found: Mapping[str, object]) -> Sequence[AgentEvent]:
    match found.get("type"):
        case "started":
            return (Started(native_id=_text(found, "id") or None),)
        case "activity":
            return (Activity(tool=_text(found, "tool"), summary=_text(found, "summary")),)
        case "message":
            return (Said(text=_text(found, "text")),)
        case "needs_input":
            return (_request(found),)
        case "usage":
            tokens = [int(_number(found, name)) for name in ("input_tokens", "output_tokens")]
            return (Usage(input_tokens=tokens[0], output_tokens=tokens[1], cost_usd=_number(found, "cost_usd")),)
        case "confirmed":
            return (Confirmed(message=_text(found, "message")),)
        case "turn_done":
            return (TurnDone(ok=found.get("ok") is not False, why=_text(found, "why")),)
        case _:
            return ()


def _request(found: Mapping[str, object]) -> NeedsInput:
    options = found.get("options")
    return NeedsInput(
        id=_text(found, "id") or "question",
        kind="permission" if found.get("kind") == "permission" else "question",
        question=_text(found, "question") or "The agent asks, without saying what.",
        options=tuple(str(option) for option in options) if isinstance(options, list) else (),
    )


def _text(found: Mapping[str, object], name: str) -> str:
    value = found.get(name)
    return value[:20_000] if isinstance(value, str) else ""


def _number(found: Mapping[str, object], name: str) -> float:
    """A figure that can be added up: not negative, not absurd, not NaN."""
    value = found.get(name)
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e12 else 0.0
