"""A day of many open pull requests, with a clock that is moved: who does what and when, and what it costs to see it.

What decides when to look, what asks, and the budget are the real ones; what answers is the fake GitHub, which charges by the published rules.
Only decisions on tasks are left out, since there is no agent.

An hour of work (8 to 18 o'clock) of a thousand open pull requests, of which 45 % have lain there for more than a day: 36 are opened, 36 are pushed
to by people, 70 are reviewed (half of them approved and then merged by us; a third get two remarks, which the agent answers and
settles with a push), 30 remarks more. Each new head has a suite of four checks that take 2 to 12 minutes; one in seven is red, which is pushed to
again. At night it is a twelfth of it.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db.models import Min, QuerySet
from django.utils import timezone

from orchestrator import doorbell
from orchestrator.models import Check, Comment, Project, PullRequest, Review, Task
from orchestrator.ports import Proposal, Unavailable
from orchestrator.services import deliveries, projects, pull_requests, sessions
from tests.fakegithub import world as worlds
from tests.fakegithub.server import FakeGitHub
from tests.fakegithub.world import ROBOT, ROBOT_TOKEN, Pull
from tests.github.busy import REVIEWERS, Busy, repositories
from workers import looks, runner, toolbox, watch
from workers.git.mirror import Mirror
from workers.plugins.scms.github import budget, client, people
from workers.plugins.scms.github.forge import GitHubForge
from workers.plugins.scms.github.project import forge

BEGIN = datetime(2030, 3, 5, tzinfo=UTC)
WORK = range(8, 18)  # hours
AT_NIGHT = 1 / 12
# What happens in an hour of work to a thousand pull requests.
HOURLY = {"opened": 36, "pushed": 36, "reviewed": 70, "remarked": 30}
EACH = 100  # pull requests in a repository
CHECKS = ("lint", "unit", "e2e", "build")
LOST = 0.002  # of webhooks
SWEEP = timedelta(seconds=watch.OUTSIDE_EVERY)


@dataclass(slots=True)
class Bill:
    """What it cost, hour by hour, and how late what happened was seen: seconds, by what it was."""

    pulls: int
    points: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    late: dict[str, list[float]] = field(default_factory=dict)
    writes: int = 0
    points_of_writes: int = 0
    starved: list[str] = field(default_factory=list)
    refused: int = 0
    unseen: int = 0
    happened: Counter[str] = field(default_factory=Counter)

    @property
    def points_each(self) -> float:
        """Points per pull request and hour."""
        return sum(self.points) / self.pulls / len(self.points)

    @property
    def all_late(self) -> list[float]:
        return [one for kind in self.late.values() for one in kind]


@dataclass(slots=True)
class Place:
    """A repository, its project here, and how both are reached."""

    github: FakeGitHub
    project: Project
    forge: GitHubForge

    @property
    def world(self) -> Busy:
        assert isinstance(self.github.world, Busy)
        return self.github.world


@dataclass(slots=True)
class Day:
    """The world's agenda and the loop that looks at it."""

    github: FakeGitHub
    places: Sequence[Place]
    bill: Bill
    with_webhooks: bool
    now: datetime = BEGIN
    chance: random.Random = field(default_factory=lambda: random.Random(12))
    rung: bool = False
    said: Callable[[str], None] = lambda _: None  # hears what each hour cost
    _agenda: list[tuple[datetime, int, Callable[[], None]]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=itertools.count)
    _awaited: dict[str, dict[str, datetime]] = field(default_factory=dict)
    _told: dict[int, int] = field(default_factory=dict)

    # --- the loop ---

    def live(self, hours: float, *, begin: datetime) -> None:
        """Let so many hours pass."""
        self.now, end = begin, begin + timedelta(hours=hours)
        tools = replace(toolbox.real(), scm=self._forge_of)
        self._at(timedelta(), self._plan_the_hour)
        spent, asked = self._spent()
        hour = begin + timedelta(hours=1)
        while self.now < end:
            while self._agenda and self._agenda[0][0] <= self.now:
                heapq.heappop(self._agenda)[2]()
                self._tell()
            if self.rung or (self.now - BEGIN) % SWEEP == timedelta():
                self.rung = False
                looks.observe_due_pull_requests(tools)
                self._notice()
            self.now = min(self._next(), end)
            if self.now >= hour:
                points, calls = self._spent()
                self.bill.points.append(points - spent)
                self.bill.calls.append(calls - asked)
                self.said(f"{hour:%H:%M}: {points - spent} points, {calls - asked} calls")
                spent, asked, hour = points, calls, hour + timedelta(hours=1)
        self.bill.refused = self.github.quota.refused
        self.bill.unseen = sum(
            at < end - timedelta(minutes=16) for kind in self._awaited.values() for at in kind.values()
        )

    def _next(self) -> datetime:
        due = PullRequest.objects.filter(state="open").aggregate(at=Min("poll_at"))["at"] or self.now
        swept = BEGIN - (BEGIN - max(due, self.now + timedelta(microseconds=1))) // SWEEP * SWEEP
        return min(swept, *(at for at, _, _ in self._agenda[:1]))

    def _spent(self) -> tuple[int, int]:
        quota = self.github.quota
        return quota.points["graphql"], sum(quota.calls.values())

    def _forge_of(self, row: Project) -> GitHubForge:
        return next(place.forge for place in self.places if place.project.pk == row.pk)

    def _at(self, after: timedelta, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now + after, next(self._order), act))

    def _minutes(self, least: float, most: float) -> timedelta:
        return timedelta(seconds=round(self.chance.uniform(least, most) * 60))

    # --- webhooks ---

    def ring(self, after: timedelta = timedelta()) -> None:
        """Let the loop look, `after` so long."""
        if after > timedelta():
            self._at(after, self.ring)
        else:
            self.rung = True

    def _tell(self) -> None:
        """What the repositories have heard goes out as webhooks, which take a second or three."""
        for place in self.places:
            heard = place.world.heard[self._told.get(place.project.pk, 0) :]
            self._told[place.project.pk] = len(place.world.heard)
            for event, action, about in heard if self.with_webhooks else ():
                if self.chance.random() >= LOST:
                    payload = _payload(place.world, event, action, about)
                    self._at(self._minutes(1 / 60, 3 / 60), self._delivery(event, payload))

    def _delivery(self, event: str, payload: dict[str, Any]) -> Callable[[], None]:
        def arrive() -> None:
            self.bill.happened["webhooks"] += 1
            name = f"{self.bill.happened['webhooks']}"
            deliveries.take_in(delivery=name, event=event, payload=payload, speaks_for=None, now=self.now)

        return arrive

    # --- what people and programs do ---

    def _plan_the_hour(self) -> None:
        share = 1.0 if self.now.hour in WORK else AT_NIGHT
        acts = {
            "opened": self._open,
            "pushed": self._push_somewhere,
            "reviewed": self._review,
            "remarked": self._remark,
        }
        for kind, act in acts.items():
            wanted = HOURLY[kind] * share * self.bill.pulls / 1000
            for _ in range(int(wanted) + (self.chance.random() < wanted % 1)):
                self._at(self._minutes(0, 60), act)
        self._at(timedelta(hours=1), self._plan_the_hour)

    def _some(self) -> tuple[Place, Pull]:
        """An open pull request; most of what happens happens to the newer half of them."""
        place = self.chance.choice(self.places)
        pulls = [pull for pull in place.world.pulls.values() if pull.state == "open"]
        return place, self.chance.choice(pulls[len(pulls) // 2 :] if self.chance.random() < 0.9 else pulls)

    def _open(self) -> None:
        place, name = self.chance.choice(self.places), f"b/new-{next(self._order)}"
        place.world.branches[name] = sha = _sha(name)
        proposal = Proposal(branch=name, base_branch="main", head_sha=sha, title=name, body="", marker=name)
        task = Task.objects.create(
            project=place.project, number=next(self._order) + 1_000_000, title=name, agent="command", branch=name
        )
        place.world.known_at[max(place.world.pulls) + 1] = None
        seen = self._write("opened", lambda: place.forge.open_pull_request(proposal))
        if seen is not None:
            pull_requests.record(task=task, seen=seen, now=self.now)
            self._checks(place, place.world.pulls[seen.number])

    def _push_somewhere(self) -> None:
        self._push(*self._some(), by_agent=False)

    def _push(self, place: Place, pull: Pull, *, by_agent: bool = True) -> None:
        if pull.state != "open":
            return
        self.bill.happened["pushed"] += 1
        world = place.world
        self._overtake(world, pull.head_sha)
        world.branches[pull.head] = pull.head_sha = _sha(f"{world.full} {pull.number} {next(self._order)}")
        world.known_at[pull.number] = None
        world.heard.append(("push", f"refs/heads/{pull.head}", 0))
        world.touch(pull, "pull_request", "synchronize")
        if by_agent:  # we know of it first
            row = PullRequest.objects.select_related("task").get(project=place.project, number=pull.number)
            sessions.show_head(row.task, pull.head_sha, now=self.now)
            self.rung = True
        else:
            self._await("push", pull.head_sha)
        self._checks(place, pull)

    def _checks(self, place: Place, pull: Pull) -> None:
        """The suite of a new head: one in seven is red."""
        red = self.chance.choice(CHECKS) if self.chance.random() < 1 / 7 else None
        left, sha = set(CHECKS), pull.head_sha

        def start(name: str) -> None:
            run = place.world.check(sha, name)
            run.status = "in_progress"
            self._at(self._minutes(2, 12), lambda: end(name, run))

        def end(name: str, run: worlds.CheckRun) -> None:
            place.world.complete(run, "failure" if name == red else "success", log="##[error]no\n")
            left.discard(name)
            current = pull.state == "open" and pull.head_sha == sha
            if name == red and current:
                self._await("red check", str(run.id))
                self._at(self._minutes(5, 15), lambda: self._push(place, pull))
            if not left:
                place.world.heard.append(("check_suite", "completed", run.id))
                if current and red is None:
                    self._await("green suite", str(run.id))

        for name in CHECKS:
            self._at(self._minutes(0.25, 0.7), lambda name=name: start(name))  # type: ignore[misc]

    def _review(self) -> None:
        place, pull = self._some()
        who, dice = self.chance.choice(REVIEWERS), self.chance.random()
        self.bill.happened["reviewed"] += 1
        if dice < 0.5:
            made = place.world.review(who, pull.number, "APPROVED")
            self._at(self._minutes(0.5, 20), lambda: self._merge(place, pull, str(made.id)))
        elif dice < 0.83:
            remarks = [("calc.py", line, f"why {line}?") for line in (1, 2)]
            before = set(place.world.threads)
            made = place.world.review(who, pull.number, "CHANGES_REQUESTED", "Two things.", remarks)
            threads = sorted(set(place.world.threads) - before)
            self._at(self._minutes(8, 25), lambda: self._answer(place, pull, threads))
        else:
            made = place.world.review(who, pull.number, "COMMENTED", "I see.")
        self._await("review", str(made.id))

    def _remark(self) -> None:
        place, pull = self._some()
        threads = [one for one in place.world.threads.values() if one.pull == pull.number]
        if not threads:
            place.world.remark(self.chance.choice(REVIEWERS), pull.number, "Good.")
            return
        made = place.world.reply(self.chance.choice(REVIEWERS), threads[0].id, "And this?")
        self._await("remark", str(made.id))

    def _answer(self, place: Place, pull: Pull, threads: Sequence[str]) -> None:
        self._push(place, pull)
        for thread in threads if pull.state == "open" else ():
            self._write(
                "answered",
                lambda thread=thread: place.forge.answer(  # type: ignore[misc]
                    pull.number,
                    thread=thread,
                    comment=str(place.world.threads[thread].remarks[0].id),
                    marker=f"ao-{thread}",
                    body="Done.",
                    settle=True,
                ),
            )

    def _merge(self, place: Place, pull: Pull, approval: str) -> None:
        """As the job does it: what was approved is merged once that is known, and looked at just before."""
        if pull.state != "open":
            return
        if not Review.objects.filter(external_id=approval).exists():
            self._at(self._minutes(1, 1), lambda: self._merge(place, pull, approval))
            return
        sha = pull.head_sha
        row = PullRequest.objects.select_related("task").get(project=place.project, number=pull.number)
        for seen in place.forge.observe([pull.number], for_a_write=True):
            pull_requests.record(task=row.task, seen=seen, now=self.now)
        merge = partial(place.forge.merge, pull.number, head_sha=sha, method="squash", message="Merge")
        merged = self._write("merged", merge)
        if merged is not None:
            pull_requests.merged(task=row.task, number=pull.number, head_sha=sha, sha=merged, now=self.now)
            projects.mirrored(project=place.project, base_sha=place.forge.mirror.fetch("main"), now=self.now)

    def _write(self, kind: str, write: Callable[[], Any]) -> Any:
        self.bill.writes += 1
        self.bill.happened[kind] += 1
        spent, _ = self._spent()
        try:
            return write()
        except Unavailable as error:
            self.bill.starved.append(f"{self.now:%H:%M} {kind}: {error}")
            return None
        finally:
            self.bill.points_of_writes += self._spent()[0] - spent

    # --- how late it is seen ---

    def _await(self, kind: str, name: str) -> None:
        self._awaited.setdefault(kind, {})[name] = self.now

    def _overtake(self, world: Busy, head: str) -> None:
        """Nobody can see this head any more, nor what its checks came to."""
        gone = {head, *(str(run.id) for run in world.checks.values() if run.sha == head)}
        for kind in ("push", "red check", "green suite"):
            for name in gone & self._awaited.get(kind, {}).keys():
                del self._awaited[kind][name]

    def _notice(self) -> None:
        """What the rows say by now was seen by now."""
        mine = [place.project.pk for place in self.places]
        for kind, awaited in self._awaited.items():
            rows, of_project, name_of = _KNOWN[kind]
            known = rows.filter(**{of_project: mine, f"{name_of}__in": list(awaited)}) if awaited else rows.none()
            for name in known.values_list(name_of, flat=True):
                self.bill.late.setdefault(kind, []).append((self.now - awaited.pop(name)).total_seconds())


_ENDED = Check.objects.filter(status="completed")
_KNOWN: dict[str, tuple[QuerySet[Any], str, str]] = {
    "push": (PullRequest.objects.all(), "project__in", "head_sha"),
    "red check": (_ENDED, "pull_request__project__in", "external_id"),
    "green suite": (_ENDED, "pull_request__project__in", "external_id"),
    "review": (Review.objects.all(), "pull_request__project__in", "external_id"),
    "remark": (Comment.objects.all(), "pull_request__project__in", "external_id"),
}


def _payload(world: Busy, event: str, action: str, about: int) -> dict[str, Any]:
    """As much of a webhook as is read."""
    payload: dict[str, Any] = {"action": action, "repository": {"full_name": world.full}}
    if about in world.pulls:
        payload["pull_request"] = {"number": about}
        said = _said(world, about)
        if event == "pull_request_review_comment":
            payload |= {"comment": said[-1], "sender": said[-1]["user"]}
        if event == "pull_request_review_thread":  # which here nobody but us settles
            payload |= {"thread": {"comments": said}, "sender": {"login": ROBOT}}
    elif about in world.checks:
        run = world.checks[about]
        payload[event] = {"head_sha": run.sha, "conclusion": run.conclusion}
    else:
        payload["ref"] = action
    return payload


def _said(world: Busy, number: int) -> list[dict[str, Any]]:
    """In threads, the newest last."""
    remarks = [one for thread in world.threads.values() if thread.pull == number for one in thread.remarks]
    return [{"body": one.body, "user": {"login": one.author}} for one in sorted(remarks, key=lambda one: one.id)]


def _sha(words: str) -> str:
    return hashlib.sha1(words.encode(), usedforsecurity=False).hexdigest()


# --- the scene ---


def lived(
    folder: Path,
    github: FakeGitHub,
    *,
    pulls: int,
    hours: float,
    with_webhooks: bool,
    begin: datetime,
    said: Callable[[str], None] = lambda _: None,
) -> Bill:
    """What so many hours of so many open pull requests cost; `said` hears it hour by hour."""
    chance, found = random.Random(7), repositories(github, max(1, pulls // EACH))
    with _moved(begin) as day_of:
        places = [_place(folder, one, f"{'rung' if with_webhooks else 'polled'}-{n}") for n, one in enumerate(found)]
        day = Day(github, places, Bill(pulls), with_webhooks, said=said)
        day_of(day)
        day.now = begin
        for place in places:
            _open_pulls(place, pulls // len(places), chance, now=begin)
            if with_webhooks:
                Project.objects.filter(pk=place.project.pk).update(rung_at=begin)
        day.live(hours, begin=begin)
        PullRequest.objects.filter(project__in=[place.project for place in places]).update(state="closed")
    assert github.judge.offences == []
    return day.bill


@contextmanager
def _moved(begin: datetime) -> Iterator[Callable[[Day], None]]:
    """All clocks are the day's."""
    days: list[Day] = []

    def now() -> datetime:
        return days[0].now if days else begin

    def ring(_task: str, *, after: timedelta = timedelta(), **_: object) -> None:
        for day in days:
            day.ring(after)

    people.MEMORY.forget()
    seconds = SimpleNamespace(time=lambda: now().timestamp(), monotonic=lambda: now().timestamp())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timezone, "now", now)
        patch.setattr(worlds, "clock", now)
        patch.setattr("tests.fakegithub.server.clock", now)
        for module in (budget, client, people):
            patch.setattr(module, "time", seconds)
        patch.setattr(runner, "decide_on_many", lambda _: None)
        patch.setattr(doorbell, "ring", ring)
        yield days.append
    people.MEMORY.forget()


def _place(folder: Path, github: FakeGitHub, key: str) -> Place:
    project = Project.objects.create(
        key=key,
        name=key,
        remote=github.clone_url,
        default_branch="main",
        session_prefix="b",
        agent="command",
        scm={"plugin": "github", "apiUrl": github.base, "token": "${ACME_TOKEN}"},
    )
    mirror = Mirror(path=folder / f"mirror-{key}.git", remote_url=str(github.world.git_dir))
    project.base_sha = mirror.create(base_branch="main")
    project.save()
    return Place(github, project, forge(project, mirror=mirror, token=lambda: ROBOT_TOKEN))


def _open_pulls(place: Place, count: int, chance: random.Random, *, now: datetime) -> None:
    world, project = place.world, place.project
    tasks, rows = [], []
    for _ in range(count):
        name = f"b/{len(tasks)}"
        world.branches[name] = _sha(f"{world.full} {name}")
        pull = world.open_pull(ROBOT, title=name, body="", head=name, base="main")
        since = now - (
            timedelta(days=chance.uniform(1, 9)) if chance.random() < 0.45 else timedelta(hours=chance.uniform(1, 23))
        )
        pull.created_at = pull.updated_at = since.strftime("%Y-%m-%dT%H:%M:%SZ")
        for check in CHECKS:
            world.check(pull.head_sha, check, "success")
        tasks.append(Task(project=project, number=pull.number, title=name, agent="command", branch=name))
        rows.append((pull, since))
    Task.objects.bulk_create(tasks)
    PullRequest.objects.bulk_create(
        PullRequest(
            project=project,
            task=task,
            number=pull.number,
            title=pull.title,
            branch=pull.head,
            base_branch="main",
            head_sha=pull.head_sha,
            base_sha=project.base_sha,
            mergeable=True,
            head_since=since,
            observed_at=now,
            poll_at=now + timedelta(seconds=chance.randrange(120)),
        )
        for task, (pull, since) in zip(tasks, rows, strict=True)
    )
    world.heard.clear()
