"""The page of a task, its large parts, and what people can do there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, QueryDict
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from aoweb.dashboard import diff, escalations, journal, reading, task_page
from aoweb.dashboard.actor import actor_of
from aoweb.permissions import Verb, verbs_of
from orchestrator.models import Task, Turn
from orchestrator.services import diffs, pausing, reviews, tasks
from orchestrator.services.events import Actor
from orchestrator.services.reviews import NewComment
from orchestrator.services.tasks import InvalidTask, NotNow


def visible(request: HttpRequest, task_id: int) -> Task:
    """The task, or 404 for whoever is no member of its project."""
    tasks_of_user = Task.objects.visible_to(request.user).select_related("project", "requested_by")
    return get_object_or_404(tasks_of_user, pk=task_id)


@never_cache
@require_safe
def task(request: HttpRequest, task_id: int) -> HttpResponse:
    """The page. What scripts add is live tails, tabs and relative times; without them everything is still here."""
    return _page(request, visible(request, task_id))


def _page(
    request: HttpRequest, found: Task, *, typed: Mapping[str, str] | None = None, problem: str = "", status: int = 200
) -> HttpResponse:
    page = task_page.gather(found, can=verbs_of(request.user, found.project))
    context = {
        "page": page,
        "task": found,
        "typed": typed or {},
        "problem": problem,
        "lines": escalations.lines_of_task(request, page.interruptions),
        "snoozes": escalations.SNOOZES,
        "here": reverse("task", args=[found.pk]),
    }
    return render(request, "ao/task.html", context, status=status)


@never_cache
@require_safe
def task_diff(request: HttpRequest, task_id: int) -> HttpResponse:
    """The change, drawn."""
    found = visible(request, task_id)
    stored = diffs.read(task=found)
    page = task_page.gather(found, can=verbs_of(request.user, found.project))
    comments = page.pull.comments.order_by("id") if page.pull else ()
    change = diff.parse(stored.text, comments) if stored else None
    return render(request, "ao/diff.html", {"page": page, "task": found, "stored": stored, "change": change})


@never_cache
@require_safe
def transcript(request: HttpRequest, task_id: int, turn_id: int) -> HttpResponse:
    """A page of what the agent's program wrote in a turn: from the byte `after` on, up to the byte `before`, or the last page. It is told
    as people read it, with `raw=1` as it stands; scripts ask for JSON, and whoever follows the link gets a page."""
    found = visible(request, task_id)
    turn = get_object_or_404(Turn.objects.select_related("session"), pk=turn_id, session__task=found)
    raw = request.GET.get("raw") == "1"
    asked = {"after": _offset(request, "after"), "before": _offset(request, "before")}
    page = journal.page(turn, **asked) if raw else reading.page(turn, **asked)
    if "text/html" in request.headers.get("Accept", ""):
        context = {"task": found, "turn": turn, "page": page, "raw": raw}
        return render(request, "ao/transcript_page.html", context)
    told = {"start": page.start, "next": page.next, "size": page.size, "live": page.live, "dropped": page.dropped}
    if isinstance(page, journal.Page):
        return JsonResponse({**told, "text": page.text})
    return JsonResponse({**told, "html": render_to_string("ao/transcript.html", {"entries": page.entries})})


def _offset(request: HttpRequest, name: str) -> int | None:
    text = request.GET.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Http404
    return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Something a person can do to a task: the right it takes, how it is done, and what is said afterwards."""

    verb: Verb
    do: Callable[[Task, QueryDict, Actor], object]
    said: str


def _send(task: Task, form: QueryDict, actor: Actor) -> None:
    tasks.send(task=task, text=form.get("text", ""), key=form.get("key") or None, actor=actor)


def _answer(task: Task, form: QueryDict, actor: Actor) -> None:
    words = form.get("answer", "").strip() or form.get("option", "")
    tasks.answer(task=task, request_id=form.get("request_id", ""), answer=words, actor=actor)


def _review(task: Task, form: QueryDict, actor: Actor) -> None:
    line = form.get("line", "")
    comments = []
    if form.get("comment") or form.get("path"):
        if not form.get("comment", "").strip():
            raise InvalidTask("comment", "write what should be different on this line")
        number = int(line) if line.isascii() and line.isdigit() and 0 < len(line) < 8 else None
        comments = [NewComment(path=form.get("path", ""), line=number, body=form.get("comment", ""))]
    reviews.submit_review(
        task=task,
        decision=form.get("decision", ""),
        body=form.get("body", ""),
        comments=comments,
        head_sha=form.get("head_sha", ""),
        actor=actor,
    )


def _merge(task: Task, form: QueryDict, actor: Actor) -> None:
    shown = form.get("head_sha", "")
    if not shown:
        raise NotNow("say which head is to be merged: look again")
    tasks.request_merge(task=task, actor=actor, head_sha=shown)


def _resolve(task: Task, form: QueryDict, actor: Actor) -> None:
    reviews.resolve_thread(task=task, thread=form.get("thread", ""), actor=actor)


DEEDS: Mapping[str, Deed] = {
    "send": Deed(verb=Verb.DRIVE, do=_send, said="Sent. The agent reads it with its next turn."),
    "answer": Deed(verb=Verb.DRIVE, do=_answer, said="Answered."),
    "review": Deed(verb=Verb.REVIEW, do=_review, said="Your review is recorded."),
    "resolve": Deed(verb=Verb.REVIEW, do=_resolve, said="The thread is resolved."),
    "merge": Deed(verb=Verb.MERGE, do=_merge, said="It will be merged: exactly this head, or not at all."),
    "cancel": Deed(
        verb=Verb.DRIVE,
        do=lambda task, _form, actor: tasks.cancel(task=task, actor=actor),
        said="It is being cancelled.",
    ),
    "retry": Deed(
        verb=Verb.DRIVE, do=lambda task, _form, actor: tasks.retry(task=task, actor=actor), said="It goes on."
    ),
    "restart": Deed(
        verb=Verb.DRIVE,
        do=lambda task, _form, actor: tasks.restart(task=task, actor=actor),
        said="A new session takes over.",
    ),
    "pause": Deed(
        verb=Verb.DRIVE,
        do=lambda task, _form, actor: pausing.pause(task=task, actor=actor),
        said="Paused: no further turn begins until somebody resumes it.",
    ),
    "resume": Deed(
        verb=Verb.DRIVE, do=lambda task, _form, actor: pausing.resume(task=task, actor=actor), said="It goes on."
    ),
}


@never_cache
@require_POST
def act(request: HttpRequest, task_id: int, deed: str) -> HttpResponse:
    """Do it, or say why not; what was typed is still there then."""
    found = visible(request, task_id)
    chosen = DEEDS[deed]
    if chosen.verb not in verbs_of(request.user, found.project):
        raise PermissionDenied(
            f"As a viewer of {found.project.key} you may look, but not {deed}. Ask a maintainer to make you a member."
        )
    try:
        chosen.do(found, request.POST, actor_of(request))
    except NotNow as refusal:
        return _page(request, found, typed=request.POST.dict(), problem=str(refusal), status=409)
    except InvalidTask as refusal:
        return _page(request, found, typed=request.POST.dict(), problem=refusal.message, status=422)
    messages.success(request, chosen.said)
    anchor = "#changes" if request.POST.get("path") else ""
    return HttpResponseRedirect(reverse("task", args=[found.pk]) + anchor)
