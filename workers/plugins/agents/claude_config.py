"""What a project may set for Claude Code under `agentConfig`, and what it means on the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.ports import Refused

# The words of the program, and two by which people know them from elsewhere.
PERMISSIONS = {
    "acceptEdits": "acceptEdits",
    "default": "default",
    "plan": "plan",
    "dontAsk": "dontAsk",
    "bypassPermissions": "bypassPermissions",
    "auto-edit": "acceptEdits",
    "permissionless": "bypassPermissions",
}
# An agent that works by itself: in its own workspace, it reads, edits, and runs what it needs without asking.
ALLOWED = ("Bash", "Read", "Edit", "Write", "Glob", "Grep", "NotebookEdit", "TodoWrite", "WebFetch", "WebSearch")
# Options that change how it works, and neither what it may do nor how it is spoken to.
ARGS = ("effort", "fallback-model", "max-budget-usd", "betas")

_LINE = re.compile(r"[^\s\x00-\x1f\x7f-\x9f-][^\x00-\x1f\x7f-\x9f]{0,499}")
_TOOLS = "a list of names such as [Bash, Read, 'Bash(npm test:*)']"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one run, in the program's own words."""

    program: str = "claude"
    model: str = ""
    permissions: str = "acceptEdits"
    allowed: tuple[str, ...] = ALLOWED
    disallowed: tuple[str, ...] = ()
    system_prompt: str = ""
    args: tuple[tuple[str, str], ...] = ()


def settings_of(config: Mapping[str, object]) -> Settings:
    """Read `agentConfig`. Raises `Refused(code="bad-agent-config")` naming the key, the value and what would be taken."""
    found: dict[str, object] = {}
    for key, value in config.items():
        match key:
            case "program" | "model":
                found[key] = _one_line(key, value, "one line that does not begin with a dash")
            case "permissions":
                found[key] = _permissions(value)
            case "allowedTools":
                found["allowed"] = _tools(key, value)
            case "disallowedTools":
                found["disallowed"] = _tools(key, value)
            case "systemPrompt":
                found["system_prompt"] = _text(key, value)
            case "args":
                found[key] = _args(value)
            case _:
                known = "program, model, permissions, allowedTools, disallowedTools, systemPrompt and args"
                raise _refused(key, value, f"this key is not known to claude-code, which takes {known}")
    return Settings(**found)  # type: ignore[arg-type]  # each reader above answers what its field holds


def _one_line(key: str, value: object, accepted: str) -> str:
    if not isinstance(value, str) or not _LINE.fullmatch(value):
        raise _refused(key, value, f"write {accepted}")
    return value


def _permissions(value: object) -> str:
    if not isinstance(value, str) or value not in PERMISSIONS:
        raise _refused("permissions", value, f"write one of {', '.join(PERMISSIONS)}")
    return PERMISSIONS[value]


def _tools(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _refused(key, value, f"write {_TOOLS}")
    return tuple(_one_line(key, name, _TOOLS) for name in value)


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or "\x00" in value or len(value) > 50_000:
        raise _refused(key, value, "write text of at most 50000 characters")
    return value


def _args(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise _refused("args", value, f"write options and their values; these may be set: {', '.join(ARGS)}")
    found = []
    for name, given in value.items():
        if name not in ARGS:
            raise _refused(f"args.{name}", given, f"this option may not be set; these may: {', '.join(ARGS)}")
        written = str(given) if isinstance(given, int | float) and not isinstance(given, bool) else given
        found.append((name, _one_line(f"args.{name}", written, "one line or a number")))
    return tuple(found)


def _refused(key: str, value: object, accepted: str) -> Refused:
    return Refused(f"agentConfig.{key} is {value!r:.200}: {accepted}", code="bad-agent-config")
