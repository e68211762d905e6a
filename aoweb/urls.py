"""All addresses of the web. Everything needs a login except the login pages, static files and the health endpoints."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from aoweb.api.file_schema import file_schema
from aoweb.api.health import healthz, readyz
from aoweb.dashboard.flower import flower
from aoweb.webhooks.github import github

handler500 = "aoweb.errors.server_error"

urlpatterns = [
    path("", include("aoweb.dashboard.urls")),
    path("api/v1/", include("aoweb.api.urls")),
    path("webhooks/github/", github, name="github-webhook"),
    path("schema/agent-orchestrator.json", file_schema, name="file-schema"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("flower/", flower, name="flower"),
    path("flower/<path:path>", flower, name="flower-page"),
    path("admin/", admin.site.urls),
]
