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
from orchestrator.ports import PullRequestSeen
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


def test_no_more_comes_along_than_the_last_question_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "A_QUESTION", 4)
    project, now = scenes.project(base_sha="c" * 40), timezone.now()  # it moved, for all of them
    numbers = [pull(project, poll_at=now + timedelta(minutes=9 - n)) for n in range(9)]
    due = pull(project, poll_at=now)
    assert looked_at() == sorted([due, *numbers[-3:]])


def test_what_was_rung_for_is_decided_on_before_the_others_of_a_large_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "DECIDED_TOGETHER", 2)
    decided: list[Sequence[int]] = []
    monkeypatch.setattr(looks.runner, "decide_on_many", decided.append)
    project, now = scenes.project(base_sha=BASE), timezone.now()
    early = [pull(project, poll_at=now - timedelta(minutes=1)) for _ in range(4)]
    rung = pull(project, poll_at=now, rung_at=now, observed_at=now - timedelta(minutes=5))

    def observe(numbers: Sequence[int], **_: object) -> list[PullRequestSeen]:
        return [
            scenes.seen(one, head_sha="d" * 40) for one in PullRequest.objects.filter(number__in=numbers).order_by("pk")
        ]

    looks.observe_due_pull_requests(replace(toolbox.real(), scm=lambda _: SimpleNamespace(observe=observe)))
    tasks = dict(PullRequest.objects.values_list("number", "task"))
    assert decided == [[tasks[rung]], *([tasks[one] for one in early[n : n + 2]] for n in (0, 2))]
