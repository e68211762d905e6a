"""The page of what waits for people: who must do what by when, the gravest and oldest first, and what can be done in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Case, IntegerField, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from aoweb.dashboard.actor import actor_of
from aoweb.dashboard.reasons import Origin
from aoweb.dashboard.task_page import Asked
from aoweb.permissions import Verb, verbs_of
from orchestrator.domain.durations import parse_duration
from orchestrator.domain.rules import Priority
from orchestrator.models import Interruption, Project
from orchestrator.services import calling, calls, escalations, notices
from orchestrator.services.events import Actor
from orchestrator.services.tasks import InvalidTask, NotNow

A_PAGE = 50
STATES = {
    "open": "Open",
    "acknowledged": "Someone is on it",
    "snoozed": "Snoozed",
    "resolved": "Resolved",
}
EMPTY = {
    "open": (
        "Nobody is waiting for you",
        "When an agent needs a decision, or something cannot go on by itself, it stands here.",
    ),
    "acknowledged": ("Nothing is being looked at", "What somebody acknowledges stands here until it is resolved."),
    "snoozed": ("Nothing is put off", "What somebody snoozes comes back by itself, when its time is over."),
    "resolved": ("Nothing had to be resolved yet", "What was asked and answered is kept here, with who and how."),
}
SNOOZES = {"1h": "1 hour", "4h": "4 hours", "1d": "1 day", "3d": "3 days"}
_GRAVEST = Case(
    *(When(priority=str(word), then=Value(place)) for place, word in enumerate(Priority)), output_field=IntegerField()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that waits: who is called, what is to be pressed, what happens next, and what the person who looks may do."""

    asked: Interruption
    called: Sequence[str]
    press: str
    next: str
    may_drive: bool
    origin: Origin | None = None

    @property
    def tone(self) -> str:
        return {"urgent": "alarm", "action": "ask", "warning": "warn"}.get(self.asked.priority, "calm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What the person wants to see."""

    state: str
    project: str
    kind: str

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filter:
        state, kind = query.get("state", "open"), query.get("kind", "all")
        return cls(
            state=state if state in STATES else "open",
            project=query.get("project", "")[:40],
            kind=kind if kind == "escalation" else "all",
        )

    def rows(self, rows: QuerySet[Interruption]) -> QuerySet[Interruption]:
        if self.project:
            rows = rows.filter(task__project__key=self.project)
        return rows.filter(escalation=True) if self.kind == "escalation" else rows


def _in_state(rows: QuerySet[Interruption], state: str) -> QuerySet[Interruption]:
    unresolved = rows.filter(resolved_at__isnull=True)
    match state:
        case "acknowledged":
            return unresolved.filter(acknowledged_at__isnull=False)
        case "snoozed":
            return unresolved.filter(snoozed_until__isnull=False)
        case "resolved":
            return rows.filter(resolved_at__isnull=False)
        case _:
            return unresolved.filter(acknowledged_at__isnull=True, snoozed_until__isnull=True)


@never_cache
@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """All of them that the person may see."""
    return _page(request)


def _page(request: HttpRequest, *, problem: str = "", status: int = 200) -> HttpResponse:
    wanted = Filter.of(request.GET.dict())
    rows = wanted.rows(Interruption.objects.visible_to(request.user))
    order = ["-resolved_at"] if wanted.state == "resolved" else [_GRAVEST, "asked_at"]
    found = _in_state(rows, wanted.state).select_related("task__project", "task__requested_by", "acknowledged_by")
    page = Paginator(found.order_by(*order, "pk"), A_PAGE).get_page(request.GET.get("page"))
    title, words = EMPTY[wanted.state]
    context = {
        "page": page,
        "lines": lines_of(request, list(page.object_list)),
        "filter": wanted,
        "states": [(state, label, _in_state(rows, state).count()) for state, label in STATES.items()],
        "projects": Project.objects.visible_to(request.user),
        "empty_title": title,
        "empty_words": words,
        "snoozes": SNOOZES,
        "problem": problem,
        "here": request.get_full_path() if request.method == "GET" else reverse("escalations"),
    }
    return render(request, "ao/escalations.html", context, status=status)


def lines_of_task(request: HttpRequest, asked: Sequence[Asked]) -> list[Line]:
    """What is asked about one task, with where it came from."""
    lines = lines_of(request, [one.row for one in asked])
    return [replace(line, origin=one.origin) for line, one in zip(lines, asked, strict=True)]


def lines_of(request: HttpRequest, rows: Sequence[Interruption]) -> list[Line]:
    """What is asked, as people read it."""
    projects = {row.task.project_id: row.task.project for row in rows}
    plans = {pk: calling.plan_of(project) for pk, project in projects.items()}
    drivable = {pk for pk, project in projects.items() if Verb.DRIVE in verbs_of(request.user, project)}
    return [
        Line(
            asked=row,
            called=[
                person.get_username() for person in calling.called(plans[row.task.project_id], row.task, row.step)[1]
            ]
            if row.open
            else [],
            press=notices.press_words(row),
            next=calls.next_words(row, plans[row.task.project_id]),
            may_drive=row.task.project_id in drivable,
        )
        for row in rows
    ]


def _snooze(asked: Interruption, form: QueryDict, actor: Actor) -> None:
    escalations.snooze(interruption=asked, until=actor.at + _span(form.get("for", "")), actor=actor)


def _span(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except (ValueError, OverflowError) as error:
        raise InvalidTask("for", str(error)) from error


_DEEDS: Mapping[str, tuple[Callable[[Interruption, QueryDict, Actor], None], str]] = {
    "acknowledge": (
        lambda asked, _, actor: escalations.acknowledge(interruption=asked, actor=actor),
        "Acknowledged: you are on it, and nobody is reminded any more.",
    ),
    "snooze": (_snooze, "Snoozed. It comes back by itself."),
    "resolve": (
        lambda asked, form, actor: escalations.resolve(
            interruption=asked, resolution=form.get("resolution", ""), actor=actor
        ),
        "Resolved.",
    ),
}
DEEDS = tuple(_DEEDS)


@never_cache
@require_POST
def act(request: HttpRequest, escalation_id: int, deed: str) -> HttpResponse:
    """Do it, and go back to where the button was; or say why not."""
    asked = get_object_or_404(
        Interruption.objects.visible_to(request.user).select_related("task__project"), pk=escalation_id
    )
    project = asked.task.project
    if Verb.DRIVE not in verbs_of(request.user, project):
        raise PermissionDenied(
            f"As a viewer of {project.key} you may look, but not {deed}. Ask a maintainer to make you a member."
        )
    do, said = _DEEDS[deed]
    try:
        do(asked, request.POST, actor_of(request))
    except NotNow as refusal:
        return _page(request, problem=str(refusal), status=409)
    except InvalidTask as refusal:
        return _page(request, problem=refusal.message, status=422)
    messages.success(request, said)
    return HttpResponseRedirect(_back(request.POST.get("next", "")))


def _back(where: str) -> str:
    """Where the button was: a page of ours, and of nobody else."""
    ours = where.startswith("/") and url_has_allowed_host_and_scheme(where, allowed_hosts=None)
    return where if ours else reverse("escalations")
