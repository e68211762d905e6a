"""What every view of the API shares: who asks, what they may see, how errors look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from django.contrib.auth.models import User
from django.http import Http404
from django.utils import timezone
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import IsAuthenticated
from rest_framework.views import APIView

from aoweb.api import problems
from aoweb.api.authentication import TokenMayWrite
from aoweb.api.parsing import CappedJSONParser
from aoweb.permissions import Verb, may
from orchestrator.models import Project, Task
from orchestrator.services.events import Actor

S = TypeVar("S", bound=serializers.Serializer[Any])


class ApiView(APIView):
    """A view of the API: answers JSON, and problem+json where it cannot."""

    permission_classes = (IsAuthenticated, TokenMayWrite)
    parser_classes = (CappedJSONParser,)

    def get_exception_handler(self) -> Callable[..., Any]:
        return problems.handle

    @property
    def user(self) -> User:
        """Who asks; authentication made sure that it is somebody."""
        return cast(User, self.request.user)

    def actor(self) -> Actor:
        """Who asks, for the history."""
        address = str(self.request.META.get("REMOTE_ADDR", ""))[:64]
        return Actor(user=self.user, name=self.user.get_username(), address=address, at=timezone.now())

    def body(self, shape: type[S]) -> dict[str, Any]:
        """The validated body. Raises `ValidationError` that names the field."""
        return _validated(shape(data=self.request.data))

    def query(self, shape: type[S]) -> dict[str, Any]:
        """The validated query parameters."""
        return _validated(shape(data=self.request.query_params))

    def find_task(self, pk: int, verb: Verb = Verb.SEE) -> Task:
        """The task, if the asker may see it (else 404) and do this with it (else 403)."""
        task = Task.objects.visible_to(self.user).select_related("project").filter(pk=pk).first()
        if task is None:
            raise Http404
        self.require(task.project, verb)
        return task

    def find_project(self, key: str, verb: Verb = Verb.SEE) -> Project:
        """The project, likewise."""
        project = Project.objects.visible_to(self.user).filter(key=key).first()
        if project is None:
            raise Http404
        self.require(project, verb)
        return project

    def require(self, project: Project, verb: Verb) -> None:
        """Raises `PermissionDenied` when the asker's role does not go that far."""
        if verb is not Verb.SEE and not may(self.user, project, verb):
            raise PermissionDenied(f"Your role in {project.key} does not let you {verb}.")

    def require_superuser(self) -> None:
        """For what concerns the whole installation."""
        if not self.user.is_superuser:
            raise PermissionDenied("Only a superuser may do this.")


def _validated(serializer: serializers.Serializer[Any]) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)
