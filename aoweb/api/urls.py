"""The addresses of the API, below `/api/v1/`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404
from django.urls import path, re_path, register_converter
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from aoweb.api import (
    access,
    catalogue,
    configuration,
    driving,
    escalations,
    history,
    hosts,
    rulebook,
    tasks,
    workflows,
)
from aoweb.api.base import ApiView


class RowId:
    """The id of a row: digits, and no more of them than an id can have."""

    regex = "[0-9]{1,18}"

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)


register_converter(RowId, "row")


class Nowhere(ApiView):
    """Whatever else is asked for below `/api/v1/`."""

    @extend_schema(exclude=True)
    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        super().initial(request, *args, **kwargs)
        raise Http404

    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response:
        raise Http404

    post = put = patch = delete = get


class Schema(SpectacularAPIView, ApiView):
    """The OpenAPI description of all this."""

    permission_classes = ApiView.permission_classes

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Its own renderers know descriptions only; a problem stays JSON."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            answer.accepted_renderer = JSONRenderer()
            answer.accepted_media_type = JSONRenderer.media_type
        return answer


app_name = "api"
urlpatterns = [
    path("tasks/", tasks.TaskList.as_view(), name="tasks"),
    path("tasks/<row:pk>/", tasks.TaskDetail.as_view(), name="task"),
    path("tasks/<row:pk>/messages/", driving.Messages.as_view(), name="task-messages"),
    path("tasks/<row:pk>/answer/", driving.Answer.as_view(), name="task-answer"),
    path("tasks/<row:pk>/review/", driving.SubmitReview.as_view(), name="task-review"),
    path("tasks/<row:pk>/merge/", driving.Merge.as_view(), name="task-merge"),
    path("tasks/<row:pk>/cancel/", driving.Cancel.as_view(), name="task-cancel"),
    path("tasks/<row:pk>/retry/", driving.Retry.as_view(), name="task-retry"),
    path("tasks/<row:pk>/restart/", driving.Restart.as_view(), name="task-restart"),
    path("tasks/<row:pk>/pause/", driving.Pause.as_view(), name="task-pause"),
    path("tasks/<row:pk>/resume/", driving.Resume.as_view(), name="task-resume"),
    path("tasks/<row:pk>/events/", history.TaskEvents.as_view(), name="task-events"),
    path("tasks/<row:pk>/transcript/", history.TaskTranscript.as_view(), name="task-transcript"),
    path("tasks/<row:pk>/diff/", history.TaskDiff.as_view(), name="task-diff"),
    path("tasks/<row:pk>/why/", history.TaskWhy.as_view(), name="task-why"),
    path("tasks/<row:pk>/rules/", rulebook.TaskRules.as_view(), name="task-rules"),
    path("events/", history.Events.as_view(), name="events"),
    path("projects/", catalogue.Projects.as_view(), name="projects"),
    path("projects/<slug:key>/", catalogue.ProjectDetail.as_view(), name="project"),
    path("projects/<slug:key>/workflow/", workflows.Workflow.as_view(), name="workflow"),
    path("projects/<slug:key>/workflow/versions/", workflows.WorkflowVersions.as_view(), name="workflow-versions"),
    path(
        "projects/<slug:key>/workflow/versions/<row:number>/",
        workflows.WorkflowVersionDetail.as_view(),
        name="workflow-version",
    ),
    path("rules/", catalogue.Rules.as_view(), name="rules"),
    path("rules/versions/", rulebook.RuleVersions.as_view(), name="rule-versions"),
    path("rules/replay/", rulebook.Replay.as_view(), name="rules-replay"),
    path("hosts/", hosts.Hosts.as_view(), name="hosts"),
    path("host-links/", hosts.HostLinks.as_view(), name="host-links"),
    path("hosts/<slug:name>/", hosts.HostDetail.as_view(), name="host"),
    path("escalations/", escalations.Escalations.as_view(), name="escalations"),
    path("escalations/<row:pk>/acknowledge/", escalations.Acknowledge.as_view(), name="escalation-acknowledge"),
    path("escalations/<row:pk>/snooze/", escalations.Snooze.as_view(), name="escalation-snooze"),
    path("escalations/<row:pk>/resolve/", escalations.Resolve.as_view(), name="escalation-resolve"),
    path("notifications/", escalations.Notifications.as_view(), name="notifications"),
    path("channels/", escalations.Channels.as_view(), name="channels"),
    path("inbox/", escalations.Inbox.as_view(), name="inbox"),
    path("inbox/read/", escalations.InboxRead.as_view(), name="inbox-read"),
    path("usage/", catalogue.Usage.as_view(), name="usage"),
    path("config/", configuration.Configuration.as_view(), name="config"),
    path("tokens/", access.Tokens.as_view(), name="tokens"),
    path("tokens/<row:pk>/", access.TokenDetail.as_view(), name="token"),
    path("login-links/", access.LoginLinks.as_view(), name="login-links"),
    path("schema/", Schema.as_view(), name="schema"),
    path("docs/", login_required(SpectacularSwaggerSplitView.as_view(url_name="api:schema")), name="docs"),
    re_path(r"", Nowhere.as_view()),
]
