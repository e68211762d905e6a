"""The SCM port on GitHub. Whatever changes something is looked up first and, where its answer was lost, looked up again."""

from __future__ import annotations

import functools
import os
import re
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Any

from django.utils import timezone

from orchestrator.domain.failures import Failure
from orchestrator.models import BaseCheck, Check, Project, QueuedMerge
from orchestrator.ports import CheckSeen, Proposal, PullRequestSeen, PullState, Refused, Unavailable
from workers.git.mirror import Mirror
from workers.git.program import Deadline
from workers.plugins.scms.github import glances, logs, people, queries, reading, reruns
from workers.plugins.scms.github.client import Answer, Client
from workers.plugins.scms.github.glances import Glances, Told
from workers.plugins.scms.github.reading import Trust

TOGETHER = 8  # queries of a process under way at once, beside those of the threads that look
LOGS_AT_ONCE = 30  # failing checks of one pull request whose logs are fetched in one look
_UNFAILED = frozenset({None, "success", "neutral", "skipped"})
LOGS_TOGETHER = 6  # of them under way at once
LOG_TIME = 8.0  # seconds of a look that are left for the rest of it
PAGES = 10  # of a hundred checks each
QUEUE_LOOKS = timedelta(seconds=20)  # how often a head in the merge queue is looked at
_QUEUED = re.compile(r"merge queue", re.IGNORECASE)
_AGAIN = re.compile(r"base branch was modified|try the merge again", re.IGNORECASE)
_EXISTS = re.compile(r"already exists", re.IGNORECASE)
# Answers about the token and its limits, and not about the pull request.
_NOT_TAKEN = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
_METHODS = {"merge": "merge", "squash": "squash", "rebase": "rebase"}


class _Threads:
    """The words in the threads of pull requests, kept with what tells whether there are new ones."""

    KEPT = 2000

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], tuple[object, datetime, bool, Sequence[Mapping[str, Any]]]] = (
            OrderedDict()
        )

    def known(self, key: tuple[str, int], node: Mapping[str, Any], told: Told) -> Sequence[Mapping[str, Any]] | None:
        """What is known and still holds: nothing can have been said since that would look the same, or webhooks would have told of it."""
        if key not in self._known:
            return None
        signature, at, settled, threads = self._known[key]
        holds = settled or told.nothing_since(key[1], at)
        return threads if holds and signature == _signature(node) else None

    def keep(
        self, key: tuple[str, int], node: Mapping[str, Any], threads: Sequence[Mapping[str, Any]], *, at: datetime
    ) -> None:
        self._known[key] = (_signature(node), at, glances.settled(node, at=at), threads)
        self._known.move_to_end(key)
        while len(self._known) > self.KEPT:
            self._known.popitem(last=False)


