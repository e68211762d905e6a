"""What a message to a channel says: one thing with its reason, its link and what to press, or several things that each have a line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.domain.prompts import one_line
from orchestrator.domain.rules import Priority
from orchestrator.models import Notification
from orchestrator.ports import Notice, NoticeLink
from orchestrator.services import action_links
from orchestrator.services.channels import Parcel

DIGEST = "digest"
_GRAVEST_FIRST = {str(priority): place for place, priority in enumerate(Priority)}


def notice_of(parcel: Parcel, *, base_url: str, now: datetime) -> Notice:
    """The message for a channel. Its links act as the person whose channel it is; where many read, they ask for a login."""
    first, *more = parcel.notifications
    if more:
        return _digest(parcel, base_url=base_url)
    asked = first.interruption
    return Notice(
        id=parcel.message,
        priority=first.priority,
        title=first.title,
        body=first.body,
        url=f"{base_url}/tasks/{asked.task_id}/" if asked is not None else base_url,
        links=_links(first, base_url=base_url, now=now),
        event=first.telling,
        about=(asked.pk,) if asked is not None else (),
    )


def _links(row: Notification, *, base_url: str, now: datetime) -> tuple[NoticeLink, ...]:
    if row.interruption is None:
        return ()
    offered = action_links.links_for(row.interruption, nonce=f"{row.pk}", person=row.channel.person_id, now=now)
    return tuple(
        NoticeLink(label=action_links.words_for(link), url=f"{base_url}/act/{action_links.token_of(link)}/")
        for link in offered
    )


def _digest(parcel: Parcel, *, base_url: str) -> Notice:
    """Everything is named. What differs in nothing but the task is one line with all its tasks."""
    rows = sorted(parcel.notifications, key=lambda row: (_GRAVEST_FIRST[row.priority], row.pk))
    groups: dict[tuple[str, str], list[Notification]] = {}
    for row in rows:
        groups.setdefault((row.priority, _reason(row)), []).append(row)
    return Notice(
        id=parcel.message,
        priority=rows[0].priority,
        title=f"{len(rows)} things wait for people",
        body="\n".join(_line(priority, reason, group) for (priority, reason), group in groups.items()),
        url=f"{base_url}/escalations/",
        event=DIGEST,
        about=tuple(dict.fromkeys(row.interruption_id for row in rows if row.interruption_id is not None)),
    )


def _reason(row: Notification) -> str:
    return one_line(row.interruption.question, 300) if row.interruption is not None else one_line(row.title, 300)


def _line(priority: str, reason: str, group: Sequence[Notification]) -> str:
    tasks = dict.fromkeys(str(row.interruption.task) for row in group if row.interruption is not None)
    where = f" ({len(tasks)}): {', '.join(tasks)}" if len(tasks) > 1 else "".join(f": {task}" for task in tasks)
    return f"[{priority}] {reason}{where}"
