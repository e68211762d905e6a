"""The world outside, in memory: hosts with their guards and fences, and a forge that merges, loses replies and is closed by hand."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from orchestrator.domain.snapshot import CheckFacts, CommentFacts, PullFacts, ReviewFacts, TurnEnd
from tests.simulation.builds import Builds
from tests.simulation.rows import at


class Unavailable(Exception):
    """Not now."""


class Refused(Exception):
    """No; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Broken(Exception):
    """A promise was broken: the sentence names it."""


@dataclass(slots=True, kw_only=True)
class Run:
    """One agent's program under its guard. `deadline` is absolute, in the host's own seconds."""

    id: str
    task: int
    session: int
    epoch: int
    turn: int
    messages: tuple[str, ...]
    deadline: float | None
    fate: str
    end: TurnEnd | None = None
    asks: bool = False
    talks: bool = False  # it takes words while it works, says when it is done, and ends when its input is closed
    said: list[str] = field(default_factory=list)  # what is in its input besides its prompt
    echoed: list[str] = field(default_factory=list)  # what of that it has read
    done_at: float | None = None
    closed: bool = False  # nothing more can be said to it
    seen: bool = False  # its end was looked at


@dataclass(slots=True, kw_only=True)
class Host:
    """A machine. Its clock runs at its own `rate`; guards keep their deadlines whether or not anybody can reach it."""

    id: int
    rate: float
    reachable: bool = True
    boot: float | None = None  # its clock at the last look that was received
    seen_at: float = 0.0
    silent: bool = False
    runs: dict[str, Run] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)
    tombs: dict[int, int] = field(default_factory=dict)
    workspaces: dict[int, tuple[str, int]] = field(default_factory=dict)  # session -> its branch's head and its commits

    def clock(self, now: float) -> float:
        return now * self.rate

    def guard(self, now: float) -> None:
        """Every guard ends its run when its deadline has passed."""
        for run in self.runs.values():
            if run.end is None and run.deadline is not None and self.clock(now) >= run.deadline:
                run.end = TurnEnd.KILLED

    def call(self) -> None:
        if not self.reachable:
            raise Unavailable(f"host {self.id}")

    def fence(self, task: int, epoch: int) -> None:
        if epoch <= self.tombs.get(task, 0):
            raise Refused("ended")
        if epoch < self.epochs.get(task, 0):
            raise Refused("epoch-too-low")
        self.epochs[task] = epoch
        for run in self.runs.values():
            if run.task == task and run.epoch < epoch and run.end is None:
                run.end = TurnEnd.STOPPED

    def end(self, task: int, epoch: int) -> None:
        self.tombs[task] = max(epoch, self.tombs.get(task, 0))
        for run in self.runs.values():
            if run.task == task and run.epoch <= epoch and run.end is None:
                run.end = TurnEnd.STOPPED

    def unseen(self) -> list[Run]:
        return [run for run in self.runs.values() if not run.seen]

    def live(self) -> list[Run]:
        return [run for run in self.runs.values() if run.end is None]


@dataclass(slots=True, kw_only=True)
class Pull:
    """A pull request at the forge."""

    number: int
    branch: str
    head: str
    head_since: float
    state: str = "open"
    base: int = 0
    conflict: bool = False
    mergeable_known: bool = True
    checks: dict[str, CheckFacts] = field(default_factory=dict)
    reviews: list[ReviewFacts] = field(default_factory=list)
    comments: list[CommentFacts] = field(default_factory=list)

    def looks(self) -> tuple[object, ...]:
        """Everything that an observer could see change."""
        checks = [(check.id, check.status) for check in self.checks.values()]
        words = (len(self.reviews), [(comment.id, comment.resolved) for comment in self.comments])
        return (self.number, self.state, self.head, self.base, self.conflict, self.mergeable_known, checks, words)


@dataclass(slots=True, kw_only=True)
class Merged:
    """One merge as it happened: what was true of the sha at that instant."""

    number: int
    sha: str
    green: bool
    approved: bool


