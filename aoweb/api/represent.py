"""Rows as the API shows them. `answer_shapes.py` says the same to the schema; a test holds the two together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db.models import Count, DecimalField, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce, JSONObject
from django.utils import timezone

from orchestrator.domain.budgets import MEASURES, BudgetFacts
from orchestrator.domain.conflicts import Conflict
from orchestrator.domain.durations import format_duration
from orchestrator.domain.rules import Rule, Trigger
from orchestrator.domain.saying import rule_in_words
from orchestrator.domain.snapshot import PullFacts, SessionFacts, Snapshot, TurnFacts
from orchestrator.domain.verdicts import review_verdict
from orchestrator.models import (
    DecisionRecord,
    Event,
    Host,
    InboxItem,
    Interruption,
    Message,
    Notification,
    NotificationChannel,
    Project,
    PullRequest,
    RuleVersion,
    Session,
    Task,
    Turn,
)
from orchestrator.services import forges
from orchestrator.services.rules import Explained

_NO_COST = Value(0, output_field=DecimalField(max_digits=12, decimal_places=6))
_CARD = (
    "id",
    "number",
    "project__key",
    "title",
    "issue",
    "status",
    "attention",
    "reason",
    "priority",
    "labels",
    "agent",
    "branch",
    "created_at",
    "updated_at",
    "ended_at",
    "version",
)


def cards(rows: QuerySet[Task]) -> QuerySet[Task, dict[str, Any]]:
    """The rows of a list with what is shown of them: one query, however many they are. `card` makes the answer of each."""
    mine = {"task_id": OuterRef("pk")}
    pull = JSONObject(number="number", url="url", head_sha="head_sha", state="state")
    escalations = Interruption.objects.open().filter(**mine, escalation=True).order_by().values("task_id")
    cost = Turn.objects.filter(session__task=OuterRef("pk")).order_by().values("session__task")
    shown: QuerySet[Task, dict[str, Any]] = rows.values(*_CARD).annotate(
        host=Subquery(Session.objects.filter(**mine).order_by("-epoch").values("host__name")[:1]),
        pull_request=Subquery(PullRequest.objects.filter(**mine).order_by("-id").values(told=pull)[:1]),
        cost_usd=Coalesce(Subquery(cost.annotate(cost=Sum("cost_usd")).values("cost")), _NO_COST),
        open_escalations=Coalesce(Subquery(escalations.annotate(count=Count("id")).values("count")), 0),
    )
    return shown


def card(row: dict[str, Any]) -> dict[str, Any]:
    """One row of a list."""
    project = row.pop("project__key")
    return {"key": f"{project}#{row['number']}", "project": project, **row, "cost_usd": float(row["cost_usd"])}


def task(row: Task, snapshot: Snapshot) -> dict[str, Any]:
    """One task with everything that the contract names."""
    interruptions = [interruption(one) for one in row.interruptions.select_related("task", "acknowledged_by")[:100]]
    session = row.sessions.order_by("-epoch").values_list("base_sha", "host__name").first()
    return {
        **new_task(row, depends_on=sorted(row.depends_on.values_list("pk", flat=True))),
        "host": session[1] if session else None,
        "base_sha": session[0] if session else "",
        "pull_request": _pull(snapshot) if snapshot.pull is not None else None,
        "session": _session(snapshot.session, snapshot.turn) if snapshot.session is not None else None,
        "request": _request(row),
        "escalations": [one for one in interruptions if one["escalation"]],
        "interruptions": interruptions,
        "usage": usage_of(Turn.objects.filter(session__task=row).aggregate(**USAGE)),
    }


def new_task(row: Task, *, depends_on: Sequence[int]) -> dict[str, Any]:
    """A task that nothing has happened to yet: what its row says, and nothing of what hangs from it."""
    return {
        "id": row.pk,
        "key": str(row),
        "number": row.number,
        "project": row.project.key,
        "title": row.title,
        "body": row.body,
        "issue": row.issue,
        "status": row.status,
        "attention": row.attention,
        "reason": row.reason,
        "evidence": row.evidence,
        "waiting_for": row.waiting_for,
        "paused": row.paused,
        "pause_reason": row.pause_reason,
        "progress": {name: row.progress[name] for name in ("at", "what")} if row.progress else None,
        "priority": row.priority,
        "labels": row.labels,
        "depends_on": list(depends_on),
        "agent": row.agent,
        "reactions": row.own_rules,
        "host": None,
        "branch": row.branch,
        "base_sha": "",
        "pull_request": None,
        "session": None,
        "request": None,
        "escalations": [],
        "interruptions": [],
        "usage": {"input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0},
        "outcome": row.outcome or None,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "ended_at": row.ended_at,
        "version": row.version,
    }


def _pull(snapshot: Snapshot) -> dict[str, Any]:
    pull, policy = snapshot.pull, snapshot.policy
    assert pull is not None  # noqa: S101 the caller looked
    verdict = review_verdict(pull, policy)
    word = "approved" if verdict.approved else "changes_requested" if verdict.wants_changes else "pending"
    required = policy.required_checks if policy.required_checks is not None else pull.required_checks
    return {
        "number": pull.number,
        "url": pull.url,
        "head_sha": pull.head_sha,
        "state": pull.state,
        "checks": _checks(pull, required),
        "review": word,
        "mergeable": pull.mergeable,
        "conflict_files": list(pull.conflict_files),
        "reviews": [
            {
                "id": r.id,
                "author": r.author,
                "decision": r.decision,
                "head_sha": r.head_sha,
                "body": r.body,
                "trusted": r.trusted,
            }
            for r in pull.reviews
        ],
        "comments": [
            {
                "id": c.id,
                "thread": c.thread,
                "author": c.author,
                "body": c.body,
                "path": c.path,
                "line": c.line,
                "resolved": c.resolved,
                "trusted": c.trusted,
            }
            for c in pull.comments
        ],
    }


def _checks(pull: PullFacts, required: Sequence[str] | None) -> list[dict[str, Any]]:
    return [
        {
            "name": check.name,
            "status": check.status,
            "conclusion": check.conclusion,
            "url": check.url,
            "required": required is None or check.name in required,
            "log": check.failing_log,
        }
        for check in pull.checks
    ]


def _session(session: SessionFacts, turn: TurnFacts | None) -> dict[str, Any]:
    if session.ended:
        state = "ended"
    elif turn is None:
        state = "idle" if session.prepared else "preparing"
    elif turn.end is not None:
        state = "idle"
    else:
        state = "waiting" if turn.request is not None and not turn.request.answered else "running"
    return {"id": session.id, "epoch": session.epoch, "turn": turn.n if turn else None, "state": state}


def _request(row: Task) -> dict[str, Any] | None:
    """What the agent asks at the moment, if it asks."""
    asked = (
        Turn.objects.filter(session__task=row, request__isnull=False)
        .order_by("-id")
        .values_list("request", flat=True)
        .first()
    )
    if not asked or "answer" in asked or row.outcome:
        return None
    return {name: asked.get(name) for name in ("id", "kind", "question", "options", "asked_at")}


def interruption(row: Interruption) -> dict[str, Any]:
    """Something a human was asked for. Its priority is its severity."""
    return {
        "id": row.pk,
        "task": row.task_id,
        "trigger": row.trigger or None,
        "rule_version": row.rule_version,
        "priority": row.priority,
        "escalation": row.escalation,
        "state": row.state,
        "question": row.question,
        "evidence": row.evidence,
        "asked_at": row.asked_at,
        "acknowledged_at": row.acknowledged_at,
        "acknowledged_by": row.acknowledged_by.get_username() if row.acknowledged_by else None,
        "resolved_at": row.resolved_at,
        "resolution": row.resolution,
        "step": row.step,
        "told_at": row.told_at or row.asked_at,
        "next_at": row.wake_at,
        "snoozed_until": row.snoozed_until,
        "cleared_at": row.cleared_at,
    }


def notification(row: Notification) -> dict[str, Any]:
    """Something on its way to a channel."""
    return {
        "id": row.pk,
        "interruption": row.interruption_id,
        "task": row.interruption.task_id if row.interruption is not None else None,
        "channel": row.channel.name,
        "telling": row.telling,
        "priority": row.priority,
        "title": row.title,
        "state": row.state,
        "created_at": row.created_at,
        "held_until": row.held_until,
        "tries": row.tries,
        "message": row.message or None,
        "sent_at": row.sent_at,
        "error": row.error or row.dropped_why,
    }


def channel(row: NotificationChannel) -> dict[str, Any]:
    """A channel without its address."""
    return {
        "name": row.name,
        "plugin": row.plugin,
        "priorities": row.priorities,
        "person": row.person.get_username() if row.person is not None else None,
        "failures": row.failures,
        "failing_since": row.failing_since,
        "dead_since": row.dead_since,
        "trouble": row.trouble,
    }


def inbox_item(row: InboxItem) -> dict[str, Any]:
    """A line of somebody's inbox."""
    return {
        "id": row.pk,
        "interruption": row.interruption_id,
        "task": row.interruption.task_id if row.interruption is not None else None,
        "telling": row.telling,
        "priority": row.priority,
        "title": row.title,
        "body": row.body,
        "at": row.at,
        "times": row.times,
        "read_at": row.read_at,
    }


