"""What may be forgotten after a while, so that a service that runs for years does not grow by what nobody asks for any more."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.sessions.models import Session as Login
from django.db.models import CharField, Value
from django.db.models.functions import Cast, Concat

from orchestrator.models import (
    Check,
    DecisionRecord,
    Delivery,
    IdempotencyRecord,
    InboxItem,
    Job,
    JournalChunk,
    LoginLink,
    Notification,
    Parcel,
    SpentLink,
)

ANSWERS_KEPT = timedelta(days=7)  # a client that repeats a write does so within minutes
DELIVERIES_KEPT = timedelta(days=7)  # a forge delivers again within days
PARCELS_KEPT = timedelta(days=1)  # what a machine asked for and did not fetch is asked for again
LINKS_KEPT = timedelta(days=1)  # after they ran out
SPENT_KEPT = timedelta(days=7)  # longer than a link lives
NOTICES_KEPT = timedelta(days=90)  # what was sent or dropped, and what was read
WORKINGS_KEPT = timedelta(days=30)  # after the task's end: what each check printed


def prune(*, now: datetime) -> dict[str, int]:
    """Forget what is old, and answer how much of what that was. History, transcripts of agents, and what messages and questions say of the
    rules that made them stay; what was known at each decision is kept for a span that the installation sets."""
    old = now - WORKINGS_KEPT
    runs = Check.objects.filter(pull_request__task__ended_at__lt=old)
    journals = runs.annotate(journal=Concat(Value("check-"), Cast("pk", CharField()))).values("journal")
    return {
        "answers": IdempotencyRecord.objects.filter(created_at__lt=now - ANSWERS_KEPT).delete()[0],
        "deliveries": Delivery.objects.filter(received_at__lt=now - DELIVERIES_KEPT).delete()[0],
        "links": LoginLink.objects.filter(expires_at__lt=now - LINKS_KEPT).delete()[0],
        "parcels": Parcel.objects.filter(key__startswith="carry:", created_at__lt=now - PARCELS_KEPT).delete()[0],
        "spent links": SpentLink.objects.filter(spent_at__lt=now - SPENT_KEPT).delete()[0],
        "notifications": Notification.objects.over().filter(created_at__lt=now - NOTICES_KEPT).delete()[0],
        "deliveries of notifications": Job.objects.filter(
            verb="Deliver", task=None, settled_at__lt=now - NOTICES_KEPT
        ).delete()[0],
        "inbox": InboxItem.objects.filter(read_at__lt=now - NOTICES_KEPT).delete()[0],
        "logins": Login.objects.filter(expire_date__lt=now).delete()[0],
        "decisions": DecisionRecord.objects.filter(at__lt=now - settings.DECISIONS_KEPT).delete()[0],
        "check journals": JournalChunk.objects.filter(run__in=journals).delete()[0],
    }
