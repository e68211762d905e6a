"""A team's `WORKFLOW.md` as a value: its front matter read into settings, with a default for each, and the template of its prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from orchestrator.domain.issues import labels_of, state_of

USUAL_NAME = "WORKFLOW.md"
CODEX = "codex app-server"
_NUMBER = re.compile(r"-?[0-9]{1,15}")
_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?")
# What an issue's states are called where the file does not say: GitHub knows these two.
_STATES = {"github": (("open",), ("closed",)), "local": ((), ())}


class WorkflowFault(StrEnum):
    """What can be wrong with a workflow, in one stable word each."""

    MISSING = "missing_workflow_file"
    PARSE = "workflow_parse_error"
    NOT_A_MAP = "workflow_front_matter_not_a_map"
    CONFIG = "invalid_workflow_config"
    TRACKER_KIND = "unsupported_tracker_kind"
    TRACKER_CONFIG = "invalid_tracker_config"
    TRACKER_SECRET = "missing_tracker_secret"  # noqa: S105 a word, not a secret
    TEMPLATE = "template_parse_error"
    RENDER = "template_render_error"


class WorkflowRefused(Exception):
    """A workflow that is not taken; `fault` is the stable word and the message names the thing, the value and the way out."""

    def __init__(self, fault: WorkflowFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Scripts of the team around a session; empty: none."""

    after_create: str = ""
    before_run: str = ""
    after_run: str = ""
    before_remove: str = ""
    timeout: timedelta = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """The whole file. `codex` and `extensions` are kept as written, for whoever reads them."""

    prompt: str = ""
    tracker_kind: str = "local"
    provider: Mapping[str, Any] = field(default_factory=dict)
    required_labels: tuple[str, ...] = ()
    active_states: tuple[str, ...] = ()
    terminal_states: tuple[str, ...] = ()
    poll_every: timedelta = timedelta(seconds=30)
    workspace_root: str = ""
    hooks: Hooks = field(default_factory=Hooks)
    max_concurrent_agents: int = 10
    max_turns: int = 20
    longest_retry_wait: timedelta = timedelta(minutes=5)
    max_by_state: Mapping[str, int] = field(default_factory=dict)
    codex: Mapping[str, Any] = field(default_factory=lambda: {"command": CODEX})
    turn_timeout: timedelta = timedelta(hours=1)
    read_timeout: timedelta = timedelta(seconds=5)
    stall_timeout: timedelta | None = timedelta(minutes=5)  # None: a silent agent is left alone
    extensions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def polls(self) -> bool:
        """Whether tasks come from a tracker that has to be asked."""
        return self.tracker_kind != "local"


def workflow_of(front: Mapping[str, Any], prompt: str) -> Workflow:
    """The settings that a front matter means. Unknown keys are left aside. Raises `WorkflowRefused`."""
    tracker, agent, codex = (_section(front, name) for name in ("tracker", "agent", "codex"))
    kind = _kind(tracker)
    active, terminal = _STATES[kind]
    known = {"tracker", "polling", "workspace", "hooks", "agent", "codex"}
    return Workflow(
        prompt=prompt.strip(),
        tracker_kind=kind,
        provider={**_section(tracker, "provider", within="tracker"), **_provider(tracker)},
        required_labels=_required(tracker),
        active_states=_words(tracker, "tracker.active_states", active),
        terminal_states=_words(tracker, "tracker.terminal_states", terminal),
        poll_every=_milliseconds(_section(front, "polling"), "polling.interval_ms", 30_000, least=1000),
        workspace_root=_text(_section(front, "workspace"), "workspace.root"),
        hooks=_hooks(_section(front, "hooks")),
        max_concurrent_agents=_number(agent, "agent.max_concurrent_agents", 10, least=1),
        max_turns=_number(agent, "agent.max_turns", 20, least=1),
        longest_retry_wait=_milliseconds(agent, "agent.max_retry_backoff_ms", 300_000, least=1000),
        max_by_state=_by_state(agent.get("max_concurrent_agents_by_state")),
        codex={"command": CODEX, **codex},
        turn_timeout=_milliseconds(codex, "codex.turn_timeout_ms", 3_600_000, least=1),
        read_timeout=_milliseconds(codex, "codex.read_timeout_ms", 5000, least=1),
        stall_timeout=_stall(codex),
        extensions={name: value for name, value in front.items() if name not in known},
    )


