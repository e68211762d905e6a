"""The keys of `agent-orchestrator.yaml`, as REACTIONS.md and the readers name them. A key is absent when the file does not say it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainValidator
from pydantic.alias_generators import to_camel

from orchestrator.domain.escalating import Rung
from orchestrator.domain.rules import Priority, Reply
from orchestrator.models.project import MERGE_METHODS
from orchestrator.ports import Sandbox
from orchestrator.services import calling
from orchestrator.services.configuration import values as read
from orchestrator.services.tasks import AGENTS

AgentName = Annotated[str, PlainValidator(read.one_of(AGENTS))]
Flag = Annotated[bool, PlainValidator(read.flag)]
Lines = Annotated[list[str], PlainValidator(read.lines_of())]
Text = Annotated[str, PlainValidator(read.text)]
Anything = Annotated[Any, PlainValidator(read.anything)]
Mapping = Annotated[dict[str, Any], PlainValidator(read.mapping)]
Duration = Annotated[timedelta, PlainValidator(read.duration)]
MergeMethod = Annotated[str, PlainValidator(read.one_of(MERGE_METHODS))]
PriorityName = Annotated[str, PlainValidator(read.one_of([str(word) for word in Priority]))]


class Shape(BaseModel):
    """Unknown keys are kept aside, for the warning that names them."""

    model_config = ConfigDict(
        extra="allow", alias_generator=to_camel, arbitrary_types_allowed=True, use_attribute_docstrings=True
    )


class RuleShape(Shape):
    auto: Flag | None = None
    """false: a person presses the button that the card shows."""
    action: Annotated[tuple[Reply, ...], PlainValidator(read.replies)] | None = None
    """What is done: one word or a list."""
    message: Text | None = None
    """Words that come before the facts."""
    priority: PriorityName | None = None
    """Where a notification of this goes: see notificationRouting."""
    retries: Annotated[int, PlainValidator(read.whole(least=0, most=1000))] | None = None
    """How often it is tried for one cause before a person is called."""
    escalate_after: Annotated[Any, PlainValidator(read.escalate_after)] | None = None
    """A number of attempts, or a duration since it first held, after which a person is called."""
    threshold: Duration | None = None
    """How long an agent may show no progress (agent-stuck)."""
    include_summary: Flag | None = None
    """Adds a digest (all-complete)."""


class AgentConfig(Shape):
    permissions: Anything = None
    """What the agent may do without asking, in its own words."""
    model: Annotated[str, PlainValidator(read.line(cap=200))] | None = None
    """The model, as the agent names it."""
    command: Annotated[Any, PlainValidator(read.command)] | None = None
    """The program of the agent `command`, run without a shell."""


class WorkerShape(Shape):
    agent: AgentName | None = None
    """The agent of the sessions."""
    agent_config: AgentConfig | None = None
    """Laid over the project's agentConfig."""


class ScmShape(Shape):
    plugin: Annotated[str, PlainValidator(read.one_of(("local", "github")))] | None = None
    """The forge: the built-in one, or GitHub."""
    checks: Annotated[dict[str, str], PlainValidator(read.commands)] | None = None
    """Checks that the built-in forge runs: name: command."""
    required_checks: Lines | None = None
    """What has to be green before a merge; [] asks for nothing. Absent: what the forge requires, else all that are reported."""
    required_approvals: Annotated[int, PlainValidator(read.whole(least=0, most=50))] | None = None
    """How many people have to approve; 1 when absent."""
    self_approval: Flag | None = None
    """Whether who asked for a task may approve it (built-in forge)."""
    host: Annotated[str, PlainValidator(read.line(cap=253))] | None = None
    """The host of an Enterprise server; apiUrl follows from it."""
    api_url: Annotated[str, PlainValidator(read.web_address)] | None = None
    """The address of the forge's API."""
    clone_url: Annotated[str, PlainValidator(read.repository)] | None = None
    """Where the repository is cloned from, when it is not where the API says."""
    token: Text | None = None
    """The token for this forge, as ${NAME}."""
    bots: Lines | None = None
    """Accounts whose words are a bot's."""
    merge_method: MergeMethod | None = None
    """How pull requests are merged."""
    app: Mapping | None = None
    """A GitHub App: id, installation, privateKey."""
    webhook: Mapping | None = None
    """The secret that webhooks are signed with: secret: ${NAME}."""