class Forge:
    """Branches, pull requests, checks and merges. `flaky` makes it do what was asked and answer 502."""

    def __init__(self, chance: random.Random, *, checks: tuple[str, ...], ci: bool) -> None:
        self.chance = chance
        self.names = checks
        self.ci = ci  # whether it runs the checks itself
        self.flaky = 0.0
        self.branches: dict[str, str] = {}
        self.pulls: list[Pull] = []
        self.merged: list[Merged] = []
        self.counter = 0
        self.builds = Builds(chance)

    def next_id(self) -> int:
        self.counter += 1
        return self.counter

    def new_sha(self) -> str:
        return f"{self.next_id():040x}"

    def before(self) -> None:
        if self.flaky and self.chance.random() < self.flaky / 2:
            raise Unavailable("503")

    def after(self) -> None:
        """Done, but the reply is lost."""
        if self.flaky and self.chance.random() < self.flaky:
            raise Unavailable("502 after it was done")

    def push(self, branch: str, *, expected: str, new: str, now: float) -> None:
        self.before()
        there = self.branches.get(branch, "")
        if there != new:
            if there != expected:
                raise Refused("head-moved")
            self.set_head(branch, new, now)
        self.after()

    def set_head(self, branch: str, sha: str, now: float) -> None:
        self.branches[branch] = sha
        for pull in self.pulls:
            if pull.branch == branch and pull.state == "open":
                pull.head, pull.head_since, pull.conflict = sha, now, False
                self.begin_checks(pull)

    def begin_checks(self, pull: Pull) -> None:
        pull.checks = {}
        for name in self.names if self.ci else ():
            self.begin_check(pull, name, 1)

    def begin_check(self, pull: Pull, name: str, n: int) -> None:
        known = pull.checks.get(name)
        if known is None or known.n < n:
            pull.checks[name] = CheckFacts(id=self.next_id(), name=name, n=n, status="queued", conclusion=None)

    def finish_check(self, pull: Pull, name: str, conclusion: str) -> None:
        ended = replace(pull.checks[name], status="completed", conclusion=conclusion)
        pull.checks[name] = self.builds.ended(pull.head, ended)

    def rerun(self, pull: Pull, ids: tuple[int, ...]) -> None:
        """What was run again already has another id."""
        self.before()
        for name, check in list(pull.checks.items()):
            if check.id in ids:
                self.begin_check(pull, name, check.n + 1)
        self.after()

    def of_branch(self, branch: str) -> list[Pull]:
        return [pull for pull in self.pulls if pull.branch == branch]

    def open(self, branch: str, *, now: float) -> Pull:
        self.before()
        pull = Pull(number=self.next_id(), branch=branch, head=self.branches[branch], head_since=now)
        self.begin_checks(pull)
        self.pulls.append(pull)
        self.after()
        return pull

    def merge(self, pull: Pull, *, sha: str) -> None:
        self.before()
        if pull.state == "merged":
            return
        if pull.state != "open":
            raise Refused("closed")
        if pull.head != sha:
            raise Refused("head-moved")
        if pull.conflict:
            raise Refused("conflict")
        self.merged.append(Merged(number=pull.number, sha=sha, green=self.green(pull), approved=approved_at_head(pull)))
        pull.state = "merged"
        self.after()

    def green(self, pull: Pull) -> bool:
        return all(name in pull.checks and pull.checks[name].conclusion == "success" for name in self.names)

    def facts(self, pull: Pull, now: float, told: set[int]) -> PullFacts:
        mergeable = None if not pull.mergeable_known else not pull.conflict
        return PullFacts(
            number=pull.number,
            url="",
            state=pull.state,
            head_sha=pull.head,
            base_sha=f"{pull.base:040x}",
            head_since=at(pull.head_since),
            mergeable=mergeable,
            conflict_files=("a.py",) if pull.conflict else (),
            required_checks=None,
            checks=tuple(pull.checks.values()),
            reviews=tuple(replace(review, told=review.id in told) for review in pull.reviews),
            comments=tuple(replace(comment, told=comment.id in told) for comment in pull.comments),
            observed_at=at(now),
        )


def approved_at_head(pull: Pull) -> bool:
    """The checker's own reading: somebody trusted approved this head, and no trusted person's last word objects."""
    last: dict[str, ReviewFacts] = {}
    for review in pull.reviews:
        if review.trusted:
            last[review.author] = review
    objects = any(review.decision == "request_changes" for review in last.values())
    return not objects and any(r.decision == "approve" and r.head_sha == pull.head for r in last.values())
