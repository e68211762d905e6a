"""The GraphQL API: queries are executed on GitHub's published schema, over what is true here."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from graphql import DocumentNode, GraphQLError, execute_sync, parse, validate

from tests.fakegithub import documents, quota
from tests.fakegithub.views import Views
from tests.fakegithub.world import CheckRun, Pull, Remark, Review, Thread, World

_PAGE = 100


class Graph:
    """Answers queries as one person."""

    def __init__(self, world: World, views: Views) -> None:
        self.world, self.views = world, views

    def execute(self, query: str, variables: Mapping[str, Any], *, who: str) -> dict[str, Any]:
        document, wrong = judged(query)
        return {"errors": wrong} if wrong else self.carried_out(document, variables, who=who)

    def carried_out(self, document: DocumentNode, variables: Mapping[str, Any], *, who: str) -> dict[str, Any]:
        """The answer to a query that was judged."""
        done = execute_sync(
            documents.schema(),
            document,
            root_value=_Root(self, who),
            variable_values=dict(variables),
            type_resolver=_kind,
        )
        answer: dict[str, Any] = {"data": done.data}
        if done.errors:
            answer["errors"] = [
                {"message": error.message, "path": error.path, **(error.extensions or {})} for error in done.errors
            ]
        return answer

    def requests(self, query: str, variables: Mapping[str, Any]) -> int:
        """What the service would charge for; nothing where the query is wrong."""
        document, wrong = judged(query)
        return 0 if wrong else quota.requests(documents.schema(), document, variables)

    # --- nodes ---

    def author(self, login: str) -> dict[str, Any]:
        return {"__typename": "Bot" if login in self.world.bots else "User", "login": login}

    def pull(self, pull: Pull) -> dict[str, Any]:
        return {
            "__typename": "PullRequest",
            "id": pull.node_id,
            "number": pull.number,
            "url": f"{self.views.base}/{self.world.full}/pull/{pull.number}",
            "state": pull.state.upper(),
            "headRefName": pull.head,
            "baseRefName": pull.base,
            "headRefOid": pull.head_sha,
            "updatedAt": pull.updated_at,
            "mergeable": self.mergeable(pull),
            "mergeCommit": {"oid": pull.merged_sha} if pull.merged_sha else None,
            "mergeQueueEntry": _queue_entry(pull) if pull.queued else None,
            "timelineItems": {"nodes": [_removal(one) for one in pull.removals[-1:]]},
            "reviews": self._reviews(pull),
            "reviewThreads": _First(
                [self.thread(one) for one in self.world.threads.values() if one.pull == pull.number]
            ),
            "statusCheckRollup": self.rollup(pull.head_sha),
        }

    def mergeable(self, pull: Pull) -> str:
        """What is known of it, which is nothing for a while."""
        if pull.state != "open" or self.world.thinks(pull):
            return "UNKNOWN"
        return "CONFLICTING" if self.world.conflicts(pull) else "MERGEABLE"

    def _reviews(self, pull: Pull) -> dict[str, Any]:
        return {"nodes": [self._review(one) for one in self.world.reviews if one.pull == pull.number][-100:]}

    def _review(self, review: Review) -> dict[str, Any]:
        return {
            "fullDatabaseId": review.id,
            "state": review.state,
            "body": review.body,
            "submittedAt": review.at,
            "author": self.author(review.author),
            "commit": {"oid": review.sha},
        }

    def thread(self, thread: Thread) -> dict[str, Any]:
        return {
            "__typename": "PullRequestReviewThread",
            "id": thread.id,
            "isResolved": thread.resolved,
            "path": thread.path,
            "line": thread.line,
            "comments": {"nodes": [self.remark(remark) for remark in thread.remarks]},
        }

    def remark(self, remark: Remark) -> dict[str, Any]:
        return {
            "fullDatabaseId": remark.id,
            "body": remark.body,
            "createdAt": remark.at,
            "author": self.author(remark.author),
        }

    def rollup(self, sha: str) -> dict[str, Any] | None:
        runs = [self._run(run) for run in self.world.checks.values() if run.sha == sha]
        return {"commit": {"oid": sha}, "contexts": _Pages(runs)} if runs else None

    def _run(self, run: CheckRun) -> dict[str, Any]:
        return {
            "__typename": "CheckRun",
            "databaseId": run.id,
            "name": run.name,
            "status": run.status.upper(),
            "conclusion": run.conclusion.upper() if run.conclusion else None,
            "detailsUrl": f"{self.views.base}/{self.world.full}/actions/runs/{run.id}/job/{run.id}",
            "startedAt": run.started_at,
            "completedAt": run.completed_at,
            "title": None,
            "summary": None,
            "checkSuite": {"app": {"slug": run.app}},
        }


class _First:
    """A connection of which the first nodes are read."""

    def __init__(self, nodes: Sequence[Any]) -> None:
        self._all = nodes

    def __call__(self, _info: object, first: int = _PAGE) -> dict[str, Any]:
        return {"nodes": self._all[:first]}


class _Pages:
    """A connection that is read a page at a time."""

    def __init__(self, nodes: Sequence[Any]) -> None:
        self._all = nodes

    def __call__(self, _info: object, first: int = _PAGE, after: str | None = None) -> dict[str, Any]:
        start = int(after) if after else 0
        end = start + first
        states = Counter(one["conclusion"] or one["status"] for one in self._all)
        return {
            "totalCount": len(self._all),
            "checkRunCountsByState": [{"state": state, "count": count} for state, count in states.items()],
            "statusContextCountsByState": [],
            "nodes": self._all[start:end],
            "pageInfo": {"hasNextPage": end < len(self._all), "endCursor": str(end)},
        }


class _Root:
    """The fields of queries and mutations, called as the schema's arguments say."""

    def __init__(self, graph: Graph, who: str) -> None:
        self._graph, self._world, self._who = graph, graph.world, who

    def viewer(self, _info: object) -> dict[str, Any]:
        return {"login": self._who}

    def rateLimit(self, _info: object, **_: object) -> dict[str, Any]:
        return {"cost": 1, "remaining": 4000, "resetAt": "2030-01-01T00:00:00Z"}

    def repository(self, _info: object, owner: str, name: str, **_: object) -> Any:
        if (
            f"{owner}/{name}" not in {self._world.full, self._world.former}
            or self._world.people.get(self._who, "none") == "none"
        ):
            raise _absent(f"Could not resolve to a Repository with the name '{owner}/{name}'.")
        return _Repository(self._graph)

    def nodes(self, _info: object, ids: Iterable[str]) -> list[Any]:
        return [self._graph.thread(self._world.threads[one]) if one in self._world.threads else None for one in ids]

    def resolveReviewThread(self, _info: object, input: Mapping[str, Any]) -> dict[str, Any]:
        if input["threadId"] not in self._world.threads:
            raise _absent("Could not resolve to a node")
        return {"thread": self._graph.thread(self._world.resolve(input["threadId"]))}

    def addPullRequestReviewThreadReply(self, _info: object, input: Mapping[str, Any]) -> dict[str, Any]:
        if input["pullRequestReviewThreadId"] not in self._world.threads:
            raise _absent("Could not resolve to a node")
        remark = self._world.reply(self._who, input["pullRequestReviewThreadId"], input["body"])
        return {"comment": self._graph.remark(remark)}

    def dequeuePullRequest(self, _info: object, input: Mapping[str, Any]) -> dict[str, Any]:
        pull = next(one for one in self._world.pulls.values() if one.node_id == input["id"])
        entry = _queue_entry(pull)
        self._world.dequeue(pull, "manual")
        return {"mergeQueueEntry": entry}

    def enqueuePullRequest(self, _info: object, input: Mapping[str, Any]) -> dict[str, Any]:
        pull = next(one for one in self._world.pulls.values() if one.node_id == input["pullRequestId"])
        if self._world.conflicts(pull):
            raise GraphQLError("Pull request is in dirty status", extensions={"type": "UNPROCESSABLE"})
        pull.queued = True
        return {"mergeQueueEntry": _queue_entry(pull)}


