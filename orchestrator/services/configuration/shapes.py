"""The keys of `agent-orchestrator.yaml`, as REACTIONS.md and the readers name them. A key is absent when the file does not say it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainValidator
from pydantic.alias_generators import to_camel

from orchestrator.domain.rules import Priority, Reply
from orchestrator.models.project import MERGE_METHODS
from orchestrator.ports import Sandbox
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

    model_config = ConfigDict(extra="allow", alias_generator=to_camel, arbitrary_types_allowed=True)


class RuleShape(Shape):
    auto: Flag | None = None
    action: Annotated[tuple[Reply, ...], PlainValidator(read.replies)] | None = None
    message: Text | None = None
    priority: PriorityName | None = None
    retries: Annotated[int, PlainValidator(read.whole(least=0, most=1000))] | None = None
    escalate_after: Annotated[Any, PlainValidator(read.escalate_after)] | None = None
    threshold: Duration | None = None
    include_summary: Flag | None = None


class AgentConfig(Shape):
    permissions: Anything = None
    model: Annotated[str, PlainValidator(read.line(cap=200))] | None = None
    command: Annotated[Any, PlainValidator(read.command)] | None = None


class WorkerShape(Shape):
    agent: AgentName | None = None
    agent_config: AgentConfig | None = None


class ScmShape(Shape):
    plugin: Annotated[str, PlainValidator(read.one_of(("local", "github")))] | None = None
    checks: Annotated[dict[str, str], PlainValidator(read.commands)] | None = None
    required_checks: Lines | None = None
    required_approvals: Annotated[int, PlainValidator(read.whole(least=0, most=50))] | None = None
    self_approval: Flag | None = None
    host: Annotated[str, PlainValidator(read.line(cap=253))] | None = None
    api_url: Annotated[str, PlainValidator(read.web_address)] | None = None
    clone_url: Annotated[str, PlainValidator(read.repository)] | None = None
    token: Text | None = None
    bots: Lines | None = None
    merge_method: MergeMethod | None = None
    app: Mapping | None = None
    webhook: Mapping | None = None


class LimitShape(Shape):
    cost: Annotated[Any, PlainValidator(read.cost)] | None = None
    tokens: Annotated[Any, PlainValidator(read.tokens)] | None = None
    time: Annotated[str, PlainValidator(read.time)] | None = None


class BudgetShape(Shape):
    task: LimitShape | None = None
    project: LimitShape | None = None
    day: LimitShape | None = None


class Lifecycle(Shape):
    auto_cleanup_on_merge: Flag | None = None
    merge_cleanup_idle_grace_ms: Annotated[timedelta, PlainValidator(read.milliseconds)] | None = None


class ProjectShape(Shape):
    name: Annotated[str, PlainValidator(read.line(cap=120))] | None = None
    repo: Annotated[str, PlainValidator(read.repository)] | None = None
    path: Annotated[str, PlainValidator(read.folder)] | None = None
    remote: Annotated[str, PlainValidator(read.line(cap=1000))] | None = None
    default_branch: Annotated[str, PlainValidator(read.branch)] | None = None
    session_prefix: Annotated[str, PlainValidator(read.slug_of(cap=20))] | None = None
    agent: AgentName | None = None
    workspace: Annotated[str, PlainValidator(read.one_of(("worktree",)))] | None = None
    agent_rules: Text | None = None
    agent_rules_file: Annotated[str, PlainValidator(read.line(cap=500))] | None = None
    agent_config: AgentConfig | None = None
    symlinks: Annotated[Any, PlainValidator(read.links)] | None = None
    post_create: Lines | None = None
    env: Annotated[dict[str, str], PlainValidator(read.environment)] | None = None
    reactions: dict[str, RuleShape] | None = None
    scm: ScmShape | None = None
    tracker: Mapping | None = None
    worker: WorkerShape | None = None
    orchestrator_rules: Anything = None
    reassign_after: Annotated[Any, PlainValidator(read.duration_or_never)] = None
    sandbox: Annotated[str, PlainValidator(read.one_of([str(word) for word in Sandbox]))] | None = None
    egress: Anything = None
    merge_method: MergeMethod | None = None
    max_sessions: Annotated[int, PlainValidator(read.whole(least=1, most=10_000))] | None = None
    warm_workspaces: Annotated[int, PlainValidator(read.whole(least=0, most=100))] | None = None
    paused: Flag | None = None
    budget: BudgetShape | None = None
    lifecycle: Lifecycle | None = None


class Defaults(Shape):
    agent: AgentName | None = None
    workspace: Annotated[str, PlainValidator(read.one_of(("worktree",)))] | None = None
    notifiers: Lines | None = None
    worker: WorkerShape | None = None
    orchestrator: WorkerShape | None = None
    reassign_after: Annotated[Any, PlainValidator(read.duration_or_never)] = None
    sandbox: Annotated[str, PlainValidator(read.one_of([str(word) for word in Sandbox]))] | None = None
    budget: BudgetShape | None = None


class NotifierShape(Shape):
    """Whatever else stands here is the plugin's."""

    plugin: Annotated[str, PlainValidator(read.slug_of(cap=40))] | None = None


class Routing(Shape):
    urgent: Lines | None = None
    action: Lines | None = None
    warning: Lines | None = None
    info: Lines | None = None


class FileShape(Shape):
    """The whole file."""

    defaults: Defaults | None = None
    projects: dict[str, ProjectShape] | None = None
    reactions: dict[str, RuleShape] | None = None
    notifiers: dict[str, NotifierShape] | None = None
    notification_routing: Routing | None = None
    port: Annotated[int, PlainValidator(read.whole(least=1, most=65535))] | None = None
    ready_threshold_ms: Annotated[int, PlainValidator(read.whole(least=0, most=10**10))] | None = None
    lifecycle: Lifecycle | None = None
    power: Anything = None