def event(row: Event) -> dict[str, Any]:
    """One line of history."""
    return {
        "id": row.pk,
        "at": row.at,
        "kind": row.kind,
        "text": row.text,
        "data": row.data,
        "actor": row.actor_name or None,
        "project": row.project.key if row.project else None,
        "task": row.task_id,
    }


def decision(row: DecisionRecord) -> dict[str, Any]:
    """One decision: facts seen -> rule -> action, or the reason for none, and what was new."""
    return {"id": row.pk, "at": row.at, "status": row.status, "reason": row.reason, "why": row.why, "made": row.made}


def rule(
    trigger: Trigger, told: Mapping[str, Explained], of: Project | None, version: int, conflicts: Iterable[Conflict]
) -> dict[str, Any]:
    """The effective rule of a trigger: in a sentence, and field by field with the place that set it."""
    effective = Rule(trigger=trigger, version=version, **{name: one.value for name, one in told.items()})  # type: ignore[arg-type]  # field by field
    values = {name: {"value": _plain(one.value), "from": str(one.source)} for name, one in told.items()}
    return {
        "trigger": str(trigger),
        "project": of.key if of else None,
        "version": version,
        "says": rule_in_words(effective),
        "values": values,
        "warnings": [one.why for one in conflicts if one.trigger is trigger],
    }


