"""The addresses of the pages."""

from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from aoweb.dashboard import (
    board,
    escalations,
    inbox,
    login,
    new_task,
    projects,
    rulebook,
    task,
    usage,
    waiting,
    why_page,
)
from aoweb.dashboard.action_link import action_link

urlpatterns = [
    path("", board.board, name="board"),
    path("board/<slug:column>/", board.more, name="board-more"),
    path("tasks/new/", new_task.new_task, name="new-task"),
    path("tasks/<int:task_id>/", task.task, name="task"),
    path("tasks/<int:task_id>/diff/", task.task_diff, name="task-diff"),
    path("tasks/<int:task_id>/rules/", rulebook.task_rules, name="task-rules"),
    path("tasks/<int:task_id>/why/", why_page.task_why, name="task-why"),
    path("tasks/<int:task_id>/transcript/<int:turn_id>/", task.transcript, name="task-transcript"),
    *(path(f"tasks/<int:task_id>/{deed}/", task.act, {"deed": deed}, name=f"task-{deed}") for deed in task.DEEDS),
    path("escalations/", escalations.listing, name="escalations"),
    *(
        path(f"escalations/<int:escalation_id>/{deed}/", escalations.act, {"deed": deed}, name=f"escalation-{deed}")
        for deed in escalations.DEEDS
    ),
    path("act/<str:token>/", action_link, name="action-link"),
    path("inbox/", inbox.listing, name="inbox"),
    path("inbox/read/", inbox.mark_read, name="inbox-read"),
    path("inbox/quiet/", inbox.set_quiet, name="inbox-quiet"),
    path("waiting/", waiting.header, name="waiting"),
    path("projects/", projects.projects, name="projects"),
    path("projects/<slug:key>/", projects.project, name="project"),
    path("projects/<slug:key>/rules/", rulebook.project_rules, name="project-rules"),
    path("usage/", usage.usage, name="usage"),
    path("accounts/login/", login.PasswordLogin.as_view(), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("login/<str:token>/", login.one_time_login, name="login-link"),
    path("admin/login/", login.admin_login, name="admin-login"),
]
