"""The addresses of the sockets."""

from __future__ import annotations

from django.urls import URLPattern, path, re_path

from aoweb.dashboard.consumers import BoardSocket, NoSocket, TaskSocket

websocket_urlpatterns: list[URLPattern] = [
    path("ws/board/", BoardSocket.as_asgi()),
    path("ws/tasks/<int:task_id>/", TaskSocket.as_asgi()),
    re_path(r"", NoSocket.as_asgi()),
]
