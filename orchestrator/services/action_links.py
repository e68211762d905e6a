"""Links in messages that do one thing once: signed, for one purpose, good for a day.

A link in a person's own channel acts as that person, as long as that person still may. One that many read says only what would be done:
whoever follows it logs in first. Opening a link changes nothing, since previews and mail scanners open all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from django.core import signing
from django.db import IntegrityError, transaction

from orchestrator.domain.rules import Trigger
from orchestrator.models import Interruption, SpentLink
from orchestrator.services import escalations, events, tasks
from orchestrator.services.accounts import digest_of
from orchestrator.services.events import Actor

HOLDS = timedelta(hours=24)
SNOOZE = timedelta(hours=1)
_PURPOSE = "ao.action-link"


class LinkAction(StrEnum):
    """What a link does."""

    MERGE = "merge"
    RETRY = "retry"
    ACKNOWLEDGE = "acknowledge"
    SNOOZE = "snooze"


class LinkRefused(Exception):
    """The link does nothing; the message says why and what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionLink:
    """What a link says. `head_sha` is the head that is merged, and no other; without a `person` it needs a login."""

    interruption: int
    action: LinkAction
    expires_at: datetime
    person: int | None = None
    head_sha: str = ""
    nonce: str = ""  # of the message that carries it: the same thing may be offered again


def links_for(asked: Interruption, *, nonce: str, person: int | None, now: datetime) -> list[ActionLink]:
    """What can be done about it from a message."""
    pull = asked.task.pull_requests.order_by("-id").first()
    ready = asked.trigger == Trigger.APPROVED_AND_GREEN and asked.task.open and pull is not None
    offered = [LinkAction.MERGE] if ready else []
    if asked.escalation and asked.task.open:
        offered.append(LinkAction.RETRY)
    offered.append(LinkAction.ACKNOWLEDGE)
    if asked.pressing:
        offered.append(LinkAction.SNOOZE)
    return [
        ActionLink(
            interruption=asked.pk,
            action=action,
            expires_at=now + HOLDS,
            person=person,
            head_sha=pull.head_sha if action is LinkAction.MERGE and pull is not None else "",
            nonce=nonce,
        )
        for action in offered
    ]


def token_of(link: ActionLink) -> str:
    """The link as it stands in an address."""
    told = [
        link.interruption, str(link.action), int(link.expires_at.timestamp()), link.person, link.head_sha, link.nonce
    ]  # fmt: skip
    return signing.dumps(told, salt=_PURPOSE)


def read(*, token: str, now: datetime) -> ActionLink:
    """What a link says. Raises `LinkRefused` when it was altered, has run out or was used."""
    try:
        interruption, action, expires, person, head_sha, nonce = signing.loads(token, salt=_PURPOSE)
        link = ActionLink(
            interruption=interruption,
            action=LinkAction(action),
            expires_at=datetime.fromtimestamp(expires, tz=UTC),
            person=person,
            head_sha=head_sha,
            nonce=nonce,
        )
    except (signing.BadSignature, ValueError, TypeError) as error:
        raise LinkRefused("this link is not one of ours, or was cut off: open the task and press there") from error
    if now >= link.expires_at:
        raise LinkRefused(f"this link ran out at {link.expires_at:%Y-%m-%d %H:%M} UTC: open the task and press there")
    spent = SpentLink.objects.filter(digest=digest_of(token)).select_related("person").first()
    if spent is not None:
        who = spent.person.get_username() if spent.person is not None else "somebody"
        raise LinkRefused(f"this link was used by {who} at {spent.spent_at:%Y-%m-%d %H:%M} UTC, and works once")
    return link


def words_for(link: ActionLink) -> str:
    """What pressing does, as a button says it."""
    match link.action:
        case LinkAction.MERGE:
            return f"Merge {link.head_sha[:10]}"
        case LinkAction.RETRY:
            return "Retry"
        case LinkAction.ACKNOWLEDGE:
            return "Acknowledge"
        case LinkAction.SNOOZE:
            return "Snooze for an hour"


@transaction.atomic
def press(*, token: str, actor: Actor) -> ActionLink:
    """Do what the link says, in the actor's name, whose right to do it the caller has asked for. Raises `LinkRefused`, and `NotNow` when it
    cannot be done, which does not spend the link."""
    link = read(token=token, now=actor.at)
    asked = Interruption.objects.select_related("task__project").filter(pk=link.interruption).first()
    if asked is None:
        raise LinkRefused("what this link is about is not there any more")
    who = actor.user.pk if actor.user is not None else None
    try:
        with transaction.atomic():
            SpentLink.objects.create(
                digest=digest_of(token), interruption=asked, action=link.action, person_id=who, spent_at=actor.at
            )
    except IntegrityError as error:
        raise LinkRefused("this link was used just now, and works once") from error
    _DEEDS[link.action](asked, link, actor)
    text = f"{actor.name} pressed {words_for(link)} in a message"
    data = {"escalation": asked.pk, "action": str(link.action), "addressed_to": link.person}
    events.record(kind="link.pressed", text=text, task=asked.task, actor=actor, at=actor.at, data=data)
    return link


def _merge(asked: Interruption, link: ActionLink, actor: Actor) -> None:
    tasks.request_merge(task=asked.task, actor=actor, head_sha=link.head_sha)


def _retry(asked: Interruption, _: ActionLink, actor: Actor) -> None:
    tasks.retry(task=asked.task, actor=actor)


def _acknowledge(asked: Interruption, _: ActionLink, actor: Actor) -> None:
    if asked.acknowledged_at is not None or asked.resolved_at is not None:
        raise tasks.NotNow(f"it is {asked.state} already: {asked.question[:200]}")
    escalations.acknowledge(interruption=asked, actor=actor)


def _snooze(asked: Interruption, _: ActionLink, actor: Actor) -> None:
    escalations.snooze(interruption=asked, until=actor.at + SNOOZE, actor=actor)


_DEEDS: Mapping[LinkAction, Callable[[Interruption, ActionLink, Actor], None]] = {
    LinkAction.MERGE: _merge,
    LinkAction.RETRY: _retry,
    LinkAction.ACKNOWLEDGE: _acknowledge,
    LinkAction.SNOOZE: _snooze,
}