class _Repository:
    def __init__(self, graph: Graph) -> None:
        self._graph, self.nameWithOwner = graph, graph.world.full

    def ref(self, _info: object, qualifiedName: str) -> dict[str, Any] | None:
        sha = self._graph.world.sha(qualifiedName)
        if not sha:
            return None
        return {"target": {"__typename": "Commit", "oid": sha, "statusCheckRollup": self._graph.rollup(sha)}}

    def pullRequest(self, _info: object, number: int) -> dict[str, Any]:
        pull = self._graph.world.pulls.get(number)
        if pull is None:
            raise _absent(f"Could not resolve to a PullRequest with the number of {number}.")
        return self._graph.pull(pull)


@functools.lru_cache(maxsize=2000)
def judged(query: str) -> tuple[DocumentNode, list[dict[str, Any]]]:
    """A query as the published schema reads it, and what is wrong with it."""
    document = parse(query)
    return document, [{"message": error.message} for error in validate(documents.schema(), document)]


def _queue_entry(pull: Pull) -> dict[str, Any]:
    return {"id": f"MQE_{pull.number}", "position": 1, "state": "AWAITING_CHECKS"}


def _removal(one: tuple[str, str]) -> dict[str, Any]:
    return {"__typename": "RemovedFromMergeQueueEvent", "id": one[0], "reason": one[1]}


def _absent(message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"type": "NOT_FOUND"})


def _kind(value: Any, _info: object, _kind: object) -> str | None:
    return str(value["__typename"]) if isinstance(value, Mapping) and "__typename" in value else None