_THREADS = _Threads()
_GLANCES = Glances()
_NOT_TOLD = Told(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubForge:
    """The forge of one project. `bots` are accounts whose words are a review bot's."""

    project: Project
    mirror: Mirror
    client: Client
    bots: frozenset[str] = people.REVIEW_BOTS

    # --- looking ---

    def observe(
        self,
        numbers: Sequence[int],
        *,
        told: Mapping[int, datetime | None] | None = None,
        for_a_write: bool = False,
        timeout: float = 30,
    ) -> Sequence[PullRequestSeen]:
        """One query for up to a hundred pull requests, and one for up to fifty that have moved; the words of threads, the failing logs and
        the conflicting files only where they are new. Looking for its own sake comes after everything else that is asked of GitHub."""
        patient = replace(self, client=replace(self.client, patient=not for_a_write))
        return patient.look(numbers, Deadline.after(timeout), told=Told(told))

    def look(self, numbers: Sequence[int], deadline: Deadline, *, told: Told = _NOT_TOLD) -> list[PullRequestSeen]:
        """As `observe`, for those who are about to change something."""
        at = timezone.now()  # before anything is read: what changes while we look is newer than this look
        found: list[PullRequestSeen] = []
        for batch, repository in self._answers(numbers, told=told, at=at):
            found += self._seen(batch, repository, deadline, told=told, at=at)
        return found

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
        ask = partial(self._asked, base=f"refs/heads/{self.project.default_branch}")
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
        checks = {
            number: self._checks(node, deadline) if reading.state(node) is PullState.OPEN else []
            for number, node in nodes.items()
        }
        of_base = self._of_base(repository, list(checks.values()), deadline)
        for number, node in nodes.items():
            deadline.left()
            state = reading.state(node)
            open_now = state is PullState.OPEN
            mergeable = {"MERGEABLE": True, "CONFLICTING": False}.get(node["mergeable"]) if open_now else None
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
                base_checks=of_base if base_sha == repository["base"]["target"]["oid"] else (),
            )

    def _asked(self, query: str, **variables: object) -> Mapping[str, Any]:
        """The repository's part of an answer."""
        owner, _, name = self.client.repository.partition("/")
        repository = self.client.graphql(query, {"owner": owner, "name": name, **variables})["repository"]
        if repository is None:
            raise Refused(
                f"GitHub shows no repository {self.client.repository}: it was renamed or deleted, or the token may not see it",
                code="no-repository",
            )
        return dict(repository)

    def _base(self, repository: Mapping[str, Any], deadline: Deadline) -> str:
        """The base branch, brought into the mirror: what is decided on it is there."""
        if repository["base"] is None:
            raise Refused(
                f"{self.client.repository} has no branch {self.project.default_branch} any more", code="no-branch"
            )
        branch = self.project.default_branch
        there = str(repository["base"]["target"]["oid"])
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

    # --- checks ---

    def _checks(self, node: Mapping[str, Any], deadline: Deadline) -> list[CheckSeen]:
        contexts = {str(one.get("databaseId") or one.get("id")): one for one in self._contexts(node)}
        seen = reading.checks(contexts.values(), head_sha=str(node["headRefOid"]))
        return self._explained(seen, contexts, deadline)

    def _explained(
        self, seen: Sequence[CheckSeen], contexts: Mapping[str, Mapping[str, Any]], deadline: Deadline
    ) -> list[CheckSeen]:
        """The checks, and why those failed that did. What does not come in time is asked for by the next look."""
        failed = [check for check in seen if check.conclusion not in _UNFAILED]
        known = self._known_failures(failed)
        fresh = [check for check in failed if check.id not in known and not check.failing_log][:LOGS_AT_ONCE]

        def ask(check: CheckSeen) -> Failure:
            if deadline.at < time.monotonic() + LOG_TIME:
                return Failure()
            try:
                return logs.failure(self.client, check, contexts[check.id])
            except Unavailable:
                return Failure()

        if fresh:
            with ThreadPoolExecutor(min(len(fresh), LOGS_TOGETHER), "github-logs") as pool:
                known |= dict(zip((check.id for check in fresh), pool.map(ask, fresh), strict=True))
        return [_with(check, known.get(check.id)) for check in seen]

    def _contexts(self, node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """All that was reported on the head, page by page."""
        page = reading.head_contexts(node)
        for _ in range(PAGES):
            if page is None:
                return
            yield from page["nodes"]
            if not page["pageInfo"]["hasNextPage"]:
                return
            asked = {"number": node["number"], "after": page["pageInfo"]["endCursor"]}
            page = reading.head_contexts(self._asked(queries.CONTEXTS, **asked)["pullRequest"])

    def _known_failures(self, failed: Sequence[CheckSeen]) -> dict[str, Failure]:
        """A log does not change once its check is over: it is fetched once, by whoever looks first."""
        if not failed:
            return {}
        ids = [check.id for check in failed]
        changes = Check.objects.filter(pull_request__project=self.project, external_id__in=ids)
        base = BaseCheck.objects.filter(project=self.project, external_id__in=ids)
        return {
            of: Failure(part=part, fingerprint=mark, headline=line)
            for rows in (changes, base)
            for of, part, mark, line in rows.exclude(failing_log="").values_list(
                "external_id", "failing_log", "fingerprint", "headline"
            )
        }

    def rerun(self, number: int, *, head_sha: str, checks: Sequence[str], timeout: float = 30) -> None:
        """The failed jobs of their workflow runs, where they have not been begun again since."""
        del number, head_sha
        reruns.rerun(self.client, checks, Deadline.after(timeout))

    def _of_base(
        self, repository: Mapping[str, Any], pulls: Sequence[Sequence[CheckSeen]], deadline: Deadline
    ) -> tuple[CheckSeen, ...]:
        """The checks of the base as it is; why one failed is asked where it fails on a pull request, too."""
        target = repository["base"]["target"]
        rollup = target.get("statusCheckRollup")
        if rollup is None:
            return ()
        contexts = {str(one.get("databaseId") or one.get("id")): one for one in rollup["contexts"]["nodes"]}
        seen = reading.checks(contexts.values(), head_sha=str(target["oid"]))
        wanted = {check.name for checks in pulls for check in checks if check.conclusion not in _UNFAILED}
        explained = self._explained([check for check in seen if check.name in wanted], contexts, deadline)
        return (*explained, *(check for check in seen if check.name not in wanted))

    # --- threads ---

    def _threads(
        self, nodes: Mapping[int, Mapping[str, Any]], told: Told, *, at: datetime
    ) -> dict[int, Sequence[Mapping[str, Any]]]:
        """The threads with their words, which are asked for where something moved in the pull request."""
        found: dict[int, Sequence[Mapping[str, Any]]] = {}
        moved: dict[str, int] = {}
        for number, node in nodes.items():
            listed = node["reviewThreads"]["nodes"]
            worded = [dict(thread) | dict(words) for thread, words in zip(listed, _worded(node), strict=False)]
            if len(worded) == len(listed):
                found[number] = worded
                _THREADS.keep(self._key(number), node, worded, at=at)
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

    # --- pull requests ---

    def open_pull_request(self, proposal: Proposal, *, timeout: float = 30) -> PullRequestSeen:
        """Adopt what the branch has, else create it. A refusal or a lost answer may mean that it is there: it is looked up once more."""
        deadline = Deadline.after(timeout)
        number = self._of_branch(proposal)
        if number is None:
            number = self._created(proposal, deadline)
        seen = self.look([number], deadline)
        if not seen:
            raise Unavailable(f"GitHub does not show pull request {number} of {self.client.repository} yet")
        return seen[0]

    def _of_branch(self, proposal: Proposal) -> int | None:
        owner, branch = self.client.repository.partition("/")[0], proposal.branch
        asked = self.client.get("pulls", head=f"{owner}:{branch}", base=proposal.base_branch, state="all", per_page=100)
        listed = self.client.must(asked, doing="listing the pull requests of").body
        own = [int(one["number"]) for one in listed if _is_own(one)]
        return max(own, default=None)

    def _created(self, proposal: Proposal, deadline: Deadline) -> int:
        content = {
            "title": proposal.title,
            "body": f"{proposal.body}\n\n<!-- {proposal.marker} -->",
            "head": proposal.branch,
            "base": proposal.base_branch,
        }
        try:
            answer = self.client.write("POST", "pulls", content)
        except Unavailable:
            deadline.left()
            there = self._of_branch(proposal)
            if there is None:
                raise
            return there
        if answer.ok:
            return int(answer.body["number"])
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or _EXISTS.search(answer.message):
            there = self._of_branch(proposal)
            if there is not None:
                return there
        raise self.client.problem(answer, doing=f"opening a pull request for {proposal.branch} in")

    def merge(self, number: int, *, head_sha: str, method: str, message: str, timeout: float = 45) -> str:
        """Merge by sha, which GitHub itself refuses when the head has moved, or is merged: then it is looked up. Where a queue is demanded the
        head is put into it, and this is `Unavailable` until the queue has merged it."""
        deadline = Deadline.after(timeout)
        title, _, body = message.partition("\n")
        content = {
            "sha": head_sha,
            "merge_method": _METHODS.get(method, "merge"),
            "commit_title": title,
            "commit_message": body.strip(),
        }
        put = partial(self.client.write, "PUT", f"pulls/{number}/merge", content)
        try:
            answer = put()
        except Unavailable:
            there = self._merged(number, head_sha, deadline)
            if there:
                return there
            raise
        if answer.ok:
            return str(answer.body["sha"])
        if answer.status in _NOT_TAKEN:
            raise self.client.problem(answer, doing=f"merging #{number} of")
        there = self._merged(number, head_sha, deadline)
        if there:
            return there
        return self._not_merged(number, head_sha, answer.status, answer.message)

    def _merged(self, number: int, head_sha: str, deadline: Deadline) -> str | None:
        """The merge commit, if it is merged; raises where this head cannot be merged any more."""
        seen = self.look([number], deadline)
        if not seen:
            raise Unavailable(f"GitHub does not show pull request {number} of {self.client.repository}")
        if seen[0].state is PullState.MERGED:
            return seen[0].merged_sha or head_sha
        if seen[0].state is PullState.CLOSED:
            raise Refused(f"#{number} was closed", code="overtaken")
        if seen[0].head_sha != head_sha:
            raise Refused(
                f"the head of #{number} moved from {head_sha[:10]} to {seen[0].head_sha[:10]}", code="head-moved"
            )
        return None

    def _not_merged(self, number: int, head_sha: str, status: int, said: str) -> str:
        if status == HTTPStatus.CONFLICT:
            raise Refused(f"the head of #{number} is not {head_sha[:10]} any more: {said}", code="head-moved")
        if _QUEUED.search(said):
            raise self._waiting_in_queue(number, head_sha)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or _AGAIN.search(said):
            raise Unavailable(f"#{number} could not be merged yet: {said}")
        raise Refused(f"GitHub does not merge #{number}: {said}", code="not-allowed")

    def _waiting_in_queue(self, number: int, head_sha: str) -> Unavailable:
        """What is to be waited for: the head is in the queue, or is put there. Refused code `dequeued`: the queue gave this head up, which is
        known by a removal that was not there when we put it in; whoever asks anew puts it in anew."""
        node = self._asked(queries.NODE, number=number)["pullRequest"]
        removed = next(iter(node["timelineItems"]["nodes"]), {"id": "", "reason": ""})
        ours, new = QueuedMerge.objects.get_or_create(
            project=self.project, number=number, head_sha=head_sha, defaults={"removal": removed["id"]}
        )
        if node["mergeQueueEntry"] is None and not new and ours.removal != removed["id"]:
            QueuedMerge.objects.filter(pk=ours.pk).update(removal=removed["id"])
            why = str(removed["reason"] or "it does not say why").replace("_", " ").lower()
            raise Refused(f"the merge queue of {self.project.default_branch} gave #{number} up: {why}", code="dequeued")
        if node["mergeQueueEntry"] is None:
            self.client.graphql(queries.ENQUEUE, {"pull": node["id"], "head": head_sha}, writes=True)
        place = f", place {node['mergeQueueEntry']['position']}" if node["mergeQueueEntry"] else ""
        words = f"#{number} is in the merge queue of {self.project.default_branch}{place}"
        return Unavailable(words, retry_after=QUEUE_LOOKS, under_way=True)

    def withdraw(self, number: int, *, head_sha: str, timeout: float = 30) -> None:
        """Only what we put into the queue is taken from it, and asking again does nothing."""
        del timeout
        ours = QueuedMerge.objects.filter(project=self.project, number=number, head_sha=head_sha)
        if not ours.exists():
            return
        node = self._asked(queries.NODE, number=number)["pullRequest"]
        if node["mergeQueueEntry"] is not None:
            self.client.graphql(queries.DEQUEUE, {"pull": node["id"]}, writes=True)
        ours.delete()

    def close(self, number: int, *, timeout: float = 30) -> None:
        """Closing what is closed or merged does nothing."""
        del timeout
        answer = self.client.write("PATCH", f"pulls/{number}", {"state": "closed"})
        if not answer.ok and answer.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            raise self.client.problem(answer, doing=f"closing #{number} of")

    def delete_branch(self, branch: str, *, expected_sha: str, timeout: float = 30) -> None:
        """By git, whose lease is checked where the branch lives."""
        self.mirror.delete_remote_branch(branch, expected_sha=expected_sha, timeout=timeout)

    # --- words ---

    def comment(self, number: int, *, marker: str, body: str, timeout: float = 30) -> None:
        """A comment of ours below the pull request, once per marker."""
        below = f"issues/{number}/comments"
        answer = self._say(body, marker, to=below, among=below, deadline=Deadline.after(timeout))
        if answer is not None and not answer.ok:
            raise self.client.problem(answer, doing=f"commenting on #{number} of")

    def answer(
        self, number: int, *, thread: str, comment: str, marker: str, body: str, settle: bool, timeout: float = 30
    ) -> None:
        """What is said in threads is listed first, and once more where the reply's answer was lost: by REST, whose limit looks do not need."""
        said = f"pulls/{number}/comments"
        answer = self._say(body, marker, to=f"{said}/{comment}/replies", among=said, deadline=Deadline.after(timeout))
        if answer is not None and not answer.ok and answer.status != HTTPStatus.NOT_FOUND:
            raise self.client.problem(answer, doing=f"answering a thread of #{number} of")
        if settle:
            self._settle(thread)

    def _settle(self, thread: str) -> None:
        """Settling what is settled, or gone, does nothing."""
        try:
            self.client.graphql(queries.RESOLVE, {"thread": thread}, writes=True)
        except Refused as refused:
            if refused.code != "gone":
                raise

    def _say(self, body: str, marker: str, *, to: str, among: str, deadline: Deadline) -> Answer | None:
        """Post these words, unless they are among what was said; None: they are there. A refusal is the caller's to judge."""
        hidden = f"<!-- {marker} -->"
        if self._said(hidden, among, deadline):
            return None
        try:
            answer = self.client.write("POST", to, {"body": f"{body}\n\n{hidden}"})
        except Unavailable:
            if self._said(hidden, among, deadline):
                return None
            raise
        lost = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        return None if lost and self._said(hidden, among, deadline) else answer

    def _said(self, hidden: str, among: str, deadline: Deadline) -> bool:
        for page in range(1, PAGES + 1):
            deadline.left()
            asked = self.client.get(among, sort="created", direction="desc", per_page=100, page=page)
            answer = self.client.must(asked, doing="reading the comments of")
            if any(hidden in str(one.get("body")) for one in answer.body):
                return True
            if len(answer.body) < 100:
                return False
        return False


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


def _worded(node: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What was said in its first threads, as far as that came along."""
    return node["worded"]["nodes"] if "worded" in node else ()


def _is_own(pull: Mapping[str, Any]) -> bool:
    """Whether its branch is in the repository itself. One that is gone was in a fork, as far as anybody knows."""
    there = pull["head"]["repo"]
    return there is not None and there["id"] == pull["base"]["repo"]["id"]


def _batches(numbers: Sequence[int], size: int) -> list[Sequence[int]]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def _with(check: CheckSeen, failure: Failure | None) -> CheckSeen:
    if failure is None:
        return check
    return replace(check, failing_log=failure.part, fingerprint=failure.fingerprint, headline=failure.headline)


def _signature(node: Mapping[str, Any]) -> object:
    """What changes with every word in a thread, and with every thread that is settled or opened again."""
    return node["updatedAt"], tuple((thread["id"], thread["isResolved"]) for thread in node["reviewThreads"]["nodes"])
