"""Many pull requests are asked about in short: what has moved shows, and is then asked about at length."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from orchestrator.ports import PullRequestSeen, PullState
from tests.fakegithub.world import ROBOT, World
from tests.github.conftest import Scene
from workers.plugins.scms.github import glances, queries

LONG_AGO = "2026-01-05T12:00:00Z"
MANY = queries.AT_ONCE + 2  # so that a glance at all of them is cheaper


def _many(scene: Scene) -> list[int]:
    """So many open pull requests of which nothing has moved for long; each has had a green check."""
    scene.push()
    world = scene.github.world
    world.people["grace"] = "write"
    numbers = []
    for n in range(MANY):
        name = f"b/{n}"
        world.git("update-ref", f"refs/heads/{name}", scene.clone.head)
        pull = world.open_pull(ROBOT, title=name, body="", head=name, base="main")
        pull.updated_at = LONG_AGO
        numbers.append(pull.number)
    world.check(scene.clone.head, "ci", "success")
    return numbers


def _look(
    scene: Scene, numbers: list[int], told: Mapping[int, datetime | None] | None = None
) -> tuple[dict[int, PullRequestSeen], list[str]]:
    """What was seen, and the names of the queries that were asked for it."""
    scene.github.queries.clear()
    seen = {one.number: one for one in scene.forge.observe(numbers, told=told)}
    names = [re.findall(r"query (\w+)", query)[0] for query in scene.github.queries]
    return seen, [name for name in names if name != "viewer"]


def test_what_has_not_moved_costs_one_point_and_is_seen_as_before(scene: Scene) -> None:
    numbers = _many(scene)
    first, asked = _look(scene, numbers)
    assert asked == ["pulls", "pulls"]
    spent = scene.github.quota.points["graphql"]
    again, asked = _look(scene, numbers)
    assert asked == ["glances"]
    assert scene.github.quota.points["graphql"] - spent == 1
    at = again[numbers[0]].observed_at
    assert {n: _without_time(one) for n, one in again.items()} == {n: _without_time(one) for n, one in first.items()}
    assert {one.observed_at for one in again.values()} == {at}


def _without_time(seen: PullRequestSeen) -> object:
    return seen.head_sha, seen.state, seen.mergeable, seen.checks, seen.reviews, seen.comments, seen.base_sha, seen.url


def _push(world: World, number: int) -> None:
    world.pulls[number].head_sha = world.git("rev-parse", "main")
    world.touch(world.pulls[number], "pull_request", "synchronize")


def _close(world: World, number: int) -> None:
    world.end(world.pulls[number], "closed")


@pytest.mark.parametrize(
    ("act", "shows"),
    [
        (_push, lambda seen: seen.checks == ()),
        (_close, lambda seen: seen.state is PullState.CLOSED),
        (lambda world, number: world.review("grace", number, "APPROVED"), lambda seen: len(seen.reviews) == 1),
        (
            lambda world, number: world.review("grace", number, "COMMENTED", "", [("calc.py", 1, "why?")]),
            lambda seen: [one.body for one in seen.comments] == ["why?"],
        ),
        (lambda world, number: world.check(world.pulls[number].head_sha, "e2e"), lambda seen: len(seen.checks) == 2),
    ],
)
def test_whatever_happens_to_one_of_many_is_seen_with_the_next_look(
    scene: Scene, act: Callable[[World, int], object], shows: Callable[[PullRequestSeen], bool]
) -> None:
    numbers = _many(scene)
    _look(scene, numbers)
    act(scene.github.world, numbers[3])
    seen, asked = _look(scene, numbers)
    assert asked[:2] == ["glances", "pulls"]
    assert shows(seen[numbers[3]])


def test_what_moved_a_moment_ago_may_move_again_within_the_same_second(scene: Scene) -> None:
    numbers = _many(scene)
    pull = scene.github.world.pulls[numbers[3]]
    scene.github.world.review("grace", pull.number, "COMMENTED", "first")
    same = pull.updated_at
    _look(scene, numbers)
    scene.github.world.review("grace", pull.number, "APPROVED")
    pull.updated_at = same
    assert [one.decision for one in _look(scene, numbers)[0][pull.number].reviews] == ["comment", "approve"]


def test_whether_it_can_be_merged_is_told_by_a_glance(scene: Scene) -> None:
    numbers = _many(scene)
    _look(scene, numbers)
    scene.github.world.thinking = True
    seen, asked = _look(scene, numbers)
    assert ({one.mergeable for one in seen.values()}, asked) == ({None}, ["glances"])


def test_a_pull_request_that_waits_for_a_thread_to_be_settled_is_asked_about_at_length(scene: Scene) -> None:
    numbers = _many(scene)
    world = scene.github.world
    world.review("grace", numbers[0], "COMMENTED", "", [("calc.py", 1, "why?")])
    world.pulls[numbers[0]].updated_at = LONG_AGO
    _look(scene, numbers)
    world.resolve(next(iter(world.threads)))
    seen, _ = _look(scene, numbers)
    assert [one.resolved for one in seen[numbers[0]].comments] == [True]


def test_where_webhooks_tell_of_everything_a_glance_is_enough_until_they_have(scene: Scene) -> None:
    numbers = _many(scene)
    world, number = scene.github.world, numbers[0]
    world.review("grace", number, "COMMENTED", "first")
    same = world.pulls[number].updated_at
    told = dict.fromkeys(numbers, timezone.now() - timedelta(minutes=1))
    _look(scene, numbers, told)
    assert _look(scene, numbers, told)[1] == ["glances"]
    world.review("grace", number, "APPROVED")
    world.pulls[number].updated_at = same  # it came within the same second
    seen, asked = _look(scene, numbers, {**told, number: timezone.now()})
    assert asked == ["glancesAndPulls"]
    assert [one.decision for one in seen[number].reviews] == ["comment", "approve"]


def test_what_another_process_was_told_of_is_not_answered_from_what_is_known_here(scene: Scene) -> None:
    numbers = _many(scene)
    _look(scene, numbers, {})
    _, asked = _look(scene, numbers, {numbers[1]: timezone.now() + timedelta(seconds=1)})
    assert asked == ["glancesAndPulls"]


def _talk(scene: Scene, numbers: list[int], *, times: int = 1) -> None:
    for number in numbers:
        remarks = [("calc.py", 1, f"{number}, {n}?") for n in range(times)]
        scene.github.world.review("grace", number, "COMMENTED", "", remarks)


def test_the_words_of_a_few_come_along_for_one_point(scene: Scene) -> None:
    numbers = _many(scene)[:5]
    _talk(scene, numbers[:2], times=queries.WORDED)
    spent = scene.github.quota.points["graphql"]
    seen, asked = _look(scene, numbers)
    assert asked == ["pulls"]
    assert scene.github.quota.points["graphql"] - spent == 2  # and who we are
    assert [one.body for one in seen[numbers[1]].comments] == [f"{numbers[1]}, {n}?" for n in range(queries.WORDED)]


def test_where_there_is_no_room_for_all_words_those_come_along_of_which_was_told(scene: Scene) -> None:
    numbers = _many(scene)[:40]
    _talk(scene, numbers[1:2])
    seen, asked = _look(scene, numbers, {numbers[1]: timezone.now()})
    assert asked == ["pulls"]
    assert [one.body for one in seen[numbers[1]].comments] == [f"{numbers[1]}, 0?"]


def test_of_whom_there_is_no_room_the_words_are_asked_for(scene: Scene) -> None:
    numbers = _many(scene)[:40]
    _talk(scene, numbers[1:2])
    seen, asked = _look(scene, numbers, {numbers[0]: timezone.now()})
    assert asked == ["pulls", "threads"]
    assert [one.body for one in seen[numbers[1]].comments] == [f"{numbers[1]}, 0?"]


def test_the_words_of_more_threads_than_come_along_are_asked_for(scene: Scene) -> None:
    numbers = _many(scene)[:1]
    _talk(scene, numbers, times=queries.WORDED + 1)
    seen, asked = _look(scene, numbers)
    assert asked == ["pulls", "threads"]
    assert len(seen[numbers[0]].comments) == queries.WORDED + 1


def test_what_is_known_is_asked_at_length_again_after_a_while_which_is_longer_where_webhooks_tell(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = _many(scene)
    _look(scene, numbers)
    monkeypatch.setattr(glances, "HELD_FOR", timedelta())
    assert _look(scene, numbers, {})[1] == ["glances"]
    assert _look(scene, numbers)[1] == ["pulls", "pulls"]
    monkeypatch.setattr(glances, "HELD_WHERE_TOLD", timedelta())
    assert _look(scene, numbers, {})[1] == ["pulls", "pulls"]
