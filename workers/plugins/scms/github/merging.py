"""Merging by sha, through GitHub's merge queue where that is demanded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Any

from orchestrator.models import Project, QueuedMerge
from orchestrator.ports import PullState, Refused, Unavailable
from workers.git.program import Deadline
from workers.plugins.scms.github import queries
from workers.plugins.scms.github.client import Client
from workers.plugins.scms.github.looking import Looking

QUEUE_LOOKS = timedelta(seconds=20)  # how often a head in the merge queue is looked at
_QUEUED = re.compile(r"merge queue", re.IGNORECASE)
_AGAIN = re.compile(r"base branch was modified|try the merge again", re.IGNORECASE)
# Answers about the token and its limits, and not about the pull request.
_NOT_TAKEN = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
_METHODS = {"merge": "merge", "squash": "squash", "rebase": "rebase"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    """What is merged is looked at where GitHub refuses or does not answer."""

    looking: Looking

    @property
    def _client(self) -> Client:
        return self.looking.client

    @property
    def _project(self) -> Project:
        return self.looking.project

    def merge(self, number: int, *, head_sha: str, method: str, message: str, deadline: Deadline) -> str:
        """Merge by sha, which GitHub itself refuses when the head has moved, or is merged: then it is looked up. Where a queue is demanded the
        head is put into it, and this is `Unavailable` until the queue has merged it."""
        title, _, body = message.partition("\n")
        content = {
            "sha": head_sha,
            "merge_method": _METHODS.get(method, "merge"),
            "commit_title": title,
            "commit_message": body.strip(),
        }
        put = partial(self._client.write, "PUT", f"pulls/{number}/merge", content)
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
            raise self._client.problem(answer, doing=f"merging #{number} of")
        there = self._merged(number, head_sha, deadline)
        if there:
            return there
        return self._not_merged(number, head_sha, answer.status, answer.message)

    def withdraw(self, number: int, *, head_sha: str) -> None:
        """Only what we put into the queue is taken from it, and asking again does nothing."""
        ours = QueuedMerge.objects.filter(project=self._project, number=number, head_sha=head_sha)
        if not ours.exists():
            return
        node = self._node(number)
        if node["mergeQueueEntry"] is not None:
            try:
                self._client.graphql(queries.DEQUEUE, {"pull": node["id"]}, writes=True)
            except Refused:
                if self._node(number)["mergeQueueEntry"] is not None:
                    raise  # else the queue was faster
        ours.delete()

    def _node(self, number: int) -> Mapping[str, Any]:
        return dict(self._client.of_repository(queries.NODE, number=number)["pullRequest"])

    def _merged(self, number: int, head_sha: str, deadline: Deadline) -> str | None:
        """The merge commit, if this head is merged; raises where it cannot be any more."""
        seen = self.looking.look([number], deadline)
        if not seen:
            raise Unavailable(f"GitHub does not show pull request {number} of {self._client.repository}")
        if seen[0].state is PullState.CLOSED:
            raise Refused(f"#{number} was closed", code="overtaken")
        if seen[0].head_sha != head_sha:
            raise Refused(
                f"the head of #{number} moved from {head_sha[:10]} to {seen[0].head_sha[:10]}", code="head-moved"
            )
        return (seen[0].merged_sha or head_sha) if seen[0].state is PullState.MERGED else None

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
        node = self._node(number)
        removed = next(iter(node["timelineItems"]["nodes"]), {"id": "", "reason": ""})
        ours, new = QueuedMerge.objects.get_or_create(
            project=self._project, number=number, head_sha=head_sha, defaults={"removal": removed["id"]}
        )
        if node["mergeQueueEntry"] is None and not new and ours.removal != removed["id"]:
            QueuedMerge.objects.filter(pk=ours.pk).update(removal=removed["id"])
            why = str(removed["reason"] or "it does not say why").replace("_", " ").lower()
            raise Refused(
                f"the merge queue of {self._project.default_branch} gave #{number} up: {why}", code="dequeued"
            )
        entry = node["mergeQueueEntry"] or self._enqueued(number, node["id"], head_sha)
        place = f", place {entry['position']}" if entry else ""
        words = f"#{number} is in the merge queue of {self._project.default_branch}{place}"
        return Unavailable(words, retry_after=QUEUE_LOOKS, under_way=True)

    def _enqueued(self, number: int, pull: str, head_sha: str) -> Mapping[str, Any]:
        """Its entry in the queue, into which it is put unless somebody else was faster."""
        try:
            done = self._client.graphql(queries.ENQUEUE, {"pull": pull, "head": head_sha}, writes=True)
        except Refused:
            entry = self._node(number)["mergeQueueEntry"]
            if entry is None:
                raise
            return dict(entry)
        return dict(done["enqueuePullRequest"]["mergeQueueEntry"] or {})
