"""An agent that is spoken to while it works: the vocabulary of `command`, with its input open and a line for each thing that it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.ports import AgentEvent, Brief, Launch, NeedsInput
from workers.plugins.agents.command import CommandAgent

# What its scripts are made of.
DONE = """echo '{"type": "turn_done", "ok": true, "why": "all done"}'"""
AT_WORK = """echo '{"type": "activity", "tool": "edit", "summary": "a file"}'"""
HEAR = "read -r verb id words"
CONFIRM = """echo "{\\"type\\": \\"confirmed\\", \\"message\\": \\"$id\\"}" """
REPEAT = 'echo "heard: $verb $words"'
UNTIL_GO = "until [ -e $HOME/go ]; do sleep 0.02; done"
UNTIL_THE_END = "cat > /dev/null"


def asks(name: str) -> str:
    return f"""echo '{{"type": "needs_input", "id": "{name}", "question": "Which {name}?"}}'"""


COMMAND = CommandAgent()


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkingAgent:
    """Its program is a shell script. The prompt is its first lines of input, up to a line that says `begin`."""

    name: str = "command"
    program: str | None = None
    install_hint: str = "it is a script of the test"
    tells_its_end: bool = True

    def check(self, config: Mapping[str, object]) -> None:
        COMMAND.check(config)

    def plan(self, brief: Brief) -> Launch:
        launch = COMMAND.plan(brief)
        return replace(launch, stdin=launch.stdin + b"\nbegin\n", keep_stdin_open=True)

    def read(self, line: bytes) -> Sequence[AgentEvent]:
        return COMMAND.read(line)

    def recall(self, native_id: str) -> tuple[str, ...] | None:
        return COMMAND.recall(native_id)

    def say(self, *, message: str, text: str) -> bytes | None:
        return f"say {message} {text}\n".encode()

    def answer(self, *, asked: NeedsInput, answer: str) -> bytes | None:
        return f"answer {asked.id} {answer}\n".encode()


def script(*steps: str) -> str:
    """Repeat the prompt, then take these steps."""
    return "\n".join(['while read -r line && [ "$line" != begin ]; do echo "$line"; done', *steps])
