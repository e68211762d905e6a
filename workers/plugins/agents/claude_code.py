"""The agent `claude-code`: Claude Code as a program that is spoken to while it works, in lines of JSON on stdin and stdout.

Its stdin stays open: permissions and questions come as control requests and are answered there, and a person's words go into the live
conversation. After its `result` the program waits for more, until its input is closed. A conversation is resumed by its own id; a new one
gets an id that follows from the turn, so that the same turn started twice is refused by the program itself.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.ports import NO_CONVERSATION, AgentEvent, Brief, Launch, NeedsInput
from workers.plugins.agents import claude_answers, claude_events
from workers.plugins.agents.claude_config import Settings, settings_of

_CONVERSATIONS = uuid.UUID("5b1f1f0e-6c0b-4d53-9d0e-3f1d2b8a7c46")
_TALKING = (
    "-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose",
    "--permission-prompt-tool", "stdio", "--replay-user-messages",
)  # fmt: skip
# It neither calls home nor replaces itself in the middle of a turn.
_QUIET = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
# Its transcript also lists what waits in its queue, which a resumed conversation knows nothing of: only what was said counts.
_RECALL = f"""
set -- "${{CLAUDE_CONFIG_DIR:-$HOME/.claude}}"/projects/*/"$1".jsonl
[ -f "$1" ] || exit {NO_CONVERSATION}
grep -hE '"type":"(user|attachment)"' "$1" | grep -oE '\\[message [0-9a-f-]{{36}}\\]' | sort -u
"""
_LOST = "You were at work on this before, in a conversation that is lost. What you were told in it:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaudeCodeAgent:
    """Drives the program `claude`, or `agentConfig.program`."""

    name: str = "claude-code"
    program: str | None = "claude"
    install_hint: str = "Install it where the agent runs: npm install -g @anthropic-ai/claude-code"
    tells_its_end: bool = True

    def check(self, config: Mapping[str, object]) -> None:
        """Raise `Refused(code="bad-agent-config")` for a key that is not known or a value that cannot be taken."""
        settings_of(config)

    def plan(self, brief: Brief) -> Launch:
        """One process for one turn: it resumes the conversation that the session has, or begins one."""
        settings = settings_of(brief.config)
        environment = {
            **brief.env,
            **_QUIET,
            "AO_TASK": str(brief.task),
            "AO_SESSION": str(brief.session),
            "AO_TURN": str(brief.turn),
        }
        return Launch(
            argv=(settings.program, *_TALKING, *_conversation(brief), *_options(settings)),
            env=environment,
            stdin=_line({"type": "control_request", "request_id": "initialize", "request": {"subtype": "initialize"}})
            + _words(_prompt(brief), id=str(_id_of(brief))),
            files={},
            keep_stdin_open=True,
        )

    def read(self, line: bytes) -> Sequence[AgentEvent]:
        """The events in one line of its output; what is not an event that we know is transcript only."""
        return claude_events.read(line)

    def recall(self, native_id: str) -> tuple[str, ...] | None:
        """Its transcript is a file of its own. What it echoed stands there a moment later, and never if it is killed before."""
        return "/bin/sh", "-c", _RECALL, "recall", native_id

    def say(self, *, message: str, text: str) -> bytes | None:
        """A message into the live conversation; the program echoes its id when it reads it."""
        return _words(f"[message {message}]\n{text}", id=message)

    def answer(self, *, asked: NeedsInput, answer: str) -> bytes | None:
        """The response to its control request, by which it goes on."""
        response = claude_answers.response(asked, answer)
        return _line(
            {
                "type": "control_response",
                "response": {"subtype": "success", "request_id": asked.id, "response": response},
            }
        )


def _id_of(brief: Brief) -> uuid.UUID:
    """Follows from the turn alone."""
    return uuid.uuid5(_CONVERSATIONS, f"{brief.task}/{brief.session}/{brief.turn}")


def _conversation(brief: Brief) -> tuple[str, ...]:
    """An id of a new conversation must be new: each turn that has none to resume gets one of its own."""
    return (f"--resume={brief.native_id}",) if brief.native_id else (f"--session-id={_id_of(brief)}",)


def _prompt(brief: Brief) -> str:
    """A turn without a conversation to resume is told what its session was told before."""
    if brief.native_id or not brief.earlier:
        return brief.prompt
    return f"{_LOST}\n\n{brief.earlier}\n\n{brief.prompt}"


def _options(settings: Settings) -> tuple[str, ...]:
    words = [f"--permission-mode={settings.permissions}", *(f"--{name}={value}" for name, value in settings.args)]
    if settings.model:
        words.append(f"--model={settings.model}")
    if settings.system_prompt:
        words.append(f"--append-system-prompt={settings.system_prompt}")
    for flag, tools in (("--allowedTools", settings.allowed), ("--disallowedTools", settings.disallowed)):
        if tools:
            words += [flag, *tools]
    return tuple(words)


def _words(text: str, *, id: str) -> bytes:  # noqa: A002  # the protocol's word
    return _line({"type": "user", "uuid": id, "message": {"role": "user", "content": text}})


def _line(content: Mapping[str, object]) -> bytes:
    return json.dumps(content).encode() + b"\n"