def variables_in(value: str, environment: Mapping[str, str]) -> str:
    """A value that is nothing but `$NAME` stands for that name's value; a missing or empty one is nothing. Any other text is itself."""
    found = _VARIABLE.fullmatch(value.strip())
    return value if found is None else environment.get(found[1], "").strip()


def root_of(workflow: Workflow, *, folder: str, home: str, temporary: str, environment: Mapping[str, str]) -> str:
    """Where the file would keep workspaces: absolute, with `~` and `$NAME` read, relative to the folder of the file."""
    written = variables_in(workflow.workspace_root, environment)
    if not written:
        return f"{temporary.rstrip('/')}/symphony_workspaces"
    if written == "~" or written.startswith("~/"):
        written = home + written[1:]
    return written if written.startswith("/") else f"{folder.rstrip('/')}/{written.removeprefix('./')}"


def _kind(tracker: Mapping[str, Any]) -> str:
    kind = tracker.get("kind", "local")
    if not isinstance(kind, str) or kind.strip().lower() not in _STATES:
        there = " and ".join(sorted(_STATES))
        raise WorkflowRefused(
            WorkflowFault.TRACKER_KIND,
            f"tracker.kind: {kind!r} is not a tracker that can be read here: there is {there}. Issues of another tracker become tasks"
            " through the API or `ao spawn`",
        )
    return kind.strip().lower()


def _provider(tracker: Mapping[str, Any]) -> dict[str, Any]:
    """What stands beside the keys that we know is the tracker's own."""
    ours = {"kind", "provider", "required_labels", "active_states", "terminal_states"}
    return {name: value for name, value in tracker.items() if name not in ours}


def _section(front: Mapping[str, Any], name: str, *, within: str = "") -> Mapping[str, Any]:
    value = front.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong(f"{within}.{name}" if within else name, value, "write keys and values")
    return value


def _value(section: Mapping[str, Any], key: str) -> Any:
    return section.get(key.rpartition(".")[2])


def _text(section: Mapping[str, Any], key: str) -> str:
    value = _value(section, key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong(key, value, "write text")
    return value


def _number(section: Mapping[str, Any], key: str, usual: int, *, least: int | None) -> int:
    value = _value(section, key)
    if value is None:
        return usual
    read = int(value) if isinstance(value, str) and _NUMBER.fullmatch(value.strip()) else value
    if isinstance(read, bool) or not isinstance(read, int) or (least is not None and read < least) or read > 10**12:
        raise _wrong(key, value, f"write a whole number{'' if least is None else f' of at least {least}'}")
    return read


def _milliseconds(section: Mapping[str, Any], key: str, usual: int, *, least: int | None) -> timedelta:
    return timedelta(milliseconds=_number(section, key, usual, least=least))


def _stall(codex: Mapping[str, Any]) -> timedelta | None:
    span = _milliseconds(codex, "codex.stall_timeout_ms", 300_000, least=None)
    return span if span > timedelta() else None


def _words(section: Mapping[str, Any], key: str, usual: Sequence[str]) -> tuple[str, ...]:
    """A list of words, or a text with commas. They keep their spelling; they are compared without it."""
    value = _value(section, key)
    if value is None:
        return tuple(usual)
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or any(not isinstance(word, str) for word in words):
        raise _wrong(key, value, "write a list of words")
    return tuple(word.strip() for word in words if word.strip())


def _required(tracker: Mapping[str, Any]) -> tuple[str, ...]:
    """Every one must be there. A blank one matches no label, so that nothing is taken by mistake."""
    value = tracker.get("required_labels")
    if value is None:
        return ()
    if not isinstance(value, list) or any(not isinstance(word, str) for word in value):
        raise _wrong("tracker.required_labels", value, "write a list of labels")
    return (*labels_of(value), *("" for word in value if not word.strip()))


def _hooks(section: Mapping[str, Any]) -> Hooks:
    scripts = {
        name: _text(section, f"hooks.{name}") for name in ("after_create", "before_run", "after_run", "before_remove")
    }
    return Hooks(**scripts, timeout=_milliseconds(section, "hooks.timeout_ms", 60_000, least=1))


def _by_state(value: Any) -> dict[str, int]:
    """Limits by state, whose names are compared like states; what is no limit is left aside."""
    if not isinstance(value, Mapping):
        return {}
    return {
        state_of(str(state)): limit
        for state, limit in value.items()
        if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0
    }


def _wrong(key: str, value: object, accepted: str) -> WorkflowRefused:
    return WorkflowRefused(WorkflowFault.CONFIG, f"{key}: {str(value)[:80]!r} is not accepted: {accepted}")
