"""Bring one interruption to one channel: at least once, with a stable id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.utils import timezone

from orchestrator.models import Notification, NotificationChannel
from orchestrator.ports import Notice, PortError
from workers.toolbox import Toolbox


def deliver(notification_id: int, tools: Toolbox) -> Mapping[str, object]:
    """What is settled already is not worth a notice any more; what was sent is not sent again."""
    sent = Notification.objects.select_related("interruption__task__project", "channel").get(pk=notification_id)
    asked = sent.interruption
    if sent.sent_at is not None or not asked.open:
        return {"skipped": True}
    notice = Notice(
        id=f"ao-{sent.pk}",
        priority=asked.priority,
        title=f"{asked.task}: {asked.question}",
        body="\n".join([asked.task.title, *asked.evidence]),
        url=f"{settings.AO_BASE_URL}/tasks/{asked.task_id}/",
    )
    try:
        tools.notifier(sent.channel).notify(notice)
    except PortError as error:
        Notification.objects.filter(pk=sent.pk).update(error=str(error))
        raise
    Notification.objects.filter(pk=sent.pk).update(sent_at=timezone.now(), error="")
    return {"channel": sent.channel.name}


def alert(job_id: int, action: Mapping[str, Any], tools: Toolbox) -> Mapping[str, object]:
    """An alert about a machine or a project, which belongs to no task."""
    channel = NotificationChannel.objects.filter(pk=action["channel"]).first()
    if channel is None:
        return {"skipped": True}
    notice = Notice(
        id=f"ao-alert-{job_id}",
        priority=action.get("priority", "urgent"),
        title=action["title"],
        body=action["body"],
        url=settings.AO_BASE_URL,
    )
    tools.notifier(channel).notify(notice)
    return {"channel": channel.name}
