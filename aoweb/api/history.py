"""What happened: events, transcripts, diffs, and why the system did what it did."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from aoweb.api import represent
from aoweb.api.answer_shapes import DiffShape, EventShape, Transcript, WhyPage
from aoweb.api.base import ApiView
from aoweb.api.documenting import PAGE, integer, lists, page, reads
from aoweb.api.pagination import limit_of, number_of, page_of
from orchestrator.models import DecisionRecord, Event, Project, Task, Turn
from orchestrator.services import diffs, transcripts, why


class Events(ApiView):
    """Everything that happened, oldest first. `next` is always there: ask it again, and nothing is missed or told twice."""

    @reads("events_list", page(EventShape), parameters=[integer("after", "The cursor."), integer("limit", "How many.")])
    def get(self, request: Request) -> Response:
        after, limit = number_of(request, "after", 0), limit_of(request)
        rows = Event.objects.settled().filter(pk__gt=after).select_related("project").order_by("pk")
        if not self.user.is_superuser:
            visible = Project.objects.visible_to(self.user).values("pk")
            rows = rows.filter(project__in=visible)
        found = list(rows[:limit])
        onward = replace_query_param(request.build_absolute_uri(), "after", str(found[-1].pk if found else after))
        return Response({"next": onward, "previous": None, "results": [represent.event(row) for row in found]})


class TaskEvents(ApiView):
    """The history of one task, oldest first."""

    @lists("tasks_events_list", EventShape)
    def get(self, request: Request, pk: int) -> Response:
        rows = Event.objects.filter(task=self.find_task(pk)).select_related("project")
        found = page_of(request, rows, newest_first=False)
        return Response(found.answer([represent.event(row) for row in found.rows]))


class TaskWhy(ApiView):
    """Why it stands where it stands now, in a sentence; and decisions, newest first: facts seen -> rule -> action, or the reason for none."""

    @reads("tasks_why_list", WhyPage, parameters=PAGE)
    def get(self, request: Request, pk: int) -> Response:
        task = self.find_task(pk)
        now = why.standing(task=task, now=timezone.now())
        found = page_of(request, DecisionRecord.objects.filter(task=task).defer("facts"))
        told = {"sentence": now.sentence, "why": list(now.why), "wake_at": now.wake_at}
        return Response({"now": told, **found.answer([represent.decision(row) for row in found.rows])})


class TaskDiff(ApiView):
    """What the task's branch changes; empty until something was published."""

    @reads("tasks_diff", DiffShape)
    def get(self, request: Request, pk: int) -> Response:
        kept = diffs.read(task=self.find_task(pk))
        if kept is None:
            return Response({"base_sha": "", "head_sha": "", "text": "", "truncated": False})
        return Response(
            {"base_sha": kept.base_sha, "head_sha": kept.head_sha, "text": kept.text, "truncated": kept.truncated}
        )


class TaskTranscript(ApiView):
    """What the agent wrote in one turn, from a byte offset on. The newest turn, unless `session` (its epoch) and `turn` name another."""

    @reads(
        "tasks_transcript",
        Transcript,
        parameters=[
            integer("after", "The offset in bytes, as `next` gave it."),
            integer("session", "The session's epoch."),
            integer("turn", "The turn's number."),
        ],
    )
    def get(self, request: Request, pk: int) -> Response:
        task = self.find_task(pk)
        after = number_of(request, "after", 0)
        turns = list(_turns(task))
        turn = _chosen(turns, number_of(request, "session", 0), number_of(request, "turn", 0))
        told: dict[str, Any] = {
            "session": None,
            "turn": None,
            "agent": "",
            "live": False,
            "text": "",
            "next": after,
            "dropped": 0,
            "turns": [
                {
                    "session": one.session.epoch,
                    "turn": one.n,
                    "agent": one.session.agent,
                    "live": one.ended_at is None,
                }
                for one in turns
            ],
        }
        if turn is not None:
            data, onward = transcripts.read(run=turn.run_id, after=after)
            # A character may be cut in two by the end of what has arrived: its first half waits for the second.
            kept = len(data) if turn.ended_at is not None and onward >= turn.journal_size else _whole(data)
            told |= {
                "session": turn.session.epoch,
                "turn": turn.n,
                "agent": turn.session.agent,
                "live": turn.ended_at is None,
                "text": data[:kept].decode("utf-8", "replace"),
                "next": onward - (len(data) - kept),
                "dropped": turn.dropped,
            }
        return Response(told)


def _turns(task: Task) -> Any:
    return (
        Turn.objects.filter(Q(session__task=task))
        .select_related("session")
        .only("n", "ended_at", "journal_size", "dropped", "session__epoch", "session__agent")
        .order_by("session__epoch", "n")
    )


def _chosen(turns: list[Turn], epoch: int, n: int) -> Turn | None:
    fitting = [one for one in turns if (not epoch or one.session.epoch == epoch) and (not n or one.n == n)]
    return fitting[-1] if fitting else None


def _whole(data: bytes) -> int:
    """How many bytes of `data` end with a whole UTF-8 character; broken ones in the middle are not looked at."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        needed = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return len(data) - back if needed > back else len(data)
    return len(data)
