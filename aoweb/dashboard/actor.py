"""Who makes a request, as the services record it."""

from __future__ import annotations

from typing import cast

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils import timezone

from orchestrator.services.events import Actor


def actor_of(request: HttpRequest) -> Actor:
    """The logged-in person behind a request."""
    user = cast(User, request.user)
    address = str(request.META.get("REMOTE_ADDR", ""))
    return Actor(user=user, name=user.get_username(), address=address, at=timezone.now())
