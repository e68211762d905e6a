"""Asks the trackers that are due, and turns what they show into tasks and into decisions about those that are under way."""

from __future__ import annotations

import os

from django.utils import timezone

from orchestrator.ports import PortError, Unavailable
from orchestrator.services.workflows import tracking, versions
from orchestrator.services.workflows.tracking import Poll
from workers import runner
from workers.issue_facts import facts_of, states_of_blockers
from workers.toolbox import Toolbox


def poll_due(tools: Toolbox) -> int:
    """Look at every tracker that is due; what is wrong with one is said on its project and delays no other."""
    return sum(_poll(poll, tools) for poll in tracking.due(now=timezone.now()))


def _poll(poll: Poll, tools: Toolbox) -> int:
    """What is under way is looked at whatever keeps new tasks from being begun. A look that fails changes nothing."""
    problem = versions.unfit(poll.workflow, poll.project, os.environ)
    labels = [label for label in poll.workflow.required_labels if label]
    try:
        tracker = tools.tracker(poll.project)
        found = tracker.candidates(labels=labels) if problem is None else ()
        missing = sorted(set(poll.open_ones) - {issue.id for issue in found})
        others = tracker.refresh(missing) if missing else ()
        shown = [*found, *others]
        states = states_of_blockers(shown, shown=shown, refresh=tracker.refresh)
    except PortError as error:
        wait = error.retry_after if isinstance(error, Unavailable) else None
        retry_at = timezone.now() + wait if wait is not None else None
        tracking.not_seen(project=poll.project, error=str(error), retry_at=retry_at)
        return 0
    moved = tracking.seen(
        poll=poll,
        candidates=[facts_of(issue, states, chosen_by_label=bool(labels)) for issue in found],
        refreshed=[facts_of(issue, states, chosen_by_label=bool(labels)) for issue in others],
        now=timezone.now(),
        problem=f"{problem.fault}: {problem}" if problem is not None else "",
    )
    for task_id in moved:
        runner.decide_on(task_id)
    return len(moved)