_CLOCK: dict[str, Any] = {"type": ["string", "integer"]}  # 22:00 without quotes is a number to YAML
_REMIND = read.Kind(read=calling.read_remind, schema=read.duration_or_never.schema)
_LADDER = read.Kind(
    read=calling.read_ladder,
    schema={
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "properties": {"to": {"type": "string", "enum": [str(rung) for rung in Rung]}, "after": {"type": "string"}},
            "required": ["to"],
            "additionalProperties": False,
        },
    },
)
_QUIET_HOURS = read.Kind(
    read=calling.read_quiet_hours,
    schema={
        "anyOf": [
            {"const": calling.NEVER},
            {
                "type": "object",
                "properties": {"from": _CLOCK, "until": _CLOCK, "timeZone": {"type": "string"}},
                "required": ["from", "until"],
                "additionalProperties": False,
            },
        ]
    },
)


class EscalationShape(Shape):
    """How people are called."""

    remind: Annotated[Any, PlainValidator(_REMIND)] = None
    """How often people are reminded of what nobody has answered; never: not at all."""
    ladder: Annotated[Any, PlainValidator(_LADDER)] = None
    """Who is called, and after how long the next ones are called too."""
    quiet_hours: Annotated[Any, PlainValidator(_QUIET_HOURS)] = None
    """When only what is urgent is told."""


class LimitShape(Shape):
    """What may be used."""

    cost: Annotated[Any, PlainValidator(read.cost)] | None = None
    """USD."""
    tokens: Annotated[Any, PlainValidator(read.tokens)] | None = None
    """In and out together: a number, 200k, 2M."""
    time: Annotated[str, PlainValidator(read.time)] | None = None
    """For which agents are at work."""


class BudgetShape(Shape):
    """Of what how much may be used; see `domain.budgets`."""

    task: LimitShape | None = None
    """Each task."""
    project: LimitShape | None = None
    """All tasks of the project, ever."""
    day: LimitShape | None = None
    """All tasks of the project within a day (UTC)."""


class Lifecycle(Shape):
    auto_cleanup_on_merge: Flag | None = None
    """Whether the branch is deleted after a merge."""
    merge_cleanup_idle_grace_ms: Annotated[timedelta, PlainValidator(read.milliseconds)] | None = None
    """How long an agent at work may go on after its merge."""


