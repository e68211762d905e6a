"""Looks at many pull requests at once: in short where that is enough, and at length where something has moved."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django.utils import timezone

from orchestrator.models import Project
from orchestrator.ports import PullRequestSeen, PullState, Refused
from workers.git.mirror import Mirror
from workers.git.program import Deadline
from workers.plugins.scms.github import people, queries, reading
from workers.plugins.scms.github.checks import Checks
from workers.plugins.scms.github.client import Client
from workers.plugins.scms.github.glances import Glances, Told
from workers.plugins.scms.github.reading import Trust
from workers.plugins.scms.github.threads import Threads, with_words

TOGETHER = 8  # queries of a process under way at once, beside those of the threads that look
_THREADS = Threads()
_GLANCES = Glances()
_NOT_TOLD = Told(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """At the pull requests of one project. `bots` are accounts whose words are a review bot's."""

    project: Project
    mirror: Mirror
    client: Client
    bots: frozenset[str] = people.REVIEW_BOTS

    def look(self, numbers: Sequence[int], deadline: Deadline, *, told: Told = _NOT_TOLD) -> list[PullRequestSeen]:
        """What is true of them, as far as GitHub shows them."""
        at = timezone.now()  # before anything is read: what changes while we look is newer than this look
        found: list[PullRequestSeen] = []
        for batch, repository in self._answers(numbers, told=told, at=at):
            found += self._seen(batch, repository, deadline, told=told, at=at)
        return found

    def new(self, created: Mapping[str, Any], deadline: Deadline, *, at: datetime) -> PullRequestSeen | None:
        """One that was created after `at`, by GitHub's answer to that. None: its head is older, and something was reported on it already."""
        head = str(created["head"]["sha"])
        if self._reported_on(head):
            return None
        return PullRequestSeen(
            number=int(created["number"]),
            url=created["html_url"],
            state=PullState.OPEN,
            branch=created["head"]["ref"],
            base_branch=created["base"]["ref"],
            head_sha=head,
            base_sha=self._mirrored(str(created["base"]["sha"]), deadline),
            mergeable=None,
            conflict_files=(),
            merged_sha=None,
            required_checks=people.required_checks(self.client, self.project.default_branch),
            checks=(),
            reviews=(),
            comments=(),
            observed_at=at,
        )

    def _reported_on(self, sha: str) -> bool:
        """Whether anything was, or GitHub does not say."""
        kinds = (self.client.get(f"commits/{sha}/{kind}", per_page=1) for kind in ("check-runs", "status"))
        return any(not answer.ok or answer.body["total_count"] for answer in kinds)

    def _answers(
        self, numbers: Sequence[int], *, told: Told, at: datetime
    ) -> Iterator[tuple[Sequence[int], Mapping[str, Any]]]:
        """All about the pull requests, some at a time. Of many, those that are known are asked about in short first, where that is cheaper."""
        known = {number for number in numbers if _GLANCES.holds(self._key(number), told, at=at)}
        asked = _shared_out([n for n in numbers if n in known], [n for n in numbers if n not in known])
        at_length = _shared_out([], numbers)
        if len(at_length) < len(asked):
            asked = at_length
        ask = partial(queries.looks, talked_in=sorted(numbers, key=told.of, reverse=True))
        moved: list[int] = []
        for (short, long), answer in zip(asked, self._together([ask(*batch) for batch in asked]), strict=True):
            whole = {number: self._whole(number, answer[f"p{number}"]) for number in short}
            moved += [number for number in short if whole[number] is None]
            still = {f"p{number}": node for number, node in whole.items() if node is not None}
            unmoved = [number for number in short if whole[number] is not None]
            yield [*unmoved, *self._kept(long, answer, at=at)], {**answer, **still}
        later = _shared_out([], moved)
        for (_, long), answer in zip(later, self._together([ask(*batch) for batch in later]), strict=True):
            yield self._kept(long, answer, at=at), answer

    def _kept(self, numbers: Sequence[int], answer: Mapping[str, Any], *, at: datetime) -> Sequence[int]:
        for number in numbers:
            if answer[f"p{number}"] is not None:
                _GLANCES.keep(self._key(number), answer[f"p{number}"], at=at)
        return numbers

    def _whole(self, number: int, glance: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        return _GLANCES.whole(self._key(number), glance) if glance is not None else None

    def _together(self, asked: Sequence[str]) -> list[Mapping[str, Any]]:
        """What is asked at once does not wait for each other."""
        ask = partial(self.client.of_repository, base=f"refs/heads/{self.project.default_branch}")
        if len(asked) < 2:
            return [ask(query) for query in asked]
        others = [_askers().submit(ask, query) for query in asked[1:]]
        return [ask(asked[0]), *(other.result() for other in others)]

    def _seen(
        self,
        numbers: Sequence[int],
        repository: Mapping[str, Any],
        deadline: Deadline,
        *,
        told: Told,
        at: datetime,
    ) -> Iterator[PullRequestSeen]:
        base_sha = self._base(repository, deadline)
        required = people.required_checks(self.client, self.project.default_branch)
        trust = self._trust()
        nodes = {number: node for number in numbers if (node := repository[f"p{number}"]) is not None}
        threads = self._threads(nodes, told, at=at)
        checks_of = Checks(project=self.project, client=self.client)
        checks = {
            number: checks_of.of(node, deadline) if reading.state(node) is PullState.OPEN else []
            for number, node in nodes.items()
        }
        of_base = checks_of.of_base(repository, list(checks.values()), deadline)
        still = base_sha == repository["base"]["target"]["oid"]
        for number, node in nodes.items():
            deadline.left()
            state = reading.state(node)
            open_now = state is PullState.OPEN
            # With the base that it answered about: while we asked, the base may have moved.
            mergeable = {"MERGEABLE": True, "CONFLICTING": False}.get(node["mergeable"]) if open_now and still else None
            merged = node["mergeCommit"] if state is PullState.MERGED else None
            yield PullRequestSeen(
                number=number,
                url=node["url"],
                state=state,
                branch=node["headRefName"],
                base_branch=node["baseRefName"],
                head_sha=node["headRefOid"],
                base_sha=base_sha,
                mergeable=mergeable,
                conflict_files=self._conflicts(node, base_sha, deadline) if mergeable is False else (),
                merged_sha=str(merged["oid"]) if merged else None,
                required_checks=required,
                checks=tuple(checks[number]),
                reviews=tuple(reading.reviews(node, trust)),
                comments=tuple(reading.comments(threads.get(number, ()), trust)),
                observed_at=at,
                base_checks=of_base if still else (),
            )

    def _base(self, repository: Mapping[str, Any], deadline: Deadline) -> str:
        """The base branch, as it is in the mirror by now: what is decided on it is there."""
        if repository["base"] is None:
            raise Refused(
                f"{self.client.repository} has no branch {self.project.default_branch} any more", code="no-branch"
            )
        return self._mirrored(str(repository["base"]["target"]["oid"]), deadline)

    def _mirrored(self, there: str, deadline: Deadline) -> str:
        branch = self.project.default_branch
        known = self.mirror.base_sha(branch, timeout=deadline.left())
        return there if known == there else self.mirror.fetch(branch, timeout=deadline.left())

    def _trust(self) -> Trust:
        return Trust(
            may_write=lambda author: people.may_write(self.client, author, bots=self.bots),
            bots=self.bots,
            own=people.viewer(self.client),
        )

    def _conflicts(self, node: Mapping[str, Any], base_sha: str, deadline: Deadline) -> tuple[str, ...]:
        head = str(node["headRefOid"])
        if not self.mirror.has(head):
            self.mirror.fetch(str(node["headRefName"]), timeout=deadline.left())
        return self.mirror.conflicts(base_sha=base_sha, head_sha=head, timeout=deadline.left())

    def _threads(
        self, nodes: Mapping[int, Mapping[str, Any]], told: Told, *, at: datetime
    ) -> dict[int, Sequence[Mapping[str, Any]]]:
        """The threads with their words, which are asked for where something moved in the pull request."""
        found: dict[int, Sequence[Mapping[str, Any]]] = {}
        moved: dict[str, int] = {}
        for number, node in nodes.items():
            listed, along = node["reviewThreads"]["nodes"], with_words(node)
            if len(along) == len(listed):
                found[number] = along
                _THREADS.keep(self._key(number), node, along, at=at)
                continue
            known = _THREADS.known(self._key(number), node, told)
            if known is not None:
                found[number] = known
            else:
                moved |= {str(thread["id"]): number for thread in listed}
        fresh: dict[int, list[Mapping[str, Any]]] = {number: [] for number in moved.values()}
        ids = list(moved)
        for start in range(0, len(ids), 100):
            for thread in self.client.graphql(queries.THREADS, {"ids": ids[start : start + 100]})["nodes"]:
                if thread is not None:
                    fresh[moved[str(thread["id"])]].append(thread)
        for number, threads in fresh.items():
            _THREADS.keep(self._key(number), nodes[number], threads, at=at)
        return found | fresh

    def _key(self, number: int) -> tuple[str, int]:
        return f"{self.client.api_url} {self.client.repository}", number


@functools.cache
def _askers_of(_process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(TOGETHER, "github")


def _askers() -> ThreadPoolExecutor:
    """Threads that stay, because each keeps its connection to GitHub. One that forks has its own."""
    return _askers_of(os.getpid())


def _shared_out(in_short: Sequence[int], at_length: Sequence[int]) -> list[tuple[Sequence[int], Sequence[int]]]:
    """So many queries, each as (asked about in short, asked about at length). What is left over of both fits into one."""
    short, long = _batches(in_short, queries.GLANCES_AT_ONCE), _batches(at_length, queries.AT_ONCE)
    if short and long and queries.connections(short[-1], long[-1]) <= queries.A_POINT:
        return [*((one, ()) for one in short[:-1]), *(((), one) for one in long[:-1]), (short[-1], long[-1])]
    return [*((one, ()) for one in short), *(((), one) for one in long)]


def _batches(numbers: Sequence[int], size: int) -> list[Sequence[int]]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]
