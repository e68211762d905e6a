"""The JSON Schema of the configuration file, where editors look for it."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from orchestrator.services.configuration.schema import schema_of_file


@login_not_required  # an editor has no login, and the keys are no secret
@require_safe
def file_schema(request: HttpRequest) -> JsonResponse:
    return JsonResponse(schema_of_file(), content_type="application/schema+json")
