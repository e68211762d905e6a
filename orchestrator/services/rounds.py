"""Rounds of work on projects: begun with the first open task, complete when none is open, told of once with a digest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction

from orchestrator.domain.budgets import said
from orchestrator.domain.rules import Priority, Reply, Rule, Trigger, effective
from orchestrator.models import Project, Round, Task, Turn
from orchestrator.services import events, notices, rules, spending

MOST_LINES = 200  # tasks that a digest names


def begin(*, project: Project, number: int, at: datetime) -> None:
    """The task with this number is handed in: it begins a round where none is open. The caller holds the project's lock."""
    if not Round.objects.open().filter(project=project).exists():
        Round.objects.create(project=project, begun_at=at, first_number=number)


def complete_due(*, now: datetime) -> int:
    """Complete the rounds in which nothing is open any more, and answer how many that were."""
    due = Round.objects.complete().values_list("pk", "project")
    return sum(_complete(round_id, project_id, now=now) for round_id, project_id in due)


@transaction.atomic
def _complete(round_id: int, project_id: int, *, now: datetime) -> bool:
    """Once, whoever finds it: the project is locked like by those who hand in tasks, and looked at again."""
    project = Project.objects.select_for_update(no_key=True).get(pk=project_id)
    done = Round.objects.complete().filter(pk=round_id).first()
    if done is None:
        return False
    tasks = list(Task.objects.filter(project=project, number__gte=done.first_number).order_by("number"))
    done.completed_at, done.digest = now, _digest(project, tasks, now=now)
    done.save(update_fields=["completed_at", "digest"])
    title = f"{project.key}: {summary_of(done.digest)}"
    events.record(kind="project.complete", text=title, project=project, at=now, data=done.digest)
    rule = effective(Trigger.ALL_COMPLETE, rules.overrides_for(project))
    if {Reply.NOTIFY, Reply.ESCALATE} & set(rule.action):
        priority = Priority.URGENT if Reply.ESCALATE in rule.action else rule.priority
        body = "\n".join(_body(done.digest, rule))
        notices.alert(key=f"complete-{done.pk}", title=title, body=body, now=now, priority=priority, project=project)
    return True


def _digest(project: Project, tasks: Sequence[Task], *, now: datetime) -> dict[str, Any]:
    turns = Turn.objects.filter(session__task__in=[task.pk for task in tasks])
    used = spending.used_of(turns.order_by().aggregate(**spending.sums(now)))
    costs = dict(_costs(turns, now=now))
    pulls = {pull.task_id: pull.url for pull in project.pull_requests.filter(task__in=tasks).order_by("id")}
    return {
        "counts": dict(Counter(task.outcome for task in tasks)),
        "cost": str(used.cost),
        "tokens": used.tokens,
        "seconds": int(used.time.total_seconds()),
        "tasks": [
            {
                "id": task.pk,
                "key": f"{project.key}#{task.number}",
                "title": task.title,
                "outcome": task.outcome,
                "url": pulls.get(task.pk, ""),
                "cost": str(costs.get(task.pk, 0)),
                "reason": task.reason,
            }
            for task in tasks[:MOST_LINES]
        ],
    }


def _costs(turns: Any, *, now: datetime) -> Iterator[tuple[int, Decimal]]:
    for row in turns.order_by().values("session__task").annotate(**spending.sums(now)):
        yield row["session__task"], spending.used_of(row).cost


def summary_of(digest: dict[str, Any]) -> str:
    """`all 4 tasks have ended: 3 merged, 1 cancelled`."""
    counts = digest["counts"]
    total = sum(counts.values())
    ends = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items(), key=lambda one: -one[1]))
    return f"{'the only task has' if total == 1 else f'all {total} tasks have'} ended: {ends}"


def cost_of(digest: dict[str, Any]) -> str:
    """`1.20 USD, 12,000 tokens, 1h2m of agents' time`."""
    time = said("time", timedelta(seconds=digest["seconds"]))
    return f"{said('cost', Decimal(digest['cost']))}, {said('tokens', digest['tokens'])}, {time} of agents' time"


def _body(digest: dict[str, Any], rule: Rule) -> Iterator[str]:
    """The rule's own words, what it cost, and with `includeSummary` a line a task."""
    if rule.message:
        yield rule.message
    yield cost_of(digest)
    for task in digest["tasks"] if rule.include_summary else ():
        where = task["url"] if task["url"].startswith("http") else f"{settings.AO_BASE_URL}/tasks/{task['id']}/"
        yield f"{task['key']} {task['outcome']}: {task['title']} {where}"
