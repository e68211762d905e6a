"""Which pull requests are looked at together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from orchestrator.models import Project, PullRequest
from tests.web import scenes
from workers import looks, toolbox

pytestmark = pytest.mark.django_db(transaction=True)
BASE = "b" * 40


def looked_at() -> list[int]:
    """The numbers that the forge is asked about in one question."""
    asked: list[int] = []

    def observe(numbers: Sequence[int], **_: object) -> list[Any]:
        asked.extend(numbers)
        return []

    looks.observe_due_pull_requests(replace(toolbox.real(), scm=lambda _: SimpleNamespace(observe=observe)))
    return asked


def pull(project: Project, **fields: object) -> int:
    """The number of a pull request of which everything is known and which is not due for an hour, but for these."""
    made = scenes.pull(scenes.task(project))
    now = timezone.now()
    known = {"poll_at": now + timedelta(hours=1), "observed_at": now, "mergeable": True, "base_sha": BASE}
    PullRequest.objects.filter(pk=made.pk).update(**known | fields)
    return made.number


def test_what_was_rung_for_and_what_is_not_known_of_this_base_comes_along_with_what_is_due() -> None:
    project, now = scenes.project(base_sha=BASE), timezone.now()
    pull(project)
    along = [
        pull(project, rung_at=now + timedelta(seconds=1)),
        pull(project, mergeable=None),
        pull(project, base_sha="a" * 40),
        pull(project, poll_at=now + looks.TOGETHER / 2),
    ]
    assert looked_at() == []
    due = pull(project, poll_at=now)
    assert looked_at() == [*along, due]