def _plain(value: object) -> object:
    match value:
        case timedelta():
            return format_duration(value)
        case tuple():
            return [str(one) for one in value]
        case _:
            return value


def rule_version(row: RuleVersion) -> dict[str, Any]:
    """One change of a rule: where, by whom, and what the place said before and after."""
    return {
        "version": row.number,
        "trigger": row.trigger,
        "project": row.project.key if row.project else None,
        "task": row.task_id,
        "before": row.before,
        "after": row.fields,
        "at": row.at,
        "by": row.actor_name,
    }


def message(row: Message) -> dict[str, Any]:
    """Words for the agent, and how far they came."""
    return {
        "id": str(row.pk),
        "text": row.text,
        "trigger": row.trigger or None,
        "rule_version": row.rule_version,
        "author": row.author.get_username() if row.author else None,
        "turn": row.turn.n if row.turn else None,
        "created_at": row.created_at,
        "delivered_at": row.delivered_at,
        "confirmed_at": row.confirmed_at,
        "deliveries": row.deliveries,
    }


def project(row: Project) -> dict[str, Any]:
    """A project, as its members see it. Its environment and its forge's credentials are not among that."""
    return {
        "key": row.key,
        "name": row.name,
        "remote": row.shown_remote,
        "default_branch": row.default_branch,
        "session_prefix": row.session_prefix,
        "agent": row.agent,
        "scm": row.scm.get("plugin", "local"),
        "required_checks": row.scm.get("requiredChecks"),
        "checks": sorted(row.own_checks),
        "sandbox": row.sandbox,
        "max_sessions": row.max_sessions,
        "paused": row.paused,
        "notice": row.notice,
        "forge_wait": _forge_wait(row),
        "base_sha": row.base_sha,
        "mirrored_at": row.mirrored_at,
        "created_at": row.created_at,
    }


def _forge_wait(row: Project) -> dict[str, Any] | None:
    wait = forges.wait_of(row, now=timezone.now())
    return {"until": wait.until, "writes_go_on": wait.writes_go_on, "words": wait.words} if wait is not None else None


def host(row: Host, live: int, *, whole: bool) -> dict[str, Any]:
    """A machine, with how many sessions live on it. `whole`: also how it is got into, for those who manage machines."""
    return {
        "name": row.name,
        "kind": row.kind,
        "address": row.address,
        "host_key": row.host_key,
        "key_path": row.key_path if whole else "",
        "folder": row.folder if whole else "",
        "capacity": row.capacity,
        "live_sessions": live,
        "labels": row.labels,
        "draining": row.draining,
        "seen_at": row.seen_at,
        "silent_since": row.silent_since,
        "trouble": row.trouble,
    }


USAGE = {
    "input_tokens": Coalesce(Sum("input_tokens"), 0),
    "output_tokens": Coalesce(Sum("output_tokens"), 0),
    "cost_usd": Coalesce(Sum("cost_usd"), _NO_COST),
}


def budget(project: Project, facts: BudgetFacts) -> list[dict[str, Any]]:
    """Each measure that a budget limits, in numbers."""
    limits = {name: getattr(facts.limit, name) for name in MEASURES}
    return [
        {
            "project": project.key,
            "span": str(facts.span),
            "measure": name,
            "used": _number(getattr(facts.used, name)),
            "limit": _number(limit),
            "day": facts.day,
        }
        for name, limit in limits.items()
        if limit is not None
    ]


def _number(amount: Any) -> float:
    return amount.total_seconds() if isinstance(amount, timedelta) else float(amount)


def usage_of(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens, and dollars as a number."""
    return {
        "input_tokens": sums["input_tokens"],
        "output_tokens": sums["output_tokens"],
        "cost_usd": float(sums["cost_usd"]),
    }


def total(usages: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The sum of several."""
    rows = list(usages)
    return {
        "input_tokens": sum(row["input_tokens"] for row in rows),
        "output_tokens": sum(row["output_tokens"] for row in rows),
        "cost_usd": round(sum(row["cost_usd"] for row in rows), 6),
    }
