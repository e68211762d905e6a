"""Why a task is where it is now, and which decision made a thing: the answers behind the page, the API and `ao why`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from orchestrator.domain.lifecycle import decide
from orchestrator.domain.saying import waits_for
from orchestrator.models import Task
from orchestrator.services import snapshots

LOOKED_THROUGH = 2000  # decisions of a task, the newest ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What holds at this moment: in a sentence, in lines, and when somebody looks again by themselves. `beside` is the sentence for where the
    task's reason is shown as well."""

    sentence: str
    beside: str
    why: tuple[str, ...]
    wake_at: datetime | None


@transaction.atomic
def standing(*, task: Task, now: datetime) -> Standing:
    """Decide on the facts of this moment and change nothing. A task that was put aside says so in its reason."""
    try:
        decision = decide(snapshots.take(task, now=now))
    except (ValueError, LookupError):  # a rule or a fact that cannot be read: the same that put the task aside
        return Standing(sentence=task.reason, beside="", why=(), wake_at=task.wake_at)
    return Standing(
        sentence=waits_for(decision),
        beside=waits_for(decision, with_reason=False),
        why=decision.why,
        wake_at=decision.wake_at,
    )


def decisions_that_made(task: Task) -> Mapping[str, int]:
    """The key of each message, question and job of a task -> the decision that made it, as far back as decisions are kept."""
    rows = task.decisions.order_by("-id").values_list("pk", "made")[:LOOKED_THROUGH]
    return {key: pk for pk, made in rows for key in made}
