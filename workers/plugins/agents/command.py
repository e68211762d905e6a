"""The agent `command`: any program. Its prompt is on stdin and in $AO_PROMPT_FILE; what it prints is the transcript; exit 0 ends the turn.

A line of JSON whose `type` is one of the common vocabulary is an event:
    {"type": "started", "id": "..."}            {"type": "activity", "tool": "...", "summary": "..."}
    {"type": "message", "text": "..."}          {"type": "needs_input", "id": "...", "kind": "question", "question": "...", "options": []}
    {"type": "usage", "input_tokens": 1, "output_tokens": 2, "cost_usd": 0.01}
    {"type": "confirmed", "message": "..."}     {"type": "turn_done", "ok": true, "why": "..."}
Whoever asks ends the turn: the answer comes with the next one.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.domain import vocabulary
from orchestrator.domain.lines import Found, number, parsed, text
from orchestrator.domain.prompts import unmarked
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

_ANEW = "You have worked on this before, in earlier turns; your workspace is as you left it. What was said in them:"
_NOW = "That was before. This turn is about:"


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
        prompt = _prompt(brief).encode()
        return Launch(argv=_argv(brief.config), env=environment, stdin=prompt, files={prompt_file: prompt})

    def read(self, line: bytes) -> Sequence[AgentEvent]:
        """The event in a line of JSON with a known `type`; every other line is transcript only."""
        found = parsed(line, cap=vocabulary.LINE_CAP)
        return _event(found) if found is not None else ()

    def recall(self, native_id: str) -> tuple[str, ...] | None:
        """Nobody knows where a command keeps its conversation."""
        del native_id
        return None

    def say(self, *, message: str, text: str) -> bytes | None:
        """It takes messages between turns only."""
        del message, text
        return None

    def answer(self, *, asked: NeedsInput, answer: str) -> bytes | None:
        """Answers are told with the next turn."""
        del asked, answer
        return None


def _prompt(brief: Brief) -> str:
    """Each turn is a program that starts anew, so it is told what its session was told before."""
    return f"{_ANEW}\n\n{unmarked(brief.earlier)}\n\n{_NOW}\n\n{brief.prompt}" if brief.earlier else brief.prompt


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


def _event(found: Found) -> Sequence[AgentEvent]:
    match found.get("type"):
        case "started":
            return (Started(native_id=text(found, "id") or None),)
        case "activity":
            return (Activity(tool=text(found, "tool"), summary=text(found, "summary")),)
        case "message":
            return (Said(text=text(found, "text")),)
        case "needs_input":
            return (_request(found),)
        case "usage":
            tokens = [int(number(found, name)) for name in ("input_tokens", "output_tokens")]
            return (Usage(input_tokens=tokens[0], output_tokens=tokens[1], cost_usd=number(found, "cost_usd")),)
        case "confirmed":
            return (Confirmed(message=text(found, "message")),)
        case "turn_done":
            return (TurnDone(ok=found.get("ok") is not False, why=text(found, "why")),)
        case _:
            return ()


def _request(found: Found) -> NeedsInput:
    question = vocabulary.question_of(found)
    return NeedsInput(
        id=text(found, "id") or "question",
        kind="permission" if question.permission else "question",
        question=question.question,
        options=question.options,
    )
