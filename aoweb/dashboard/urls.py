"""The addresses of the pages."""

from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from aoweb.dashboard import board, incidents, login, new_task, projects, task

urlpatterns = [
    path("", board.board, name="board"),
    path("board/<slug:column>/", board.more, name="board-more"),
    path("tasks/new/", new_task.new_task, name="new-task"),
    path("tasks/<int:task_id>/", task.task, name="task"),
    path("tasks/<int:task_id>/diff/", task.task_diff, name="task-diff"),
    path("tasks/<int:task_id>/transcript/<int:turn_id>/", task.transcript, name="task-transcript"),
    *(path(f"tasks/<int:task_id>/{deed}/", task.act, {"deed": deed}, name=f"task-{deed}") for deed in task.DEEDS),
    *(
        path(f"incidents/<int:incident_id>/{deed}/", incidents.act, {"deed": deed}, name=f"incident-{deed}")
        for deed in incidents.DEEDS
    ),
    path("projects/", projects.projects, name="projects"),
    path("projects/<slug:key>/", projects.project, name="project"),
    path("accounts/login/", login.PasswordLogin.as_view(), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("login/<str:token>/", login.one_time_login, name="login-link"),
    path("admin/login/", login.admin_login, name="admin-login"),
]