class ProjectShape(Shape):
    name: Annotated[str, PlainValidator(read.line(cap=120))] | None = None
    """How people call it."""
    repo: Annotated[str, PlainValidator(read.repository)] | None = None
    """owner/name on GitHub, or the URL of a repository."""
    path: Annotated[str, PlainValidator(read.folder)] | None = None
    """The repository, or its checkout, on the server."""
    remote: Annotated[str, PlainValidator(read.line(cap=1000))] | None = None
    """Where it is fetched from and pushed to, when repo: does not say so."""
    default_branch: Annotated[str, PlainValidator(read.branch)] | None = None
    """The branch that changes are made from and merged into."""
    session_prefix: Annotated[str, PlainValidator(read.slug_of(cap=20))] | None = None
    """Branches are named PREFIX/NUMBER-TITLE."""
    agent: AgentName | None = None
    """The coding agent."""
    runtime: Anything = None
    """Accepted, without effect here."""
    workspace: Annotated[str, PlainValidator(read.one_of(("worktree",)))] | None = None
    """Each session has a git worktree of its own."""
    agent_rules: Text | None = None
    """Told to every agent with its task."""
    agent_rules_file: Annotated[str | None, PlainValidator(read.repository_file)] = None
    """A file of the repository that every agent is told to read before it begins, and to keep to."""
    agent_config: AgentConfig | None = None
    """Settings of the agent."""
    symlinks: Annotated[Any, PlainValidator(read.links)] | None = None
    """Files of the checkout that workspaces see: names, or names and absolute paths."""
    post_create: Lines | None = None
    """Commands run once in each new workspace."""
    env: Annotated[dict[str, str], PlainValidator(read.environment)] | None = None
    """Environment of the agents; ${NAME} is read where the workers run."""
    reactions: dict[str, RuleShape] | None = None
    """Rules of this project; what they do not say is inherited."""
    scm: ScmShape | None = None
    """The forge: pull requests, checks, reviews."""
    tracker: Mapping | None = None
    """Where issues are."""
    worker: WorkerShape | None = None
    """Settings of the sessions alone."""
    orchestrator_rules: Anything = None
    """Accepted, without effect here."""
    reassign_after: Annotated[Any, PlainValidator(read.duration_or_never)] = None
    """How long a silent host keeps its sessions; never: for ever."""
    sandbox: Annotated[str, PlainValidator(read.one_of([str(word) for word in Sandbox]))] | None = None
    """The level that runs require; absent: the best that works."""
    egress: Anything = None
    """Accepted, without effect here."""
    merge_method: MergeMethod | None = None
    """How pull requests are merged."""
    max_sessions: Annotated[int, PlainValidator(read.whole(least=1, most=10_000))] | None = None
    """How many agents work on it at once."""
    warm_workspaces: Annotated[int, PlainValidator(read.whole(least=0, most=100))] | None = None
    """How many workspaces are kept prepared."""
    paused: Flag | None = None
    """Nothing new is begun."""
    budget: BudgetShape | None = None
    """What agents may use of each task, of the project ever, and of a day."""
    lifecycle: Lifecycle | None = None
    """What happens after a merge."""
    escalation: EscalationShape | None = None
    """How people are called."""


class Defaults(Shape):
    agent: AgentName | None = None
    """The coding agent of projects that name none."""
    runtime: Anything = None
    """Accepted, without effect here."""
    workspace: Annotated[str, PlainValidator(read.one_of(("worktree",)))] | None = None
    """Each session has a git worktree of its own."""
    notifiers: Lines | None = None
    """The notifiers of priorities that are not routed."""
    worker: WorkerShape | None = None
    """Settings of the sessions."""
    orchestrator: WorkerShape | None = None
    """Accepted, without effect here."""
    reassign_after: Annotated[Any, PlainValidator(read.duration_or_never)] = None
    """How long a silent host keeps its sessions; never: for ever."""
    sandbox: Annotated[str, PlainValidator(read.one_of([str(word) for word in Sandbox]))] | None = None
    """The level that runs require; absent: the best that works."""
    budget: BudgetShape | None = None
    """What agents may use, in projects that do not say it."""


class NotifierShape(Shape):
    """Whatever else stands here is the plugin's."""

    plugin: Annotated[str, PlainValidator(read.slug_of(cap=40))] | None = None
    """How it is sent: slack, desktop, webhook, or apprise, which takes any of its URLs."""


class Routing(Shape):
    urgent: Lines | None = None
    """Who is sent what is urgent."""
    action: Lines | None = None
    """Who is sent what needs a decision."""
    warning: Lines | None = None
    """Who is sent warnings."""
    info: Lines | None = None
    """Who is sent the rest."""


class FileShape(Shape):
    """The whole file."""

    defaults: Defaults | None = None
    """What holds where a project says nothing."""
    projects: dict[str, ProjectShape] | None = None
    """Name: the repository and its settings."""
    reactions: dict[str, RuleShape] | None = None
    """Trigger: how it is answered, in all projects."""
    notifiers: dict[str, NotifierShape] | None = None
    """Name: a way to reach people. `desktop` is always there."""
    notification_routing: Routing | None = None
    """Priority: the notifiers that are sent it."""
    port: Annotated[int, PlainValidator(read.whole(least=1, most=65535))] | None = None
    """Accepted; ao start --port says it."""
    ready_threshold_ms: Annotated[int, PlainValidator(read.whole(least=0, most=10**10))] | None = None
    """Accepted, without effect here."""
    lifecycle: Lifecycle | None = None
    """What happens after a merge."""
    escalation: EscalationShape | None = None
    """How people are called, in all projects."""
    power: Anything = None
    """Accepted, without effect here."""
